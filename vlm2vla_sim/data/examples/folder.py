"""Training examples on disk: `rows.jsonl`, and every image once, as PNG named by a hash of its pixels.

Training reads the rows in random order, again after an interruption, and in several processes. Because rows name their
images by content, the hash of `rows.jsonl` identifies the data completely.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.core.atomic import creating_folder
from vlm2vla_sim.data.episode import Example
from vlm2vla_sim.errors import RunFolderError

ROWS, ABOUT, IMAGES = "rows.jsonl", "about.json", "pictures"


@dataclass(frozen=True)
class RowSummary:
    """What was written to a folder."""

    rows: int
    stages: dict[str, int]
    """Stage -> number of rows."""
    skipped: dict[str, int]
    """Reason -> number of rows that were left out."""


class ImageStore:
    """A folder of PNG images without duplicates."""

    def __init__(self, folder: Path) -> None:
        """folder: the folder of the rows; created if missing."""
        self._folder = folder
        (folder / IMAGES).mkdir(parents=True, exist_ok=True)

    def put(self, image: np.ndarray) -> str:
        """Write an image, (H, W, 3) uint8 RGB, unless it exists, and return its path relative to the folder.

        ValueError for an array of another shape or type.
        """
        from PIL import Image

        image = np.ascontiguousarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"An image is {image.dtype} {image.shape}; expected uint8 (height, width, 3).")
        shape = repr(image.shape).encode()
        name = f"{IMAGES}/{hashlib.blake2b(image.tobytes(), digest_size=16, key=shape).hexdigest()}.png"
        path = self._folder / name
        if not path.exists():
            Image.fromarray(image).save(path, compress_level=1)
        return name


def read_image(path: Path) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB; RunFolderError if it is missing or broken."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise RunFolderError(f"The image {path} cannot be read ({type(error).__name__}: {error}).") from error


def write_examples(examples: Iterable[Example], folder: Path, about: Mapping[str, object] | None = None) -> RowSummary:
    """Write examples to a new folder, which appears only when it is complete; RunFolderError if it exists.

    about: the settings the rows were made with, plain values for `about.json`, where counts are added. It is read after
    all rows are written, so it may contain counters that are updated meanwhile.
    """
    if folder.exists():
        raise RunFolderError(f"{folder} exists already. Choose another folder.")
    with creating_folder(folder) as draft:
        written = _write_rows(examples, draft)
        _write_json(draft / ABOUT, {**(about or {}), "written": dataclasses.asdict(written)})
    return written


def _write_rows(examples: Iterable[Example], folder: Path) -> RowSummary:
    """Write the rows and their images to `folder`."""
    images = ImageStore(folder)
    stages: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    with (folder / ROWS).open("w", encoding="utf-8") as file:
        for example in examples:
            problem = _problem(example)
            if problem:
                skipped[problem] += 1
                continue
            row = {
                **({"episode": example.episode} if example.episode else {}),
                "stage": example.stage,
                "images": [images.put(image) for image in example.images],
                "prompt": example.prompt,
                "completion": example.completion,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            stages[example.stage] += 1
    return RowSummary(sum(stages.values()), dict(stages), dict(skipped))


def read_about(folder: Path) -> dict[str, Any]:
    """The contents of `about.json`; empty if the rows come without one."""
    path = folder / ABOUT
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}).") from error


def read_rows(folder: Path) -> Iterator[dict[str, object]]:
    """The lines of `rows.jsonl`: stage, images (paths relative to the folder), prompt, completion.

    Rows that were made of a label set have the name of their `episode` as well.
    """
    path = folder / ROWS
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}); expected the rows of a training set.") from error


def read_examples(folder: Path) -> Iterator[Example]:
    """The examples that `write_examples` wrote."""
    for row in read_rows(folder):
        images = tuple(read_image(folder / str(name)) for name in row["images"])  # type: ignore[attr-defined]
        episode = str(row.get("episode") or "")
        yield Example(str(row["stage"]), images, str(row["prompt"]), str(row["completion"]), episode)


def data_hash(folder: Path) -> str:
    """SHA-256 (hexadecimal) of the rows, which name their images by content."""
    with (folder / ROWS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _problem(example: Example) -> str:
    """Why a row cannot be used for training; empty if it can."""
    if not example.images:
        return "no image"
    for image in example.images:
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            return "an image that is not (height, width, 3) uint8"
        if not image.size:
            return "an empty image"
    if not example.prompt.strip():
        return "an empty prompt"
    return "" if example.completion.strip() else "an empty completion"
