"""A training row on its way to another program: its texts, and its images as files that every reader takes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlm2vla_sim.data.examples.folder import read_rows
from vlm2vla_sim.errors import RunFolderError

KEPT = ("PNG", "JPEG", "WEBP")
"""Formats of images that are exported as they are; others become PNG."""


@dataclass(frozen=True)
class ExportImage:
    """An encoded image."""

    name: str
    """Relative to the folder of rows; equal names are equal images."""
    mime: str
    """"image/png", "image/jpeg" or "image/webp"."""
    content: bytes


@dataclass(frozen=True)
class ExportRow:
    """A row: images, then the prompt, then the answer to learn."""

    stage: str
    images: tuple[ExportImage, ...]
    prompt: str
    completion: str


def read_export_rows(folder: Path) -> Iterator[ExportRow | str]:
    """The rows in `folder`, in order; for one that cannot be used, the reason."""
    for row in read_rows(folder):
        stage, images, prompt, completion = (row.get(key) for key in ("stage", "images", "prompt", "completion"))
        texts = (stage, prompt, completion)
        if not all(isinstance(text, str) and text.strip() for text in texts) or not isinstance(images, list):
            yield "a row without stage, images, prompt or completion"
            continue
        try:
            found = tuple(read_encoded(folder, str(name)) for name in images)
        except RunFolderError as error:
            yield str(error)
            continue
        yield ExportRow(str(stage), found, str(prompt), str(completion))


def read_encoded(folder: Path, name: str) -> ExportImage:
    """An image file of a row, as it is if it is RGB in one of `KEPT`, else as PNG.

    RunFolderError if it is missing, broken or outside of `folder`.
    """
    from PIL import Image, UnidentifiedImageError

    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise RunFolderError(f"The image {name} is outside of {folder}.")
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            kind = image.format or ""
            if kind in KEPT and image.mode == "RGB":
                return ExportImage(name, f"image/{kind.lower()}", content)
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, "PNG")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise RunFolderError(f"An image of a row cannot be read ({type(error).__name__}).") from error
    return ExportImage(str(Path(name).with_suffix(".png")), "image/png", buffer.getvalue())
