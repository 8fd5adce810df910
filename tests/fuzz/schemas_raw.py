"""Random folders of raw BridgeData, pickles and images on disk, with harmless and harmful changes."""

from __future__ import annotations

import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from schema_values import JUNK, NOT_NUMBERS, Meaning, encoded, meaning_of, random_episode, shade_of

LATE, IN_TIME = "2021-07-01_12-00-00", "2022-05-01_12-00-00"


class Thing:
    """An object of somebody's program."""

    def __init__(self) -> None:
        self.inside = [1, "two", np.zeros(3)]


THINGS = (
    *JUNK,
    Thing(),
    [Thing(), Thing],
    {Path("x"): Thing()},
    OrderedDict(a=1),
    defaultdict(list, a=[1]),
    np.array([Thing()], dtype=object),
    np.zeros(2, dtype=[("a", "f4")]),
    np.datetime64("2022-05-01"),
)


@dataclass
class Recording:
    """A trajectory in the making. Nothing is written before `write`."""

    rng: np.random.Generator
    states: Any
    actions: list[Any]
    images: dict[str, dict[str, bytes]]
    """Folder -> file -> content."""
    date: str = IN_TIME
    columns: tuple[int, ...] = tuple(range(7))
    """Which of the seven numbers of an action are written."""
    protocol: int = 4
    as_dicts: bool = True
    in_order: bool = False
    whole: bool = False
    others: dict[str, Any] = field(default_factory=dict)
    text: str | None = "put it down\nput the thing down\nconfidence: 1.0\n"
    after: list[Callable[[Path], None]] = field(default_factory=list)
    """What happens to the folder when it is written."""

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def expected(self) -> Meaning:
        """What it must be read as; before any harm."""
        rows = np.zeros((len(self.actions), 7))
        rows[:, list(self.columns)] = np.array(self.actions)[:, list(self.columns)]
        rows = np.concatenate([rows, [[0, 0, 0, 0, 0, 0, rows[-1, 6]]]])
        late = int(self.date == LATE)
        count = len(rows)
        states, actions = meaning_of(np.array(self.states)[late:], rows[: count - late])
        return Meaning(states, actions, [shade_of(n) for n in range(late, count)], _first_words(self.text))

    def write(self, root: Path) -> None:
        """Write it below `root`."""
        folder = root / "kitchen/00" / self.date / "raw/traj_group0/traj0"
        for name, files in self.images.items():
            (folder / name).mkdir(parents=True)
            for file, content in files.items():
                (folder / name / file).write_bytes(content)
        kind = OrderedDict if self.in_order else dict
        rows = [self._columns_of(row) for row in self.actions]
        steps: Any = [kind(**self.others, actions=row) for row in rows] if self.as_dicts else rows
        self._dump(folder / "obs_dict.pkl", kind(full_state=self.states, **self.others))
        self._dump(folder / "policy_out.pkl", np.array(rows) if self.whole else steps)
        if self.text is not None:
            (folder / "lang.txt").write_text(self.text)
        for change in self.after:
            change(folder)

    def _columns_of(self, row: Any) -> Any:
        return row[list(self.columns)] if isinstance(row, np.ndarray) and row.shape == (7,) else row

    def _dump(self, path: Path, value: Any) -> None:
        path.write_bytes(pickle.dumps(value, protocol=self.protocol))


def _first_words(text: str | None) -> str:
    return "put it down" if text is not None and text.split("\n")[0].strip() == "put it down" else ""


def make(rng: np.random.Generator) -> Recording:
    """A trajectory of 3 to 6 images."""
    count = int(rng.integers(2, 6))
    states, actions = random_episode(rng, count + 1)
    images = {f"im_{index}.jpg": encoded(shade_of(index)) for index in range(count + 1)}
    return Recording(rng, states, list(actions[:count]), {"images0": images})


# Harmless -------------------------------------------------------------------------------------------------------------


def other_protocol(one: Recording) -> None:
    one.protocol = int(one.rng.integers(2, 6))


def recorded_late(one: Recording) -> None:
    one.date = LATE


def fewer_columns(one: Recording) -> None:
    one.columns = one.pick(((0, 1, 2, 5, 6), (0, 1, 2, 6)))


def plain_actions(one: Recording) -> None:
    one.as_dicts = False


def actions_in_an_array(one: Recording) -> None:
    one.whole = True


def ordered_dictionaries(one: Recording) -> None:
    one.in_order = True


def things_beside(one: Recording) -> None:
    for index in range(int(one.rng.integers(1, 4))):
        one.others[f"a thing {index}".replace(" ", "_")] = one.pick(THINGS)


def other_state_types(one: Recording) -> None:
    change = one.pick((lambda rows: rows.astype(">f8"), np.ndarray.tolist, list, np.asfortranarray))
    one.states = change(one.states)


def other_files(one: Recording) -> None:
    one.images["images0"] |= {"Thumbs.db": b"x", "im_0.jpg.part": b"x", "im_.jpg": b"x"}
    one.images |= {"images1": {"im_0.jpg": encoded(0)}, "depth_images0": {}}
    one.after.append(lambda folder: (folder / "agent_data.pkl").write_bytes(b"no pickle"))


def other_words(one: Recording) -> None:
    one.text = one.pick((None, "", "\nput it down", "put it down", "  put it down \n", "confidence: 1.0\n"))


# Harmful --------------------------------------------------------------------------------------------------------------


def no_numbers(one: Recording) -> None:
    one.whole = False
    change = one.pick((*NOT_NUMBERS[:16], lambda row: [Thing(), *row[1:]], lambda row: Thing()))
    if one.rng.integers(2):
        rows = list(np.array(one.states))
        rows[int(one.rng.integers(len(rows)))] = change(rows[0])
        one.states = rows
    else:
        one.columns = tuple(range(7))
        one.actions[int(one.rng.integers(len(one.actions)))] = change(one.actions[0])


def other_pickle(one: Recording) -> None:
    name = one.pick(("obs_dict.pkl", "policy_out.pkl"))
    content = one.pick((*THINGS, 3, {"full_state": Thing()}, {"full_state": None}, [Thing()], [{}], [None]))
    one.after.append(lambda folder: (folder / name).write_bytes(pickle.dumps(content, protocol=one.protocol)))


def broken_pickle(one: Recording) -> None:
    name, part = one.pick(("obs_dict.pkl", "policy_out.pkl")), one.rng.uniform(0, 0.99)

    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * part)])

    one.after.append(cut)


def missing_file(one: Recording) -> None:
    name = one.pick(("obs_dict.pkl", "policy_out.pkl", "images0/im_1.jpg", "images0/im_0.jpg"))
    one.after.append(lambda folder: (folder / name).unlink())


def other_counts(one: Recording) -> None:
    count = len(one.states)
    if one.rng.integers(2):
        del one.images["images0"][f"im_{count - 1}.jpg"]
    else:
        one.whole = False
        fit = (count - 1, count)
        one.actions = (one.actions * 4)[: one.pick([n for n in range(2 * count) if n not in fit])]


def no_camera(one: Recording) -> None:
    one.images["images1"] = one.images.pop("images0")


def black(one: Recording) -> None:
    one.images["images0"] = {
        name: encoded(0) if name.endswith(".jpg") else data for name, data in one.images["images0"].items()
    }


def broken_image(one: Recording) -> None:
    one.images["images0"]["im_1.jpg"] = one.pick((b"", b"\xff\xd8no", b"GIF89a", encoded(9)[:-200]))


def no_date(one: Recording) -> None:
    one.date = one.pick(("2022-05-01", "copy", "2022-05-01_12-00-00_2", "2022-13-01_12-00-00"))


HARMLESS: tuple[Callable[[Recording], None], ...] = (
    other_protocol,
    recorded_late,
    fewer_columns,
    plain_actions,
    actions_in_an_array,
    ordered_dictionaries,
    things_beside,
    other_state_types,
    other_files,
    other_words,
)
HARMFUL: tuple[Callable[[Recording], None], ...] = (
    no_numbers,
    other_pickle,
    broken_pickle,
    missing_file,
    other_counts,
    no_camera,
    black,
    broken_image,
    no_date,
)
