"""The range of a data set's actions, over which a format with bins writes its numbers.

The same text means another motion over another range. So the statistics are computed from the rows that a model is
trained on, saved beside its adapter, and read from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.types import ACTION_SIZE

FILE = "action_statistics.json"
RULES = ("min..max", "q01..q99")


@dataclass(frozen=True)
class ActionStatistics:
    """The range of each number of an action, in the unit of `ActionChunk.deltas`."""

    low: tuple[float, ...]
    """(7,) dx, dy, dz [m], rotation vector [rad], gripper: the end that is written as 0."""
    high: tuple[float, ...]
    """(7,) the end that is written as the largest number."""
    rule: str = RULES[0]
    """"min..max": all actions lie inside, and others cannot be written; "q01..q99": others are written as the end."""
    source: str = ""
    """The data set."""
    actions: int | None = None
    """How many actions they are of; None if unknown."""

    def __post_init__(self) -> None:
        low, high = (np.array(values, dtype=np.float64) for values in (self.low, self.high))
        for name, values in (("low", low), ("high", high)):
            if values.shape != (ACTION_SIZE,) or not np.isfinite(values).all():
                raise SettingError(f"The statistics' `{name}` is {values.tolist()}; expected {ACTION_SIZE} numbers.")
            object.__setattr__(self, name, tuple(values.tolist()))
        if (low > high).any():
            raise SettingError(f"The statistics' low end {low.tolist()} is above the high end {high.tolist()}.")
        if low[6] < 0 or high[6] > 1:
            raise SettingError(f"The gripper ranges from {low[6]} to {high[6]}; expected 0 (closed) to 1 (open).")
        if self.rule not in RULES:
            raise SettingError(f"The statistics' rule is {self.rule!r}; expected one of {', '.join(RULES)}.")

    @classmethod
    def of(cls, actions: Iterable[np.ndarray], *, rule: str = RULES[0], source: str = "") -> ActionStatistics:
        """The statistics of `actions`, arrays of (T, 7); SettingError if there are none."""
        arrays = list(actions)
        if not any(len(array) for array in arrays):
            raise SettingError("There are no actions, so they have no range; expected at least one.")
        every = np.concatenate(arrays).astype(np.float64)
        low, high = (every.min(axis=0), every.max(axis=0)) if rule == RULES[0] else np.quantile(every, [0.01, 0.99], 0)
        return cls(tuple(low), tuple(high), rule, source, len(every))

    def to_json(self) -> dict[str, Any]:
        """Plain values, the inverse of `from_json`."""
        found: dict[str, Any] = {"low": list(self.low), "high": list(self.high), "rule": self.rule}
        return {**found, "source": self.source, "actions": self.actions}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ActionStatistics:
        """The statistics in plain values; SettingError for others."""
        try:
            known = {key: values[key] for key in ("rule", "source", "actions") if key in values}
            return cls(tuple(map(float, values["low"])), tuple(map(float, values["high"])), **known)
        except (KeyError, TypeError, ValueError) as error:
            raise SettingError(f"The statistics hold {sorted(values)}; expected low, high, rule.") from error


BRIDGE = ActionStatistics(
    # The q01 and q99 of "bridge_orig" in the norm_stats of openvla/openvla-7b's config.json.
    low=(
        *(-0.02872725307941437, -0.04170349963009357, -0.026093858778476715),
        *(-0.08092105075716972, -0.09288699507713317, -0.20718276381492615, 0.0),
    ),
    high=(
        *(0.028309678435325586, 0.040855254605412394, 0.040161586627364146),
        *(0.08192047759890528, 0.07792850524187081, 0.20382574498653397, 1.0),
    ),
    rule=RULES[1],
    source="BridgeData V2, as published with OpenVLA",
)
"""For policies that are trained on nothing, such as "scripted"."""


def save_statistics(statistics: ActionStatistics, folder: str | Path) -> Path:
    """Save the statistics in the folder of an adapter or a model."""
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(statistics.to_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def read_statistics(folder: str | Path) -> ActionStatistics:
    """The statistics that `save_statistics` saved; SettingError if there are none."""
    path = Path(folder) / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(
            f"{path} cannot be read ({type(error).__name__}). The format writes numbers over the range of the training "
            "data, which `vlm2vla train` saves in that file: in the folder of the adapter (--adapter) or of a full "
            "model (--model)."
        ) from error
    if not isinstance(values, dict):
        raise SettingError(f"{path} holds a {type(values).__name__}; expected an object with low and high.")
    return ActionStatistics.from_json(values)
