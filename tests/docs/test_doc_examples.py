"""Every example runs as a user would run it, and does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHOWS = {
    "01_first_episode": r"success: first solved at step \d+ of 60\. Video: videos/ep0000_carrot_on_plate_success\.mp4",
    "02_say_what_to_do": r"move up 8 cm, close gripper .*grasped: True",
    "03_your_policy": r"episode 0: \w+, grasped: True\n   move above the carrot -> move .* open gripper",
    "04_evaluate_and_compare": r"exact: 3/3 .*\nnoisy: [0-3]/3 ",
    "05_record_and_relabel": r"2 episodes in demos\n\nstack_cube/00000: stack the green block.*\n  grasp the",
}
"""Name -> what its output holds."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_there_are_five_scripts_and_each_is_checked():
    assert {path.stem for path in EXAMPLES} == set(SHOWS)


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_the_script_runs_and_shows_what_it_says(script: Path, tmp_path: Path):
    if "Needs the extra `data`" in script.read_text(encoding="utf-8"):
        pytest.importorskip("pyarrow")
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", str(script)],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(SHOWS[script.stem], done.stdout), done.stdout


def test_every_example_is_listed():
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    for path in [*EXAMPLES, *(ROOT / "examples").glob("*.ipynb")]:
        assert f"`{path.name}`" in page, path.name
