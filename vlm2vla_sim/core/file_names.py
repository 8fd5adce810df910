"""Names of files and folders that the file system takes: made from any text, or checked before work begins.

A file system limits the length of a name and of a whole path, in bytes. A run that meets the limit only when it
writes its first video has loaded its model in vain.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

NAME_BYTES, PATH_BYTES = 255, 4096
"""Longest name and longest path where the system does not say: those of Linux with ext4, XFS and Btrfs."""
ROOM_IN_NAME = 80
"""[bytes] left in a name made of a label, for what stands around it: a date, "ep0000_", "_unfinished_2.mp4.new"."""
ROOM_IN_FOLDER = 400
"""[bytes] left in a path for what is written below the folder, such as "videos/episode0000_attempt2/ep0000_….mp4"."""


def file_name(label: str) -> str:
    """`label` as part of a file's or folder's name: 1 to 175 bytes, never "." or ".." and never two names.

    What is no letter, digit, "_", "." or "-", or a "." in front, becomes "_". A label that is too long is cut, and
    ends in eight digits of its hash, so that two long labels stay apart.

    >>> file_name("../my policy:make")
    '__my_policy_make'
    """
    name = re.sub(r"[^\w.-]+|^\.+", "_", label) or "_"
    longest = NAME_BYTES - ROOM_IN_NAME
    if len(name.encode()) <= longest:
        return name
    digest = hashlib.sha256(label.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{name.encode()[: longest - 9].decode(errors='ignore')}-{digest}"


def check_path(
    path: Path, error: type[Exception], *, flag: str = "--out DIR", room: int = ROOM_IN_FOLDER, beside: str = ""
) -> None:
    """Raise an `error` for a path under which nothing can be written, whatever its folder's rights.

    Args:
        path: A folder that is about to be made, or a file with `room=0`.
        error: The class of the error.
        flag: The flag with which another path is chosen, for the sentence.
        room: [bytes] that files below the folder need.
        beside: Longest suffix of what is written beside it, such as ".work".
    """
    text = str(path)
    shown = repr(text if len(text) <= 80 else f"{text[:40]}…{text[-30:]}")
    try:
        if b"\0" in os.fsencode(text):
            raise error(f"The path {shown} holds a NUL character, which no file system takes. Choose another ({flag}).")
        whole = os.fsencode(path.absolute())
    except UnicodeEncodeError as problem:
        raise error(f"The path {shown} holds a character that no file name can hold. Choose another ({flag}).") from (
            problem
        )
    longest_name, longest_path = _limits(path)
    longest = max((*path.parts, path.name + beside), key=lambda part: len(os.fsencode(part)), default="")
    count = len(os.fsencode(longest))
    if count > longest_name:
        raise error(
            f"The path {shown} has a name of {count} bytes; this file system takes {longest_name}. Choose a shorter one"
            f" ({flag})."
        )
    if len(whole) + room >= longest_path:
        raise error(
            f"The path {shown} has {len(whole)} bytes from the root; at most {longest_path - room - 1} fit."
            f" Choose a shorter one ({flag})."
        )


def _limits(path: Path) -> tuple[int, int]:
    """The longest name and path [bytes] in the nearest folder above `path` that exists."""
    for folder in path.absolute().parents:
        try:
            return os.pathconf(folder, "PC_NAME_MAX"), os.pathconf(folder, "PC_PATH_MAX")
        except (OSError, ValueError, AttributeError):  # not there yet; or Windows, which has no pathconf
            continue
    return NAME_BYTES, PATH_BYTES
