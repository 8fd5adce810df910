"""Rows of training text on disk: `rows.jsonl`, and each picture once, as PNG under the digest of its pixels.

Training reads rows in any order, again after a kill, and in several processes at once; drawn from a stream of
trajectories it could do none of these. And the digest of `rows.jsonl` names the data exactly, pictures included.
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

ROWS, ABOUT, PICTURES = "rows.jsonl", "about.json", "pictures"


@dataclass(frozen=True)
class Written:
    """What went into a folder."""

    rows: int
    stages: dict[str, int]
    skipped: dict[str, int]
    """Reason -> rows that were not written."""


class PictureFolder:
    """Pictures as PNG, each once."""

    def __init__(self, folder: Path) -> None:
        """`folder` is that of the rows; it is made if it is not there."""
        self._folder = folder
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)

    def put(self, picture: np.ndarray) -> str:
        """Write (H, W, 3) uint8 RGB, unless it is there; its path below the folder. ValueError if it is no picture."""
        from PIL import Image

        picture = np.ascontiguousarray(picture)
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
            raise ValueError(f"{picture.shape} {picture.dtype} is no picture; expected (height, width, 3) uint8.")
        shape = repr(picture.shape).encode()
        name = f"{PICTURES}/{hashlib.blake2b(picture.tobytes(), digest_size=16, key=shape).hexdigest()}.png"
        path = self._folder / name
        if not path.exists():
            Image.fromarray(picture).save(path, compress_level=1)
        return name


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB; RunFolderError when it is missing or broken."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise RunFolderError(f"The picture {path} cannot be read ({type(error).__name__}: {error}).") from error


def write_examples(examples: Iterable[Example], folder: Path, about: Mapping[str, object] | None = None) -> Written:
    """Write them to `folder`, which must not be there yet; it appears when it is complete.

    about: plain values that go into `about.json` together with the counts: what the rows were made with. It is looked
    at when all rows are written, so that it may count while they are made.
    """
    if folder.exists():
        raise RunFolderError(f"{folder} is there already; choose another folder.")
    with creating_folder(folder) as draft:
        written = _write_rows(examples, draft)
        _write_json(draft / ABOUT, {**(about or {}), "written": dataclasses.asdict(written)})
    return written


def _write_rows(examples: Iterable[Example], folder: Path) -> Written:
    pictures = PictureFolder(folder)
    stages: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    with (folder / ROWS).open("w", encoding="utf-8") as file:
        for example in examples:
            problem = _problem(example)
            if problem:
                skipped[problem] += 1
                continue
            row = {
                "stage": example.stage,
                "images": [pictures.put(image) for image in example.images],
                "prompt": example.prompt,
                "completion": example.completion,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            stages[example.stage] += 1
    return Written(sum(stages.values()), dict(stages), dict(skipped))


def read_about(folder: Path) -> dict[str, Any]:
    """What `about.json` says; empty where rows were written by hand, without one."""
    path = folder / ABOUT
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}).") from error


def read_rows(folder: Path) -> Iterator[dict[str, object]]:
    """The lines of `rows.jsonl`: stage, images (paths below the folder), prompt, completion."""
    path = folder / ROWS
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}); expected rows that `write_examples` wrote.") from error


def read_examples(folder: Path) -> Iterator[Example]:
    """What `write_examples` wrote."""
    for row in read_rows(folder):
        images = tuple(read_picture(folder / str(name)) for name in row["images"])  # type: ignore[attr-defined]
        yield Example(str(row["stage"]), images, str(row["prompt"]), str(row["completion"]))


def data_hash(folder: Path) -> str:
    """SHA-256 (hexadecimal) of the rows, which name their pictures by content."""
    with (folder / ROWS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _problem(example: Example) -> str:
    """Why a row cannot be trained on; empty if it can."""
    if not example.images:
        return "no picture"
    for image in example.images:
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            return "a picture that is not (height, width, 3) uint8"
        if not image.size:
            return "an empty picture"
    if not example.prompt.strip():
        return "an empty prompt"
    return "" if example.completion.strip() else "an empty completion"
