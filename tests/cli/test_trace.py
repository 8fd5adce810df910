"""`vlm2vla trace` shows an episode as it was spoken."""

from __future__ import annotations

import json

import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.types import EpisodeResult, Outcome

STAGES = [
    {
        "name": "subtasks",
        "text": "1. grasp it\n2. put it down",
        "tokens": 12,
        "seconds": 1.5,
        "error": "",
        "retries": 2,
    },
    {"name": "plan", "text": "move down", "tokens": 2, "seconds": 0.25, "error": "", "retries": 0},
    {"name": "action", "text": "no idea", "tokens": 2, "seconds": 0.1, "error": "there is no list", "retries": 0},
]


@pytest.fixture
def run(tmp_path):
    decision = {
        "step": 7,
        "subtask": "grasp it",
        "plan": "move down",
        "action": "no idea",
        "stages": STAGES,
        "error": "x",
        "words": {
            "said": ["down"], "written": ["up", "open"], "moved": None,
            "said_written": False, "written_moved": None, "said_moved": None,
        },
    }  # fmt: skip
    asked = {"seed": 3, "backend": "point", "profile": "point", "policy": "vlm", "action_format": "vlm2vla"}
    results = [
        EpisodeResult(
            task=task, episode_id=k, **asked, layouts="grid", instruction=f"do {task}", outcome=Outcome.FAILURE,
            decisions=(decision,), parse_failures=1, steps=60, reason="gave up on 'grasp it' after 10 attempts",
            failure="missed_grasp",
        )
        for task, k in (("carrot_on_plate", 0), ("carrot_on_plate", 1), ("stack_cube", 1))
    ]  # fmt: skip
    (tmp_path / "results.jsonl").write_text("".join(result.to_json() + "\n" for result in results))
    return tmp_path


def test_an_episode_is_printed_stage_by_stage_with_what_each_cost(run, capsys):
    assert main(["trace", str(run), "0"]) == 0
    out = capsys.readouterr().out
    assert "TASK      do carrot_on_plate" in out
    assert "step 7  grasp it" in out
    assert "  SUBTASKS  1. grasp it\n            2. put it down   (12 tokens, 1.50 s, 2 retries)" in out
    assert "  PLAN      move down   (2 tokens, 0.25 s)" in out
    assert "rejected: there is no list" in out
    assert "failure after 60 steps, 1 decisions, 1 parse errors: gave up on 'grasp it' after 10 attempts" in out


def test_words_that_disagree_and_the_cause_of_failure_are_marked(run, capsys):
    assert main(["trace", str(run), "0"]) == 0
    out = capsys.readouterr().out
    assert "  DISAGREE  said: down; written: up, open\n" in out
    assert "cause: missed grasp\nplan and action text agree in 0 of 1 decisions\n" in out


def test_in_json_it_is_the_line_of_the_results(run, capsys):
    assert main(["trace", str(run), "1", "--task", "stack_cube", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["instruction"] == "do stack_cube"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["1"], "choose one with --task"),
        (["5"], "has no episode 5"),
        (["0", "--task", "stack_cube"], "of stack_cube"),
        (["0", "--policy", "hold"], "no episode 0 of hold"),
    ],
)
def test_what_is_not_there_or_not_clear_is_told(run, capsys, words, said):
    assert main(["trace", str(run), *words]) == 1
    assert said in capsys.readouterr().err


def test_a_session_with_several_policies_asks_which(run, capsys):
    path = run / "results.jsonl"
    path.write_text(path.read_text() + path.read_text().replace('"vlm"', '"mini"'))
    assert main(["trace", str(run), "0"]) == 1
    assert "episode 0 of several policies (mini, vlm); choose one with --policy" in capsys.readouterr().err
    assert main(["trace", str(run), "0", "--policy", "vlm"]) == 0
    assert "policy vlm" in capsys.readouterr().out


def test_a_folder_without_results_is_told(tmp_path, capsys):
    assert main(["trace", str(tmp_path)]) == 1
    assert "results.jsonl" in capsys.readouterr().err
