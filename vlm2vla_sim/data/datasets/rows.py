"""Rows of numbers out of what a file holds in their place: lists, arrays, text, nothing.

NumPy reads "1.5", None and True as numbers when it is asked for them. Here only numbers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vlm2vla_sim.core.pickle_opaque import Opaque
from vlm2vla_sim.errors import DataError


def number_rows(values: Any, what: str, *, widths: Sequence[int], expected: str = "") -> np.ndarray:
    """`values` as (T, n) float64, n one of `widths`; DataError, a sentence that begins with `what`, for anything else.

    expected: the end of that sentence for another shape.
    """
    expected = expected or "expected " + " or ".join(f"(T, {width})" for width in widths)
    if isinstance(values, (list, tuple)) and any(_has_truth(row) for row in values):
        raise DataError(f"{what} does not contain rows of numbers, but values of the type bool.")
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O" and array.ndim == 1:
            array = np.asarray(list(array))
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} does not contain rows of numbers: they differ in length.") from error
    if array.dtype.kind == "O" and (unknown := _first_unknown(array)):
        raise DataError(f"{what} was not read: {unknown}")
    if array.dtype.kind not in "iufO":
        raise DataError(f"{what} does not contain rows of numbers, but values of the type {array.dtype}.")
    if array.ndim != 2 or array.shape[1] not in widths:
        raise DataError(f"{what} contains an array of shape {array.shape}; {expected}.")
    if array.dtype.kind == "O" and (odd := _odd_type(array)):
        raise DataError(f"{what} does not contain rows of numbers, but values of the type {odd}.")
    try:
        with np.errstate(over="ignore"):  # what is too large for a double is not finite, and refused as such
            return array.astype(np.float64)
    except OverflowError as error:
        raise DataError(f"{what} contains a number that is too large for a double.") from error


def _has_truth(row: Any) -> bool:
    """Whether `row` holds a true or false, which NumPy turns into a number beside others."""
    if isinstance(row, (list, tuple)):
        return any(isinstance(item, (bool, np.bool_)) for item in row)
    return isinstance(row, (np.ndarray, np.generic)) and row.dtype.kind == "b"


def _first_unknown(array: np.ndarray) -> str:
    """Why the first opaque object in `array`, or in a list that it holds, was not read; empty without one."""
    todo = list(array.flat)
    for item in todo:
        if isinstance(item, Opaque):
            return item.reason
        if isinstance(item, (list, tuple)):
            todo.extend(part for part in item if isinstance(part, Opaque))
    return ""


def _odd_type(array: np.ndarray) -> str:
    """The name of the first type in an array of objects that is no number; empty without one."""
    odd = (item for item in array.flat if isinstance(item, bool) or not isinstance(item, (int, float, np.number)))
    return next((type(item).__name__ for item in odd), "")
