"""The steps of an RLDS episode, as NumPy values, become a trajectory; needs no TensorFlow.

Two schemas of BridgeData are known, and everything else is refused with a reason:

- `bridge_orig`, from the project's website: `action` (7,). Builder: kpertsch/bridge_rlds_builder@51a3750 and, without
  the last action, @f0d16c5.
- `bridge` 0.1.0 of Open X-Embodiment: `action` is a dictionary, the instruction is in `observation`. The parts of the
  action in order are the same seven numbers: openvla/openvla@c8f03f4 prismatic/vla/datasets/rlds/oxe/transforms.py:30.
  Other data sets use the same keys in other units and frames, so that the name of the data set or `--convention`
  decides, not the keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlm2vla_sim.data.datasets.conventions import commanded, convert, find_convention
from vlm2vla_sim.data.datasets.rows import number_rows
from vlm2vla_sim.data.datasets.stored_images import EncodedImages, refuse_absent
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError

CONVENTION_OF = dict.fromkeys(("bridge_orig", "bridge_dataset", "bridge_oxe", "bridge"), "bridge")
"""Name of a data set -> its convention. OpenVLA calls `bridge_dataset` bridge_orig, and Open X-Embodiment's copy
bridge_oxe."""
PARTS = ("world_vector", "rotation_delta", "open_gripper")
"""The keys of Open X-Embodiment's `bridge` action: (3,) m, (3,) rad, and a bool."""


def usual_camera(cameras: Sequence[str]) -> str:
    """The camera that is meant when none is named; empty if that cannot be said."""
    return next((name for name in ("image_0", "image") if name in cameras), cameras[0] if len(cameras) == 1 else "")


def read_steps(
    steps: Sequence[Any], metadata: Any, *, name: str, camera: str, fps: float, convention: str
) -> Trajectory:
    """The trajectory of an episode.

    Args:
        steps: one dictionary of NumPy values per step; images are encoded.
        metadata: `episode_metadata`, or anything else if there is none.
        name: of the trajectory.
        camera: key of the images in `observation`.
        fps: [Hz] control rate.
        convention: of the states and actions, see `conventions`.

    DataError, a sentence, for an episode that cannot be used.
    """
    if not steps:
        raise DataError("It has no steps.")
    _check_flag(metadata, camera)
    first, actions = commanded(_actions([_value(steps, n, "action") for n in range(len(steps))]), convention)
    states = [_value(steps, n, "observation", "state") for n in range(first, len(steps))]
    widths = find_convention(convention).state_widths
    states, actions = convert(number_rows(states, "state", widths=widths), actions, convention)
    encoded = [_image(steps, n, camera) for n in range(first, len(steps))]
    images = EncodedImages(encoded)
    refuse_absent((images[index] for index in range(len(images))), camera)
    instruction = "" if _flag(metadata, "has_language") is False else _instruction(steps[first])
    return Trajectory(name, instruction, fps, images, states, actions)


def _value(steps: Sequence[Any], index: int, *keys: str) -> Any:
    found = steps[index]
    for depth, key in enumerate(keys):
        if not isinstance(found, Mapping) or key not in found:
            has = ", ".join(map(str, found)) if isinstance(found, Mapping) else f"a {type(found).__name__}"
            where = "/".join(("step", *keys[:depth]))
            raise DataError(f"Step {index} has no {'/'.join(keys)}; {where} holds {has or 'nothing'}.")
        found = found[key]
    return found


def _actions(stored: Sequence[Any]) -> np.ndarray:
    """(T, 7) float64."""
    if any(isinstance(action, Mapping) for action in stored):
        stored = [_joined(action) for action in stored]
    return number_rows(stored, "action", widths=(7,))


def _joined(action: Any) -> np.ndarray:
    """(7,) float64 from Open X-Embodiment's dictionary."""
    if not isinstance(action, Mapping):
        raise DataError(f"Some of its actions are dictionaries, and one is a {type(action).__name__}.")
    keys = set(action)
    if not keys.issuperset(PARTS) or not keys.issubset({*PARTS, "terminate_episode"}):
        raise DataError(
            f"Its actions are dictionaries of {', '.join(sorted(map(str, keys))) or 'nothing'}; read are "
            f"{', '.join(PARTS)}, as in Open X-Embodiment's `bridge`, and arrays of 7 numbers."
        )
    parts = [number_rows([action[key]], key, widths=(3,)) for key in PARTS[:2]]
    gripper = _plain(action["open_gripper"])
    if not isinstance(gripper, (bool, int, float)) or gripper not in (0, 1):
        raise DataError(f"open_gripper is {_short(action['open_gripper'])}; expected true or false.")
    return np.concatenate([parts[0][0], parts[1][0], [float(gripper)]])


def _image(steps: Sequence[Any], index: int, camera: str) -> bytes:
    image = _value(steps, index, "observation", camera)
    if not isinstance(image, bytes):
        raise DataError(f"{camera} of step {index} is {_short(image)}; expected an encoded image.")
    return bytes(image)


def _instruction(step: Any) -> str:
    """Its text; empty if there is none."""
    observation = step.get("observation")
    text = step.get("language_instruction")
    if text is None and isinstance(observation, Mapping):
        text = observation.get("natural_language_instruction")
    text = _plain(text)
    if text is None:
        return ""
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    if not isinstance(text, str):
        raise DataError(f"The instruction is {_short(text)}; expected a text.")
    return text.strip()


def _flag(metadata: Any, key: str) -> bool | None:
    """What `metadata` says; None for nothing that is a yes or no."""
    value = _plain(metadata.get(key)) if isinstance(metadata, Mapping) else None
    return bool(value) if isinstance(value, (bool, int)) and value in (0, 1) else None


def _check_flag(metadata: Any, camera: str) -> None:
    """DataError if the metadata says that the camera was not there.

    An episode without any camera does not exist: the builder @f0d16c5 (lines 64-68) looks for the camera's name in a
    list of dictionaries, and so writes false for all of them. Then the images decide.
    """
    cameras = (
        [str(key) for key in metadata if str(key).startswith("has_image")] if isinstance(metadata, Mapping) else []
    )
    if _flag(metadata, f"has_{camera}") is False and any(_flag(metadata, key) for key in cameras):
        there = [key.removeprefix("has_") for key in cameras if _flag(metadata, key)]
        raise DataError(
            f"The camera {camera!r} is absent: has_{camera} is false. Name another one (--picture): "
            f"{', '.join(sorted(there))}."
        )


def _plain(value: Any) -> Any:
    """Python's own value for an array of one."""
    return value.reshape(()).item() if isinstance(value, (np.ndarray, np.generic)) and value.size == 1 else value


def _short(value: Any) -> str:
    shown = repr(value).replace("\n", " ")
    return f"{shown[:60]}..." if len(shown) > 60 else shown
