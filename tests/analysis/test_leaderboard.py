"""The page of the leaderboard shows what its file says, and a line of it comes from a finished run."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import DataError, RunFolderError
from vlm2vla_sim.types import EpisodeResult, Outcome

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def leaderboard():
    spec = importlib.util.spec_from_file_location("leaderboard", ROOT / "benchmarks" / "leaderboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["leaderboard"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["leaderboard"]


def results(successes: int = 72) -> list[EpisodeResult]:
    done = [
        EpisodeResult(task, k, 0, "mujoco", "twin", "mini", "vlm2vla", "grid", "x", Outcome.FAILURE)
        for task in TASKS
        for k in range(24)
    ]
    made = {"model": {"model_digest": "a" * 64, "adapter_digest": "b" * 64}}
    return [
        dataclasses.replace(
            one,
            outcome=Outcome.SUCCESS if n < successes else Outcome.FAILURE,
            success_at_end=n < successes,
            provenance=made,
        )
        for n, one in enumerate(done)
    ]


def test_the_page_shows_what_the_file_says(leaderboard):
    page = leaderboard.PAGE.read_text(encoding="utf-8")
    assert page == leaderboard.rendered(page, leaderboard.read()), "run: python benchmarks/leaderboard.py render"
    assert "published: " in page
    assert "measured: " in page


def test_a_run_becomes_a_line_with_its_interval_and_weights(leaderboard):
    entry = leaderboard.entry_of(results(), command="vlm2vla evaluate", date="2026-11-28")
    assert (entry.suite, entry.backend, entry.k, entry.n, entry.rate) == ("simpler", "mujoco", 72, 96, 0.75)
    assert (entry.low, entry.high) == (0.6549, 0.8259)
    assert entry.digest == "aaaaaaaaaaaa+bbbbbbbbbbbb"
    shown = "\n".join(leaderboard.table([entry]))
    assert "| mini | vlm2vla | mujoco | 72/96, 75.0% (65% to 83%) | success at the last step |" in shown
    again = [dataclasses.replace(one, condition=name) for one in results() for name in ("dim", "bright")]
    shared = leaderboard.entry_of(again, command="vlm2vla evaluate", date="2026-11-28")
    assert (shared.k, shared.n, shared.low, shared.high) == (144, 192, None, None), "scenes are shared"
    assert leaderboard.Entry(**json.loads(json.dumps(dataclasses.asdict(entry)))) == entry


def test_a_run_with_open_episodes_and_an_entry_without_its_source_are_refused(leaderboard):
    unknown = dataclasses.replace(results()[0], outcome=Outcome.UNKNOWN, success_at_end=None)
    with pytest.raises(RunFolderError, match="1 of 97 episodes have no verdict"):
        leaderboard.entry_of([*results(), unknown], command="x", date="2026-11-28")
    entry = leaderboard.entry_of(results(), command="x", date="2026-11-28")
    with pytest.raises(DataError, match="lacks k, n or its command"):
        dataclasses.replace(entry, command=None)
    with pytest.raises(DataError, match="has no reference"):
        dataclasses.replace(entry, source="published")
    with pytest.raises(DataError, match="72 of 96 is another"):
        dataclasses.replace(entry, rate=0.9)
