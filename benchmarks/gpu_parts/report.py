"""The JSON file of one part of the suite."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "llguidance", "mujoco", "trl", "datasets")
NO_GPU = "torch counts memory on a GPU only"


class Report:
    """What a part has measured so far; the file is written anew after every row, so that a killed run keeps it."""

    def __init__(self, path: Path, part: str, *, rehearsal: bool) -> None:
        """Write the file without a row. path: the file."""
        self._path, self._started = path, time.perf_counter()
        self.values: dict[str, Any] = {
            "part": part,
            "rehearsal": rehearsal,
            "complete": False,
            "reason": None,
            "seconds": 0.0,
            "machine": machine(),
            "about": {},
            "rows": [],
        }
        self._write()

    def note(self, **about: object) -> None:
        """Keep what holds for all rows."""
        self.values["about"] |= about
        self._write()

    def add(self, reasons: Mapping[str, str], **row: object) -> None:
        """Keep a row. reasons: for each figure that is unknown, and None in the row, why it is."""
        unknown = {name for name, value in row.items() if value is None}
        assert unknown == set(reasons), f"unknown are {sorted(unknown)}, reasons are there for {sorted(reasons)}"
        self.values["rows"].append({**row, "reasons": dict(reasons)})
        self._write()

    def finish(self, reason: str | None = None) -> None:
        """The part has ended. reason: a sentence for what it could not measure; None if nothing is missing."""
        self.values |= {"complete": reason is None, "reason": reason}
        self._write()

    def _write(self) -> None:
        self.values["seconds"] = round(time.perf_counter() - self._started, 1)
        write_json(self._path, self.values)


def write_json(path: Path, values: object) -> None:
    """Write the whole file or none of it."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def machine() -> dict[str, object]:
    """GPU, processor and versions, as far as they are known; a package that is absent is None."""
    about: dict[str, object] = {"gpu": None, "gpu_memory_bytes": None, "cpus": os.cpu_count()}
    about |= {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    if about["torch"] is not None:
        import torch

        if torch.cuda.is_available():
            found = torch.cuda.get_device_properties(0)
            about |= {"gpu": found.name, "gpu_memory_bytes": found.total_memory}
    return about


def version(package: str) -> str | None:
    """The installed version; None if there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def absent(modules: Sequence[str]) -> list[str]:
    """Those of `modules` that cannot be imported."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


@contextmanager
def peak_memory() -> Iterator[dict[str, int | None]]:
    """Yields a dictionary that afterwards holds `peak_memory_bytes` of the GPU in the block; None without a GPU."""
    import torch

    found: dict[str, int | None] = {"peak_memory_bytes": None}
    there = torch.cuda.is_available()
    if there:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield found
    if there:
        torch.cuda.synchronize()
        found["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
