"""Rendered scenes on disk, in shards of 1,000: small images, class maps and annotations.

Rendering takes as long as training on the result; from disk, the same scenes serve every experiment. A shard depends on
its number alone, so that several processes can render one dataset and a stopped command can be repeated.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlm2vla_sim.core.atomic import write_text
from vlm2vla_sim.errors import BackendFaultError, RunFolderError
from vlm2vla_sim.evaluation.executors.base import Executor, Limits
from vlm2vla_sim.evaluation.executors.local import LocalExecutor
from vlm2vla_sim.mini.scenes.annotation import ObjectAnnotation, SceneAnnotation
from vlm2vla_sim.mini.scenes.arrangement import Arrangement
from vlm2vla_sim.mini.scenes.object_catalog import CLASSES
from vlm2vla_sim.mini.scenes.scene_renderer import RenderedScene, SceneRenderer, open_renderers

IMAGE_SIDE = 224
"""[pixels] side of a stored image, which is the model's input size."""
MAP_SIDE = 56
"""[cells] side of a stored class map."""
SHARD_SIZE = 1000
"""Scenes in a shard."""
SINK_SHARE = 0.25
"""Share of the scenes that are of the sink."""
HELD_OUT = 900_000
"""Shards from this number on are held out: for evaluation, never for training."""

_OLD_FILES = {"images": "pictures", "classes": "seen"}
"""New name -> old name of a shard's files: datasets from before the renaming stay readable."""
_OLD_SCENE = {"things": "objects", "gripper": "tcp_position", "turn": "gripper_yaw", "opening": "gripper_opening"}
_OLD_OBJECT = {"kind": "class_name", "on": "support"}
"""Old key -> new key of an annotation, for the same datasets."""


@dataclass(frozen=True, eq=False)
class Shard:
    """Scenes of a shard, N of them; the images stay on disk."""

    images: np.ndarray
    """(N, IMAGE_SIDE, IMAGE_SIDE, 3) uint8 RGB, a memory map."""
    class_maps: np.ndarray
    """(N, MAP_SIDE, MAP_SIDE) uint8: index into CLASSES."""
    annotations: tuple[SceneAnnotation, ...]


def check_disk_space(folder: Path, numbers: Iterable[int]) -> None:
    """RunFolderError if the disk has no space for the shards that are still missing."""
    missing = [number for number in numbers if not _annotations(folder, number).exists()]
    needed = len(missing) * SHARD_SIZE * (3 * IMAGE_SIDE**2 + MAP_SIDE**2 + 1000)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunFolderError(
            f"{len(missing)} shards need {needed / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free; "
            "free some space, or render fewer (--shards)."
        )


def render_shards(
    folder: Path, numbers: Iterable[int], *, processes: int = 1, executor: Executor | None = None
) -> None:
    """Render the shards that are still missing.

    executor: where they are rendered; by default `processes` processes of this machine. BackendFaultError for a shard
    whose process has died twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in numbers if not _annotations(folder, number).exists()]
    limits = Limits(processes, timeout=math.inf)
    with closing((executor or LocalExecutor()).run(RenderJob(folder), missing, limits)) as rendered:
        for _ in rendered:
            continue


@dataclass(frozen=True)
class RenderJob:
    """Renders shards into a folder: an `executors.base.Job` whose items are their numbers."""

    folder: Path
    fresh_for_group = asks_models = False

    def open(self, models: object) -> ShardRunner:
        """See `executors.base.Job.open`."""
        return ShardRunner(self.folder)

    def within(self, folder: Path) -> RenderJob:
        """See `executors.base.Job.within`."""
        return RenderJob(folder)

    def group(self, number: int) -> str:
        """All shards need the same renderers."""
        return ""

    def broken(self, number: int, reason: str) -> int:
        """A shard that cannot be rendered ends the work."""
        raise BackendFaultError(f"Shard {number} {reason}")

    def annotated(self, number: int, note: str) -> int:
        """A shard does not depend on how often it was begun."""
        return number


class ShardRunner:
    """Renders one shard after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._renderers = folder, open_renderers()

    def run(self, number: int) -> int:
        """Render a shard; its number."""
        scenes = [downscale(renderer.sample(rng)) for renderer, rng in _scenes(number, self._renderers)]
        np.save(self._folder / f"{number:06d}.images.npy", np.stack([image for image, _, _ in scenes]))
        np.save(self._folder / f"{number:06d}.classes.npy", np.stack([class_map for _, class_map, _ in scenes]))
        lines = [json.dumps(dataclasses.asdict(annotation)) for _, _, annotation in scenes]
        write_text(_annotations(self._folder, number), "\n".join(lines))  # last: then the shard is complete
        return number

    def close(self) -> None:
        """Release the renderers."""
        for renderer in self._renderers:
            renderer.close()


def shard_arrangements(number: int, renderers: Sequence[SceneRenderer]) -> Iterator[Arrangement]:
    """The arrangements of a shard's scenes, in order, without rendering. renderers: of `open_renderers`."""
    for renderer, rng in _scenes(number, renderers):
        yield renderer.sample_arrangement(rng)


def _scenes(number: int, renderers: Sequence[SceneRenderer]) -> Iterator[tuple[SceneRenderer, np.random.Generator]]:
    """For each scene of a shard its stage, and the generator from which it is to be sampled before the next one."""
    rng = np.random.default_rng([number, 20260])
    for _ in range(SHARD_SIZE):
        yield renderers[int(rng.random() < SINK_SHARE)], rng


def read_shard(folder: Path, number: int) -> Shard:
    """One shard."""
    lines = _annotations(folder, number).read_text(encoding="utf-8").splitlines()
    return Shard(
        np.load(_array_file(folder, number, "images"), mmap_mode="r"),
        np.load(_array_file(folder, number, "classes")),
        tuple(map(read_annotation, lines)),
    )


def shard_numbers(folder: Path) -> Iterator[int]:
    """Numbers of the complete shards, in ascending order."""
    yield from sorted(int(path.stem) for path in folder.glob("*.jsonl"))


def read_annotation(line: str) -> SceneAnnotation:
    """An annotation from its JSON line."""
    values = _renamed(json.loads(line), _OLD_SCENE)
    items = [_renamed(item, _OLD_OBJECT) for item in values["objects"]]
    objects = tuple(ObjectAnnotation(**{**item, "position": tuple(item["position"])}) for item in items)
    return SceneAnnotation(**{**values, "objects": objects, "tcp_position": tuple(values["tcp_position"])})


def downscale(scene: RenderedScene) -> tuple[np.ndarray, np.ndarray, SceneAnnotation]:
    """The scene at its stored size."""
    image = Image.fromarray(scene.image).resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image), majority_classes(scene.class_map, MAP_SIDE), scene.annotation


def majority_classes(class_map: np.ndarray, side: int) -> np.ndarray:
    """(side, side) uint8: the most frequent class in each cell of `class_map`, (H, W) uint8."""
    rows = np.minimum(np.arange(class_map.shape[0]) * side // class_map.shape[0], side - 1)
    columns = np.minimum(np.arange(class_map.shape[1]) * side // class_map.shape[1], side - 1)
    cell = rows[:, None] * side + columns[None]
    counts = np.bincount((cell * len(CLASSES) + class_map).ravel(), minlength=side * side * len(CLASSES))
    return counts.reshape(side, side, len(CLASSES)).argmax(-1).astype(np.uint8)


def _annotations(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.jsonl"


def _array_file(folder: Path, number: int, name: str) -> Path:
    path = folder / f"{number:06d}.{name}.npy"
    return path if path.exists() else folder / f"{number:06d}.{_OLD_FILES[name]}.npy"


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """`values` with the old keys of `names` replaced by the new ones."""
    return {names.get(key, key): value for key, value in values.items()}
