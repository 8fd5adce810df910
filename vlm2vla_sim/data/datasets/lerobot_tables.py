"""Reads the tables of a LeRobot folder, one episode after another, whatever the types of their columns are.

Types and lengths differ between data sets and their versions. A row is never moved into another one: a column whose
lists differ in length comes as a list of lists, for `rows.number_rows` to refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.data.datasets import lerobot_layout as layout
from vlm2vla_sim.errors import DataError

INDEX = "episode_index"


def read_tables(path: Path, columns: Sequence[str], *, batch: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the index and the `columns` of every episode in a file, one at a time. batch: rows in memory at once.

    A column is an array, (T,) or (T, n), or a list of T values for everything that is no number. DataError for a file
    that cannot be read, or that lacks a column.
    """
    import pyarrow as pa

    held: list[dict[str, Any]] = []
    path = path.absolute()  # a relative path with a colon is an address to pyarrow
    try:
        with layout.parquet().ParquetFile(path) as file:
            _check_schema(file.schema_arrow, path, columns)
            for rows in file.iter_batches(batch_size=batch, columns=list(columns)):
                for values in _episodes(rows, columns):
                    if held and held[0][INDEX][0] != values[INDEX][0]:
                        yield _joined(held)
                        held = []
                    held.append(values)
    except (OSError, pa.ArrowException) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{path.name} cannot be read: {why or type(error).__name__}.") from error
    if held:
        yield _joined(held)


def whole_number(values: Sequence[Any], column: str) -> int:
    """The first of `values`; DataError if it is no whole number."""
    value = values[0]
    if not isinstance(value, (int, float, np.integer, np.floating)) or not float(value).is_integer():
        raise DataError(f"The column {column} holds {value!r}; expected a whole number.")
    return int(value)


def truth(value: Any, column: str) -> bool | None:
    """A cell as a yes or no, None if it is empty; DataError if it is something else. LeRobot may wrap it in a list."""
    while isinstance(value, (list, tuple, np.ndarray)) and len(value) == 1:
        value = value[0]
    if value is None or (isinstance(value, (float, np.floating)) and value != value):
        return None
    if not isinstance(value, (bool, int, float, np.generic)) or value not in (0, 1):
        raise DataError(f"The column {column} holds {value!r}; expected yes or no.")
    return bool(value)


def _check_schema(schema: Any, path: Path, columns: Sequence[str]) -> None:
    import pyarrow as pa

    for name in columns:
        if name not in schema.names:
            raise DataError(f"{path.name} has no column {name!r}; it has {', '.join(schema.names) or 'none'}.")
    if not pa.types.is_integer(kind := schema.field(INDEX).type):
        raise DataError(f"The column {INDEX} of {path.name} is of the type {kind}; expected whole numbers.")


def _episodes(rows: Any, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The columns of each run of rows with one index."""
    if rows.column(INDEX).null_count:
        raise DataError(f"The column {INDEX} has empty cells, so that nobody knows whose rows they are.")
    indices = rows.column(INDEX).to_numpy(zero_copy_only=False)
    for run in np.split(np.arange(len(indices)), np.flatnonzero(np.diff(indices)) + 1):
        part = rows.slice(int(run[0]), len(run))
        yield {name: _values(part.column(name)) for name in columns}


def _values(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if _is_number(kind):
        return column.to_numpy(zero_copy_only=False)
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and not column.null_count and _is_number(kind.value_type):
        lengths = pc.call_function("list_value_length", [column]).to_numpy(zero_copy_only=False)
        if (lengths == lengths[0]).all():
            return np.array(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), int(lengths[0]))
    return column.to_pylist()


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _joined(parts: Sequence[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    joined: dict[str, Any] = {}
    for name in parts[0]:
        pieces = [part[name] for part in parts]
        same = all(isinstance(piece, np.ndarray) and piece.shape[1:] == pieces[0].shape[1:] for piece in pieces)
        joined[name] = np.concatenate(pieces) if same else [item for piece in pieces for item in piece]
    return int(joined[INDEX][0]), joined
