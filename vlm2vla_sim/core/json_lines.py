"""Append-only files of JSON lines: each line is on the disk before the call returns, and a torn last line is set aside.

A process can be killed, or a disk fill up, in the middle of a line. Such a line has no line end. It is never read as
data, and the next line never continues it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class JsonLines:
    """One file opened for appending. Raises OSError; the caller turns it into a sentence."""

    def __init__(self, path: Path) -> None:
        """Open or create `path`. What an earlier process left of a last line is moved to `STEM.torn` beside it."""
        self.path = path
        self._file = path.open("ab", buffering=0)
        try:
            self._set_torn_aside()
        except OSError:
            self._file.close()
            raise

    def append(self, line: str) -> None:
        """Write one line, `line` being JSON without its line end, and flush it to the disk."""
        start = self._file.seek(0, os.SEEK_END)
        # A lone surrogate, which a model can emit, has no UTF-8 form; as an escape it is valid inside a JSON string.
        rest = memoryview(line.encode("utf-8", errors="backslashreplace") + b"\n")
        try:
            while rest:  # a nearly full disk takes a part, and reports the error at the next write
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            # The next line must not continue this one. If truncating fails too, the next start sets the part aside.
            with contextlib.suppress(OSError):
                self._file.truncate(start)
            raise

    def keep_first(self, count: int) -> None:
        """Drop all lines after the first `count`."""
        with self.path.open("rb") as file:
            size = sum(len(line) for _, line in zip(range(count), file, strict=False))
        self._file.truncate(size)
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _set_torn_aside(self) -> None:
        size = self.path.stat().st_size
        whole = _end_of_whole_lines(self.path, size)
        if whole < size:
            with self.path.open("rb") as file:
                file.seek(whole)
                torn = file.read()
            with self.path.with_suffix(".torn").open("ab") as file:
                file.write(torn + b"\n")
            self._file.truncate(whole)


def read_lines(path: Path) -> Iterator[str]:
    """The complete lines of `path`, one at a time, without their line ends. OSError if it cannot be read.

    A line ends at a newline only: str.splitlines also splits at characters that may occur inside a JSON string.
    """
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1].decode("utf-8", errors="replace")


def _end_of_whole_lines(path: Path, size: int, block: int = 65536) -> int:
    """The offset behind the last line end of `path`; read from the end, since a file can be large."""
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - block)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0
