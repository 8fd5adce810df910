"""Random LeRobot folders with their images in the table, with harmless and harmful changes to its columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from schema_values import Meaning, encoded, meaning_of, random_episode, shade_of

IMAGE, STATE, ACTION = "observation.images.image_0", "observation.state", "action"
NUMBERS = (STATE, ACTION)


@dataclass
class Folder:
    """A folder of two episodes in the making: one is changed, and the other one must stay as it is."""

    rng: np.random.Generator
    columns: dict[str, list[Any]]
    """Column -> a value per row of both episodes."""
    lengths: list[int]
    expected: list[Meaning]
    types: dict[str, pa.DataType] = field(default_factory=dict)
    """Of columns that are not written as Arrow infers them."""
    features: dict[str, Any] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=lambda: [{"task_index": 3, "task": "put it down"}])
    row_group: int = 100
    whole_file: bool = False
    """Whether the harm is to the file, and so to both episodes."""

    @property
    def last(self) -> range:
        """The rows of the second episode, which is the one that is harmed."""
        return range(self.lengths[0], sum(self.lengths))

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def some_row(self) -> int:
        """A row of the second episode that is used, whatever its first action is."""
        return self.pick(self.last[1:])

    def write(self, root: Path) -> None:
        """Write it to `root`."""
        for part in ("meta/episodes/chunk-000", "data/chunk-000"):
            (root / part).mkdir(parents=True)
        arrays = {name: pa.array(values, self.types.get(name)) for name, values in self.columns.items()}
        pq.write_table(pa.table(arrays), root / "data/chunk-000/file-000.parquet", row_group_size=self.row_group)
        tasks = pa.Table.from_pylist(self.tasks) if self.tasks else pa.table({"task_index": [0], "task": ["another"]})
        pq.write_table(tasks, root / "meta/tasks.parquet")
        episodes = [
            {"episode_index": index, "tasks": ["put it down"], "length": length}
            | {"data/chunk_index": 0, "data/file_index": 0}
            for index, length in enumerate(self.lengths)
        ]
        pq.write_table(pa.Table.from_pylist(episodes), root / "meta/episodes/chunk-000/file-000.parquet")
        features = {
            IMAGE: {"dtype": "image", "shape": [8, 8, 3]},
            STATE: {"dtype": "float32", "shape": [7], "names": None},
            ACTION: {"dtype": "float32", "shape": [7], "names": None},
        }
        info = {
            "codebase_version": "v3.0",
            "fps": 5,
            "total_episodes": 2,
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "features": features | self.features,
        }
        (root / "meta/info.json").write_text(json.dumps(info))


def make(rng: np.random.Generator) -> Folder:
    """Two episodes of 2 to 5 frames; an action of zeros, which nobody commanded, may begin or end each."""
    columns: dict[str, list[Any]] = {key: [] for key in (STATE, ACTION, IMAGE, "episode_index", "task_index")}
    lengths, expected = [], []
    for index in range(2):
        count, first, last = int(rng.integers(2, 6)), bool(rng.integers(2)), bool(rng.integers(2))
        states, actions = random_episode(rng, count)
        meant = actions.copy()
        if last:
            actions[-1] = 0
            meant[-1] = [*[0] * 6, meant[-2, 6]]
        if first and count > 2:
            actions[0] = 0
            if last and count == 3:
                meant[-1, 6] = actions[1, 6]
        begin = int(first and count > 2)
        columns[STATE] += states.tolist()
        columns[ACTION] += actions.tolist()
        columns[IMAGE] += [{"bytes": encoded(shade_of(n), "PNG"), "path": None} for n in range(count)]
        columns["episode_index"] += [index] * count
        columns["task_index"] += [3] * count
        shades = [shade_of(n) for n in range(begin, count)]
        expected.append(Meaning(*meaning_of(states[begin:], meant[begin:]), shades, "put it down"))
        lengths.append(count)
    return Folder(rng, columns, lengths, expected)


# Harmless -------------------------------------------------------------------------------------------------------------


def other_number_types(one: Folder) -> None:
    for name in NUMBERS:
        kind = one.pick((pa.float64(), pa.float32()))
        one.types[name] = one.pick((pa.list_(kind, len(one.columns[name][0])), pa.list_(kind), pa.large_list(kind)))


def other_index_types(one: Folder) -> None:
    for name in ("episode_index", "task_index"):
        one.types[name] = one.pick((pa.int8(), pa.int32(), pa.uint16(), pa.int64()))


def columns_beside(one: Folder) -> None:
    rows = len(one.columns[STATE])
    for index in range(3):
        value = one.pick((None, "text", b"\xff", {"a": None}, [["x"], []], float("nan"), True))
        one.columns[f"extra.{index}"] = [value] * rows
    one.features["extra.0"] = one.pick(({"dtype": "string"}, {"dtype": None}, {}, {"shape": "x"}))


def other_order(one: Folder) -> None:
    names = list(one.columns)
    one.columns = {names[index]: one.columns[names[index]] for index in one.rng.permutation(len(names))}


def small_row_groups(one: Folder) -> None:
    one.row_group = int(one.rng.integers(1, 4))


def unknown_task(one: Folder) -> None:
    one.tasks = []


def padded_states(one: Folder) -> None:
    """LeRobot's copies of BridgeData have a column of zeros before the gripper."""
    one.columns[STATE] = [[*row[:6], 0.0, row[6]] for row in one.columns[STATE]]
    one.types.pop(STATE, None)


def more_frames_than_metadata(one: Folder) -> None:
    """Rows of an episode that the metadata do not count, as an interrupted recording leaves them."""
    for name, values in one.columns.items():
        values.append(9 if name == "episode_index" else values[-1])


def success_beside(one: Folder) -> None:
    rows = len(one.columns[STATE])
    one.columns["next.success"] = [one.pick((True, False, None, 1.0, 0, [True], [1.0]))] * rows
    one.features["next.success"] = {"dtype": "bool", "shape": [1]}


# Harmful --------------------------------------------------------------------------------------------------------------


def no_number(one: Folder) -> None:
    name, row = one.pick(NUMBERS), one.some_row()
    value = one.pick((None, float("nan"), float("inf"), -1e300))
    one.columns[name][row] = [*one.columns[name][row][:-1], value]
    one.types[name] = pa.list_(pa.float64())


def other_widths(one: Folder) -> None:
    """Rows that differ in width, and may still add up."""
    name = one.pick(NUMBERS)
    rows = [list(row) for row in one.columns[name]]
    if one.rng.integers(2):
        first, second = one.last[0], one.last[1]
        rows[second] = [rows[first][-1], *rows[second]]
        rows[first] = rows[first][:-1]
    else:
        rows[one.some_row()] = one.pick(([], None, [0.0] * 6, [0.0] * 9))
    one.columns[name], one.types[name] = rows, pa.list_(pa.float64())


def other_column_type(one: Folder) -> None:
    name = one.pick(NUMBERS)
    rows = one.columns[name]
    change = one.pick(
        (
            lambda row: [str(number) for number in row],
            lambda row: [number > 0 for number in row],
            lambda row: row[0],
            lambda row: "text",
            lambda row: None,
            lambda row: [[number] for number in row],
            lambda row: [{"x": number} for number in row],
            lambda row: {"x": row[0], "y": row[1]},
            lambda row: b"\x00" * 28,
            lambda row: row[:5],
            lambda row: [*row, *row],
        )
    )
    one.columns[name] = [change(list(row)) for row in rows]
    one.types.pop(name, None)
    one.whole_file = True


def missing_column(one: Folder) -> None:
    one.columns.pop(one.pick((STATE, ACTION, IMAGE, "episode_index", "task_index")))
    one.whole_file = True


def other_indices(one: Folder) -> None:
    name = one.pick(("episode_index", "task_index"))
    one.types.pop(name, None)
    values = one.columns[name]
    change = one.pick((str, lambda _: None, lambda _: "one", lambda value: [value], lambda value: {"value": value}))
    if one.rng.integers(2) and name == "task_index":
        values[one.last[0]] = None
    else:
        one.columns[name] = [change(value) for value in values]
        one.whole_file = True


def other_length(one: Folder) -> None:
    one.lengths[1] += one.pick((-1, 1, 100))


def no_rows(one: Folder) -> None:
    for name, values in one.columns.items():
        one.columns[name] = [values[index] for index in range(len(values)) if index not in one.last]


def no_image(one: Folder) -> None:
    one.columns[IMAGE][one.some_row()] = one.pick(
        (None, {"bytes": None, "path": "x.png"}, {"bytes": b"", "path": None}, {"bytes": b"\x89PNG", "path": None})
    )


def other_image_column(one: Folder) -> None:
    one.columns[IMAGE] = [one.pick(("text", b"\x89PNG", 3, None, [1, 2], {"path": "x"}))] * len(one.columns[IMAGE])
    one.whole_file = True


def black(one: Folder) -> None:
    for row in one.last:
        one.columns[IMAGE][row] = {"bytes": encoded(int(one.rng.integers(0, 8)), "PNG"), "path": None}


def no_success(one: Folder) -> None:
    rows = len(one.columns[STATE])
    one.columns["next.success"] = [one.pick(("yes", 0.5, -1, [True, True], {"a": 1}, b"\x01"))] * rows
    one.features["next.success"] = {"dtype": "bool", "shape": [1]}
    one.whole_file = True


def nothing_commanded(one: Folder) -> None:
    first = one.last[0]
    for name, values in one.columns.items():
        one.columns[name] = values[: first + 2]
    one.columns[ACTION][first:] = [[0.0] * 7] * 2
    one.lengths[1] = 2


HARMLESS: tuple[Callable[[Folder], None], ...] = (
    other_number_types,
    other_index_types,
    columns_beside,
    other_order,
    small_row_groups,
    unknown_task,
    padded_states,
    more_frames_than_metadata,
    success_beside,
)
HARMFUL: tuple[Callable[[Folder], None], ...] = (
    no_number,
    other_widths,
    other_column_type,
    missing_column,
    other_indices,
    other_length,
    no_rows,
    no_image,
    other_image_column,
    black,
    no_success,
    nothing_commanded,
)
