"""Runs what a how-to page shows, as a user does: the page's files in a folder of their own, the command line beside."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from extension_lane import ROOT, environment

FILE = re.compile(r"<!-- file: (?P<name>[\w.]+) -->\n```python\n(?P<text>.*?)```", re.DOTALL)
COMMAND = re.compile(r"^vlm2vla .*$", re.MULTILINE)
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def page(tmp_path: Path) -> Callable[[str], list[list[str]]]:
    """Writes the files of `docs/howto/NAME.md` into `tmp_path`; returns the words of its commands, in order."""

    def write(name: str) -> list[list[str]]:
        text = (ROOT / "docs" / "howto" / f"{name}.md").read_text(encoding="utf-8")
        files = list(FILE.finditer(text))
        assert files, f"{name}.md shows no file"
        for found in files:
            (tmp_path / found["name"]).write_text(found["text"], encoding="utf-8")
        return [command.split()[1:] for command in COMMAND.findall(text.replace("\\\n", " "))]

    return write


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `vlm2vla` in `tmp_path`."""

    def vlm2vla(*words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vlm2vla_sim", *words],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return vlm2vla
