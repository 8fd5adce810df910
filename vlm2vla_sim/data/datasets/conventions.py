"""Converts the states and actions of data sets to this package's convention: the only place where data is converted.

BridgeData stores rotations as Euler angles and the gripper as a servo reading. Both look plausible unconverted, and a
model trained on them would confuse tilts and turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.finder import find
from vlm2vla_sim.core.frames import action_from_bridge
from vlm2vla_sim.data.datasets.rows import number_rows
from vlm2vla_sim.errors import DataError, ExtensionError
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S

STATE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
ACTION_NAMES = ("dx", "dy", "dz", "rotvec_x", "rotvec_y", "rotvec_z", "gripper")
"""Column names in the data sets we write. A data set with these names is read as "vlm2vla"."""


@dataclass(frozen=True)
class DatasetConvention:
    """How to convert states and actions to `episode.STATE_SIZE` and `types.ACTION_SIZE`."""

    state: Callable[[np.ndarray], np.ndarray]
    """(T, n) float64 -> (T, 7) float64."""
    action: Callable[[np.ndarray], np.ndarray]
    """(T, 7) float64 -> (T, 7) float64."""
    state_widths: tuple[int, ...]
    uncommanded_ends: bool = False
    """Whether a first or last action of nothing but zeros was never commanded; see `commanded`."""


def find_convention(name: str) -> DatasetConvention:
    """A convention of `CONVENTIONS`, or a `DatasetConvention` of your own as "package.module:NAME".

    UnknownNameError for a name that is neither; ExtensionError for an object of another kind.
    """
    found = find("convention of data sets", name, CONVENTIONS)
    if not isinstance(found, DatasetConvention):
        raise ExtensionError(f"The convention {name!r} is {found!r}; expected a {__name__}.DatasetConvention.")
    return found


def commanded(actions: np.ndarray, convention: str) -> tuple[int, np.ndarray]:
    """The first frame with a commanded action, and the actions (T - first, 7) from there on. actions: (T, 7).

    BridgeData's recordings begin, and its RLDS copies end, with an action of nothing but zeros, which nobody
    commanded. Taken literally it closes the gripper. A first one is left out with its frame, as in
    openvla/openvla@c8f03f4 prismatic/vla/datasets/rlds/oxe/transforms.py:61. A last one, which the builder appends for
    the last image (kpertsch/bridge_rlds_builder@51a3750 bridge_dataset_dataset_builder.py: "append a null action"),
    becomes an action that holds arm and gripper, so that the image of the result is kept.

    DataError if no action is left.
    """
    if not find_convention(convention).uncommanded_ends:
        return 0, actions
    first = int(len(actions) > 0 and not actions[0].any())
    actions = actions[first:]
    if not actions.any():
        raise DataError("None of its actions was commanded: they are all zeros, or there is none.")
    if not actions[-1].any():
        actions = np.concatenate([actions[:-1], hold(actions[-2])[None]])
    return first, actions


def hold(action: np.ndarray) -> np.ndarray:
    """The action (7,) after `action` (7,) at which arm and gripper stay where they are."""
    return np.concatenate([np.zeros(6), action[6:]])


def convert(states: np.ndarray, actions: np.ndarray, convention: str) -> tuple[np.ndarray, np.ndarray]:
    """Convert `states` (T, n) and `actions` (T, 7) from `convention` to ours, both (T, 7) float32.

    Gripper values are clipped to 0..1, because a servo reading may lie slightly outside. DataError for arrays of
    another shape, of something that is no number, or with values that are not finite.
    """
    known = find_convention(convention)
    checked = []
    for what, values, widths in (("states", states, known.state_widths), ("actions", actions, (7,))):
        columns = " or ".join(map(str, widths))
        expected = f"the convention {convention!r} expects {columns} columns"
        rows = number_rows(values, f"The column of {what}", widths=widths, expected=expected)
        finite = np.abs(rows) <= np.finfo(np.float32).max
        if not finite.all():
            frame = int(np.flatnonzero(~finite.all(axis=1))[0])
            raise DataError(f"The {what} contain a value that is not finite, first in frame {frame}.")
        checked.append(rows)
    if len(checked[0]) == 0 or len(checked[0]) != len(checked[1]):
        raise DataError(
            f"It has {len(checked[0])} states and {len(checked[1])} actions; expected one action per state."
        )
    states = known.state(checked[0]).astype(np.float32)
    actions = known.action(checked[1]).astype(np.float32)
    for values in (states, actions):
        values[:, 6] = np.clip(values[:, 6], 0.0, 1.0)
    return states, actions


def _bridge_states(states: np.ndarray) -> np.ndarray:
    """x, y, z, roll, pitch, yaw[, padding], gripper servo reading (0.20 closed .. 1.08 open)."""
    openings = [WIDOWX_250S.opening_from_bridge(float(reading)) for reading in states[:, -1]]
    return np.column_stack([states[:, :6], openings])


def _bridge_actions(actions: np.ndarray) -> np.ndarray:
    """dx, dy, dz, Euler angles about the fixed axes x, y, z, gripper 1 open .. 0 closed."""
    return np.array([action_from_bridge(action) for action in actions])


CONVENTIONS = {
    "vlm2vla": DatasetConvention(state=np.array, action=np.array, state_widths=(7,)),
    # rail-berkeley/bridge_data_robot@a902e5b; numbers in robots/widowx_250s.py. LeRobot copies have the padding column.
    "bridge": DatasetConvention(
        state=_bridge_states, action=_bridge_actions, state_widths=(7, 8), uncommanded_ends=True
    ),
}
"""By name, as in `--convention`."""
