"""An album of random scenes on disk: small pictures, what each pixel shows, and the facts, a shard at a time.

Drawing costs as much as learning from what was drawn; kept on disk, the same scenes serve every experiment. A shard
depends on its number alone, so that several processes may fill an album, and one that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vlm2vla_sim.core.atomic import write_text
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.mini.scenes.annotation import Facts, Thing
from vlm2vla_sim.mini.scenes.names import CLASSES
from vlm2vla_sim.mini.scenes.scene_renderer import View, open_worlds

SIDE = 224
"""[pixels] of a picture, as the model takes it."""
GRID = 56
"""[cells] a side of the map of classes."""
SHARD = 1000
"""Views of a shard."""
SINK_SHARE = 0.25
HELD_OUT = 900_000
"""Seeds of shards from here on are for testing and never used in training."""


@dataclass(frozen=True, eq=False)
class Shard:
    """Some views, the pictures still on disk."""

    pictures: np.ndarray
    """(N, SIDE, SIDE, 3) uint8 RGB, a memory map."""
    seen: np.ndarray
    """(N, GRID, GRID) uint8: index into `world.CLASSES`."""
    facts: tuple[Facts, ...]


def check_room(folder: Path, numbers: Iterable[int]) -> None:
    """RunFolderError where the disk has no room for those of the shards that are not there yet."""
    missing = [number for number in numbers if not (folder / f"{number:06d}.jsonl").exists()]
    needed = len(missing) * SHARD * (3 * SIDE**2 + GRID**2 + 1000)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunFolderError(
            f"{len(missing)} shards take {needed / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free; "
            "make room, or draw fewer (--shards)."
        )


def fill(folder: Path, numbers: Iterable[int]) -> None:
    """Draw those of the shards that are not there yet."""
    worlds = open_worlds()
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        if (folder / f"{number:06d}.jsonl").exists():
            continue
        rng = np.random.default_rng([number, 20260])
        views = [shrink(worlds[int(rng.random() < SINK_SHARE)].sample(rng)) for _ in range(SHARD)]
        np.save(folder / f"{number:06d}.pictures.npy", np.stack([picture for picture, _, _ in views]))
        np.save(folder / f"{number:06d}.seen.npy", np.stack([seen for _, seen, _ in views]))
        lines = [json.dumps(dataclasses.asdict(facts)) for _, _, facts in views]
        write_text(folder / f"{number:06d}.jsonl", "\n".join(lines))  # last: its presence says the shard is complete
    for world in worlds:
        world.close()


def read(folder: Path, number: int) -> Shard:
    """One shard."""
    lines = (folder / f"{number:06d}.jsonl").read_text(encoding="utf-8").splitlines()
    return Shard(
        np.load(folder / f"{number:06d}.pictures.npy", mmap_mode="r"),
        np.load(folder / f"{number:06d}.seen.npy"),
        tuple(map(read_facts, lines)),
    )


def numbers(folder: Path) -> Iterator[int]:
    """The shards that are whole."""
    yield from sorted(int(path.stem) for path in folder.glob("*.jsonl"))


def read_facts(line: str) -> Facts:
    """The inverse of how `fill` writes them."""
    values = json.loads(line)
    things = tuple(Thing(**{**thing, "position": tuple(thing["position"])}) for thing in values["things"])
    return Facts(**{**values, "things": things, "gripper": tuple(values["gripper"])})


def shrink(view: View) -> tuple[np.ndarray, np.ndarray, Facts]:
    """The picture as the model takes it, and the map of classes: in each cell the thing that fills most of it."""
    picture = np.asarray(Image.fromarray(view.picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return picture, most_common(view.seen, GRID), view.facts


def most_common(seen: np.ndarray, side: int) -> np.ndarray:
    """(side, side) uint8: the class that has most of each cell of `seen`, (H, W) uint8."""
    rows = np.minimum(np.arange(seen.shape[0]) * side // seen.shape[0], side - 1)
    columns = np.minimum(np.arange(seen.shape[1]) * side // seen.shape[1], side - 1)
    cell = rows[:, None] * side + columns[None]
    counts = np.bincount((cell * len(CLASSES) + seen).ravel(), minlength=side * side * len(CLASSES))
    return counts.reshape(side, side, len(CLASSES)).argmax(-1).astype(np.uint8)
