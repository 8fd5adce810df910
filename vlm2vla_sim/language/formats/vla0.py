"""The format `vla0`: VLA-0's control steps as whole numbers from 0 to 1000 over the range of the training data.

Reader and writer compute in float32 and in the order of VLA-0's own (NVlabs/vla0@731bef2,
rv_train/models/qwen/model.py), so that numbers agree to the last unit. Theirs repairs an answer that is too short; here
it is refused. (VLA-0: arXiv 2510.13054.)
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.control_steps import StepLimits, split
from vlm2vla_sim.errors import ActionError, SettingError
from vlm2vla_sim.language.formats import grammar as g
from vlm2vla_sim.language.formats.cursor import TextCursor
from vlm2vla_sim.language.formats.grid import COLUMNS, MAX_ROWS, Resolution, check_deltas
from vlm2vla_sim.language.formats.integers import TOP, find_numbers
from vlm2vla_sim.language.formats.properties import FormatProperties
from vlm2vla_sim.language.formats.statistics import RULES, ActionStatistics
from vlm2vla_sim.types import ACTION_SIZE, ActionChunk

STEPS = np.array([[0.02, 0, -0.02, 0, 0, 0, 1], [0.02, 0, -0.02, 0, 0, 0, 1]])
"""(2, 7) two control steps: the example."""
_NAMES = (*(column.name for column in COLUMNS), "gripper")
_TOLERANCE = 1e-6
"""By which float32 may leave a range."""


@dataclass(frozen=True)
class Vla0Format:
    """`853 505 97 497 543 504 1000 ...`: dx, dy, dz, rotation vector, gripper of each control step.

    >>> from vlm2vla_sim.language.formats.statistics import BRIDGE
    >>> Vla0Format(BRIDGE).write(STEPS)
    '854 505 92 497 544 504 1000 854 505 92 497 544 504 1000'
    >>> Vla0Format(BRIDGE).read("500 500 500 500 500 500 500").deltas[0, 6]
    np.float32(0.5)
    """

    statistics: ActionStatistics | None = None
    """The range of each number; required. Saved beside an adapter by `vlm2vla train`."""
    horizon: int = 8
    """The most control steps of an action that is written; up to 32 are read."""

    name = "vla0"

    def __post_init__(self) -> None:
        if self.statistics is None:
            raise SettingError(
                f"The format {self.name!r} writes numbers over the range of the training data, and no statistics were "
                "given. `vlm2vla train` saves them beside the adapter: give its folder (--adapter); in Python, "
                "get_format(NAME, statistics=read_statistics(FOLDER))."
            )
        if not 1 <= self.horizon <= MAX_ROWS:
            raise SettingError(f"The horizon is {self.horizon}; expected 1 to {MAX_ROWS} control steps.")

    @property
    def properties(self) -> FormatProperties:
        """See `FormatProperties`."""
        return FormatProperties(
            origin="VLA-0, NVlabs/vla0@731bef2",
            unit="bins",
            span="step",
            gripper="continuous",
            max_rows=self.horizon,
            statistics=True,
            own_prompt=True,
        )

    @property
    def resolution(self) -> Resolution:
        """What motion is planned in; the text is finer, a thousandth of the range."""
        return Resolution(translation=0.001, rotation=0.36)

    @property
    def example(self) -> str:
        """Two control steps."""
        return self.write(np.clip(STEPS, self._range()[0], self._range()[1]))

    @property
    def rules(self) -> str:
        """How to write it, for the prompt."""
        low, high = self._range()
        scale = [100] * 3 + [180 / math.pi] * 3 + [1]
        units = [*(column.unit for column in COLUMNS), ""]
        ranges = ", ".join(
            f"{name} {a * by:.3g} to {b * by:.3g} {unit}".strip()
            for name, a, b, by, unit in zip(_NAMES, low.tolist(), high.tolist(), scale, units, strict=True)
        )
        return (
            f"Write the next control steps of the gripper, each a fifth of a second, at most {self.horizon}: "
            f"{ACTION_SIZE} whole numbers from 0 to {TOP} for each step, all separated by blanks. They are {ranges} "
            f"(1 is open); 0 stands for the first end of a range and {TOP} for the other."
        )

    def write(self, deltas: np.ndarray) -> str:
        """See `ActionFormat.write`; the rows are control steps within the range of the statistics."""
        return " ".join(map(str, self._to_numbers(check_deltas(deltas, self.horizon)).ravel().tolist()))

    def read(self, text: str) -> ActionChunk:
        """See `ActionFormat.read`. Around the numbers there may be prose without numbers; commas and brackets pass."""
        cursor = TextCursor(text, format_name=self.name, example=self.example)
        numbers = find_numbers(cursor)
        if len(numbers) % ACTION_SIZE:
            why = f"there are {len(numbers)} numbers; expected {ACTION_SIZE} for each control step."
            raise cursor.error(why, numbers[-1][1])
        if len(numbers) > MAX_ROWS * ACTION_SIZE:
            why = f"there are more than {MAX_ROWS} steps of {ACTION_SIZE} numbers; say the rest later."
            raise cursor.error(why, numbers[MAX_ROWS * ACTION_SIZE][1])
        return self._to_chunk(np.array([number for number, _ in numbers], np.float32), text)

    def grammar(self) -> g.Grammar:
        """See `ActionFormat.grammar`."""
        return g.compile_grammar(steps_pattern(self.horizon))

    def pieces(self, rows: np.ndarray, gripper: float) -> np.ndarray:
        """See `properties.in_pieces`: control steps, each within the arm's limits and the range of the statistics."""
        limits, low, high = StepLimits(), *self._range()
        found: list[np.ndarray] = []
        for row in np.asarray(rows, dtype=np.float64):
            reach = np.where(row[:6] > 0, high[:6], -low[:6])
            if (reach[row[:6] != 0] <= 0).any():
                raise ActionError(f"The row {row[:6].tolist()} moves where no action of {self._source()} does.")
            lengths = [np.linalg.norm(row[:3]) / limits.step, np.linalg.norm(row[3:6]) / limits.turn]
            lengths += [abs(value) / most for value, most in zip(row[:6], reach, strict=True) if value]
            parts = max(1, math.ceil(max(lengths) - 1e-6))
            same = np.array([*(row[:6] / parts), gripper])
            found += list(split(np.array([same] * (parts - 1) + [[*same[:6], row[6]]]), gripper=gripper, limits=limits))
            gripper = float(row[6])
        return np.array(found, np.float64)

    # Parts, for `clap` too.

    def _range(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.statistics is not None
        return np.array(self.statistics.low), np.array(self.statistics.high)

    def _source(self) -> str:
        assert self.statistics is not None
        return self.statistics.source or "the training data"

    def _to_numbers(self, deltas: np.ndarray) -> np.ndarray:
        """(T, 7) deltas -> (T, 7) whole numbers; ActionError for one outside a range that bounds all data."""
        assert self.statistics is not None
        low, high = (end.astype(np.float32) for end in self._range())
        actions = deltas.astype(np.float32)
        if self.statistics.rule == RULES[0]:
            outside = (actions < low - _TOLERANCE) | (actions > high + _TOLERANCE)
            for row, column in np.argwhere(outside).tolist():
                raise ActionError(
                    f"{_NAMES[column]} of row {row + 1} is {deltas[row, column]:g} in m and rad; {self._source()} "
                    f"ranges from {low[column]:g} to {high[column]:g}. Split it over several rows."
                )
        actions = np.clip(actions, low, high)
        width = high - low
        scaled = np.divide(actions - low, width, out=np.zeros_like(actions), where=width > 0)
        return np.round(scaled * np.float32(TOP)).astype(int)

    def _to_chunk(self, numbers: np.ndarray, text: str) -> ActionChunk:
        low, high = (end.astype(np.float32) for end in self._range())
        deltas = numbers.reshape(-1, ACTION_SIZE) / np.float32(TOP) * (high - low) + low
        deltas[:, 6] = np.clip(deltas[:, 6], 0, 1)
        return ActionChunk(deltas, text, stepwise=True)


@functools.cache
def steps_pattern(horizon: int) -> g.Pattern:
    """Up to `horizon` control steps of seven numbers."""
    number = g.Rule("NUMBER", g.Numerals.of(range(TOP + 1)))
    cells: list[g.Pattern] = [number]
    for _ in range(ACTION_SIZE - 1):
        cells += [g.Literal(" "), number]
    return g.rows_of(g.Rule("step", g.Sequence(tuple(cells))), " ", horizon)
