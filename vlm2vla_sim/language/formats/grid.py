"""The numbers of an action text, for all formats: units, ranges and resolution.

Texts are in centimetres and degrees, chunks in metres and radians; they are converted here and nowhere else.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from vlm2vla_sim.errors import ActionError, SettingError
from vlm2vla_sim.types import ACTION_SIZE, ActionChunk

MAX_ROWS = 32
"""The most rows of a chunk: more than a minute of motion."""


@dataclass(frozen=True)
class Column:
    """One of the six numbers of a row that describe the gripper's motion."""

    name: str
    unit: str
    limit: int
    """The largest magnitude in one row, in `unit`."""
    si: float
    """One `unit` in metres or radians."""

    def range_text(self) -> str:
        """The range as text, for errors and prompts.

        >>> COLUMNS[0].range_text()
        '-50 to 50 cm'
        """
        return f"-{self.limit} to {self.limit} {self.unit}"


def _move(name: str) -> Column:
    return Column(name, "cm", limit=50, si=0.01)


def _turn(name: str) -> Column:
    return Column(name, "degrees", limit=180, si=math.pi / 180)


COLUMNS = (_move("dx"), _move("dy"), _move("dz"), _turn("roll"), _turn("pitch"), _turn("yaw"))
"""In the order of `types.ACTION_SIZE`. The last three are the components of one rotation vector about the base axes
x, y, z; for a rotation about a single axis, the component is the angle."""


@dataclass(frozen=True)
class Resolution:
    """The resolution of a format's `write`. Parsing keeps the precision of the text.

    >>> Resolution(translation=0.005)
    Resolution(translation=0.005, rotation=5.0)
    """

    translation: float = 0.01
    """[m]"""
    rotation: float = 5.0
    """[degrees]"""

    def __post_init__(self) -> None:
        for column, given in ((COLUMNS[0], self.translation), (COLUMNS[3], self.rotation)):
            unit, largest = ("m", column.limit * column.si) if column.unit == "cm" else ("degrees", column.limit)
            if not math.isfinite(given) or given <= 0:
                raise SettingError(f"A resolution of {given} {unit} was asked for; expected a number above 0.")
            step = _decimal_step(column, given)
            # The limit itself must be writable, with two decimals at most.
            if step != round(step, 2) or column.limit % step:
                raise SettingError(
                    f"A resolution of {given} {unit} was asked for; expected a whole number of hundredths of a "
                    f"{column.unit.removesuffix('s')} that divides {largest:g} {unit}, for example "
                    f"{'0.01 or 0.005' if unit == 'm' else '5 or 1'}."
                )

    @functools.cached_property
    def steps(self) -> tuple[Decimal, ...]:
        """The six columns' steps, exact, in the unit of the column (cm or degrees)."""
        sizes = (self.translation,) * 3 + (self.rotation,) * 3
        return tuple(_decimal_step(column, size) for column, size in zip(COLUMNS, sizes, strict=True))

    def amounts(self, column: int) -> tuple[Decimal, ...]:
        """Every magnitude that can be written in `column`, from one step to the limit.

        >>> [numeral(amount) for amount in Resolution(rotation=45).amounts(3)]
        ['45', '90', '135', '180']
        """
        step = self.steps[column]
        return tuple(step * k for k in range(1, int(COLUMNS[column].limit / step) + 1))


@dataclass(frozen=True)
class GridRow:
    """One row of a chunk, rounded to a resolution."""

    motion: tuple[Decimal, ...]
    """(6,) as `COLUMNS`: dx, dy, dz [cm], roll, pitch, yaw [degrees]; base axes."""
    is_open: bool
    """Whether the gripper is open at the end of the row."""


def to_grid(deltas: np.ndarray, resolution: Resolution) -> tuple[GridRow, ...]:
    """`deltas`, (T, 7) as in `ActionChunk.deltas`, rounded to `resolution`; a gripper above one half is open.

    ActionError when they have another shape, hold a number that is not finite, or leave the range of `COLUMNS`.
    """
    deltas = check_deltas(deltas)
    return tuple(_grid_row(row, index, resolution) for index, row in enumerate(deltas, start=1))


def check_deltas(deltas: np.ndarray, max_rows: int = MAX_ROWS) -> np.ndarray:
    """`deltas` as (T, 7) float64; ActionError for another shape, a number that is not finite, or a wrong gripper."""
    deltas = np.asarray(deltas, dtype=np.float64)
    if deltas.ndim != 2 or deltas.shape[1] != ACTION_SIZE or not 1 <= deltas.shape[0] <= max_rows:
        expected = f"1 to {max_rows} rows" if max_rows > 1 else "1 row"
        raise ActionError(f"The deltas have shape {deltas.shape}; expected ({expected}, {ACTION_SIZE}).")
    if not np.isfinite(deltas).all():
        raise ActionError("The deltas hold a number that is not finite.")
    if deltas[:, 6].min() < 0 or deltas[:, 6].max() > 1:
        raise ActionError(f"The gripper is {deltas[:, 6].tolist()}; expected 0 (closed) to 1 (open) in every row.")
    return deltas


def check_range(column: int, value: float, row: int) -> None:
    """ActionError if `value`, in the column's unit, is out of the range of `COLUMNS[column]`."""
    limits = COLUMNS[column]
    if abs(value) > limits.limit:
        raise ActionError(
            f"{limits.name} of row {row} is {value:g} {limits.unit}; expected {limits.range_text()}. Split it over "
            "several rows."
        )


def to_chunk(rows: Sequence[Sequence[float]], text: str) -> ActionChunk:
    """The chunk of a parsed text. rows: (T, 7) dx, dy, dz [cm], roll, pitch, yaw [degrees], gripper [0 or 1]."""
    scale = [column.si for column in COLUMNS] + [1.0]
    # Adding 0.0 turns the -0.0 of a written "-0" into plain zero.
    return ActionChunk(np.array(rows, dtype=np.float64) * scale + 0.0, text)


def numeral(value: Decimal) -> str:
    """`value` as text: no exponent, no trailing zeros, no minus zero.

    >>> numeral(Decimal("50.0")), numeral(Decimal("-3.50")), numeral(Decimal("-0.0"))
    ('50', '-3.5', '0')
    """
    return f"{value.normalize():f}" if value else "0"


def _grid_row(row: np.ndarray, index: int, resolution: Resolution) -> GridRow:
    motion = []
    for column, step, value in zip(COLUMNS, resolution.steps, row[:6], strict=True):
        rounded = step * round(float(value) / column.si / float(step))
        if abs(rounded) > column.limit:
            check_range(COLUMNS.index(column), value / column.si, index)
        motion.append(rounded)
    return GridRow(tuple(motion), is_open=bool(row[6] > 0.5))


def _decimal_step(column: Column, size: float) -> Decimal:
    """`size` [m or degrees] in the unit of `column`, exact in its shortest decimal form: 0.01 m is 1 cm."""
    return Decimal(repr(float(size))) * (100 if column.unit == "cm" else 1)
