"""Atomic writes: a file or folder appears complete under its name, or not at all.

Content is written to a draft beside the target (`NAME.new`), which then takes the target's name in one step. A reader
never sees a half-written file, and a process that is killed leaves the previous version in place.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield the draft's path for the block to write a file to; afterwards the draft replaces `path`.

    The folder of `path` is created if it does not exist. If the block raises, the draft is removed and `path` is
    untouched.

    Args:
        path: The file to write.
        sync: Flush the draft to the disk before it is renamed, so that a power failure cannot leave an empty file.
            Turn it off for files that are rewritten several times a second and are worthless after a restart.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    try:
        yield draft
        if sync:
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def creating_folder(path: Path) -> Iterator[Path]:
    """Yield an empty draft folder for the block to fill; afterwards it takes the name `path`, which must be free.

    If the block raises, the draft is removed. A draft that a killed process left is removed first.
    """
    draft = path.with_name(f"{path.name}.new")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_bytes(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write all of `content` to `path`, or leave `path` as it was. sync: as in `replacing`."""
    with replacing(path, sync=sync) as draft:
        draft.write_bytes(content)


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write all of `text` to `path` as UTF-8, line ends unchanged, or leave `path` as it was. sync: as in `replacing`.

    Lone surrogates, which a model can emit and UTF-8 cannot encode, are written as backslash escapes; inside a JSON
    string these are valid.
    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"), sync=sync)
