"""Rates carry the right intervals, and a broken machine never looks like a weak policy."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.evaluation.rates import Rate, wilson_interval
from vlm2vla_sim.evaluation.results import format_table, read_results, sort_results, summarize
from vlm2vla_sim.types import EpisodeResult, Outcome


def episode(task="carrot_on_plate", episode_id=0, outcome=Outcome.FAILURE, **values) -> EpisodeResult:
    values = {"success_at_end": outcome is Outcome.SUCCESS, "steps": 60, "instruction": "put carrot on plate", **values}
    return EpisodeResult(
        task=task,
        episode_id=episode_id,
        seed=1,
        backend="point",
        profile="point",
        policy="hold",
        action_format="vlm2vla",
        layouts="grid",
        outcome=outcome,
        **values,
    )


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (12, 24, 31.4, 68.6),
        (36, 72, 38.7, 61.3),
        (0, 24, 0, 13.8),
        (24, 24, 86.2, 100),
        # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0, 16.11),
        (1, 29, 0.61, 17.18),
    ],
)
def test_the_interval_has_the_published_values(k, n, low, high):
    found = wilson_interval(k, n)
    digits = 0.05 if n in (24, 72) else 0.005
    assert 100 * found[0] == pytest.approx(low, abs=digits)
    assert 100 * found[1] == pytest.approx(high, abs=digits)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_ends_are_the_rates_that_a_score_test_just_does_not_reject(case):
    k, n = case
    low, high = wilson_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            score = abs(k / n - end) / math.sqrt(end * (1 - end) / n)
            assert score == pytest.approx(1.959964, rel=1e-4)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_the_failures_mirrors_that_of_the_successes(case):
    k, n = case
    low, high = wilson_interval(k, n)
    mirrored = wilson_interval(n - k, n)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_what_is_no_rate_is_refused(k, n):
    with pytest.raises(ValueError, match="is not a rate"):
        wilson_interval(k, n)


def test_a_rate_of_nothing_is_null_and_not_zero():
    assert Rate(0, 0).to_json() == {"k": 0, "n": 0, "rate": None, "low": None, "high": None}
    assert str(Rate(0, 0)) == "-"


def test_errors_and_aborted_episodes_are_counted_apart():
    results = [
        episode(episode_id=0, outcome=Outcome.SUCCESS),
        episode(episode_id=1),
        episode(episode_id=2, outcome=Outcome.ERROR, reason="it broke"),
        episode(episode_id=3, outcome=Outcome.ABORTED),
        episode(episode_id=4, outcome=Outcome.ERROR),
    ]
    overall = summarize(results).to_json()["overall"]
    assert (overall["n"], overall["n_error"], overall["n_aborted"]) == (2, 2, 1)
    assert overall["success_at_end"]["k"] == 1
    assert overall["success_at_end"]["n"] == 2
    assert overall["success_at_end"]["rate"] == 0.5


def test_a_run_in_which_every_episode_broke_has_no_rate():
    summary = summarize([episode(episode_id=k, outcome=Outcome.ERROR, grasped=True) for k in range(3)]).to_json()
    overall = summary["overall"]
    assert (overall["n"], overall["n_error"]) == (0, 3)
    for name in ("success_at_end", "success_once", "success_released", "grasped", "parse_failure_rate"):
        assert overall[name] == {"k": 0, "n": 0, "rate": None, "low": None, "high": None}
    assert overall["mean_first_success_step"] is None


def test_no_episode_at_all_makes_an_empty_summary():
    summary = summarize([])
    assert summary.tasks == {}
    assert summary.overall.n == 0
    assert "Episodes scored: 0" in format_table(summary)


@pytest.mark.parametrize(
    "name",
    [
        *("success_once", "success_released", "success_settled", "grasped", "consecutive_grasp"),
        *("moved_correct_object", "on_target"),
    ],
)
def test_each_credit_is_counted_from_its_own_field(name):
    results = [episode(episode_id=0, **{name: True}), episode(episode_id=1), episode(episode_id=2)]
    overall = summarize(results).to_json()["overall"]
    credits = ("success_once", "success_released", "grasped", "consecutive_grasp", "moved_correct_object", "on_target")
    credits += ("success_settled",)
    assert {credit: overall[credit]["k"] for credit in credits} == {credit: int(credit == name) for credit in credits}


def test_settled_is_a_column_over_the_episodes_for_which_it_is_known():
    results = [episode(episode_id=k, success_settled=known) for k, known in enumerate((True, False, None))]
    summary = summarize(results)
    assert summary.overall.success_settled == Rate(1, 2)
    head, _, row, *_ = format_table(summary).splitlines()
    at = head.index("settled")
    assert row[at:].split()[0] == "1/2"
    assert format_table(summarize(results[2:])).splitlines()[2][at:].split()[0] == "-"


def test_unreadable_texts_are_counted_among_all_texts_resampled_ones_included():
    read, lost = {"action": "[[1]]", "error": ""}, {"action": "hm", "error": "no list"}
    results = [
        episode(episode_id=0, decisions=(read, lost, read), parse_failures=1),
        # Read at the third attempt: two texts were lost, one was read.
        episode(episode_id=1, decisions=(read,), parse_failures=2),
        episode(episode_id=2, decisions=(lost,) * 5, parse_failures=5, outcome=Outcome.ERROR),
    ]
    overall = summarize(results).overall
    assert overall.parse_failure_rate == Rate(3, 6)
    assert overall.decisions == 4


def test_sums_and_means_are_over_the_scored_episodes():
    results = [
        episode(episode_id=0, steps=60, clipped_steps=3, success_once=True, first_success_step=40, seconds=1.5),
        episode(episode_id=1, steps=60, clipped_steps=0, success_once=True, first_success_step=20, seconds=1.0),
        episode(episode_id=2, steps=7, clipped_steps=7, outcome=Outcome.ERROR, seconds=0.5),
    ]
    overall = summarize(results).overall
    assert (overall.steps, overall.clipped_steps, overall.mean_first_success_step) == (120, 3, 30)
    assert overall.seconds == 3.0, "the time was spent on all of them"


def test_tasks_are_summed_up_one_by_one_and_together_whatever_the_order_they_ended_in():
    results = [
        episode("eggplant_in_basket", 1),
        episode("carrot_on_plate", 1, Outcome.SUCCESS),
        episode("spoon_on_towel", 0),
        episode("carrot_on_plate", 0),
        episode("a task of your own", 0),
    ]
    summary = summarize(results)
    order = ["spoon_on_towel", "carrot_on_plate", "eggplant_in_basket", "a task of your own"]
    assert list(summary.tasks) == order
    assert {name: task.success_at_end for name, task in summary.tasks.items()}["carrot_on_plate"] == Rate(1, 2)
    assert summary.overall.success_at_end == Rate(1, 5)
    assert summarize(reversed(results)) == summary
    assert [(r.task, r.episode_id) for r in sort_results(results)][1:3] == [
        ("carrot_on_plate", 0),
        ("carrot_on_plate", 1),
    ]


def test_the_summary_is_json_with_the_names_that_others_read():
    text = json.dumps(summarize([episode(outcome=Outcome.SUCCESS)]).to_json())
    overall = json.loads(text)["overall"]
    assert {"n", "n_error", "n_aborted", "success_at_end", "success_once", "success_released"} <= set(overall)
    assert set(overall["success_at_end"]) == {"k", "n", "rate", "low", "high"}
    assert set(json.loads(text)["tasks"]) == {"carrot_on_plate"}


def test_the_table_shows_a_line_a_task_and_one_for_all():
    results = [episode("spoon_on_towel", k, Outcome.SUCCESS if k < 12 else Outcome.FAILURE) for k in range(24)]
    results += [episode("carrot_on_plate", 0, Outcome.ERROR), episode("carrot_on_plate", 1, Outcome.ABORTED)]
    lines = format_table(summarize(results)).splitlines()
    assert lines[0].split()[:2] == ["success", "at"]
    assert lines[2].startswith("spoon_on_towel   12/24 50.0 % (31.4 to 68.6)")
    assert lines[3].startswith("carrot_on_plate  -")
    assert lines[5].startswith("all tasks        12/24")
    assert lines[-1] == "In brackets: 95 % Wilson interval. Episodes scored: 24; errors: 1; aborted: 1."


def test_the_table_of_one_task_has_no_total():
    table = format_table(summarize([episode()]))
    assert "all tasks" not in table


def test_results_are_read_back_as_they_were_written(tmp_path):
    results = [episode(episode_id=k, instruction="grüße\u2028 \x85 \x1d", reason="a\nb") for k in range(3)]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(result.to_json() + "\n" for result in results), encoding="utf-8")
    assert read_results(path) == results


def test_an_incomplete_last_line_is_left_out(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(episode().to_json() + "\n" + episode(episode_id=1).to_json()[:50], encoding="utf-8")
    assert read_results(path) == [episode()]


@pytest.mark.parametrize("line", ["{}", "not json", "[]", '{"outcome": "maybe"}', "3", ""])
def test_a_line_that_is_no_episode_is_named(tmp_path, line):
    path = tmp_path / "results.jsonl"
    path.write_text(f"{episode().to_json()}\n{line}\n{episode().to_json()}\n", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"Line 2 of .*results\.jsonl is not an episode"):
        read_results(path)


def test_results_that_are_not_there_are_missed_in_a_sentence(tmp_path):
    with pytest.raises(RunFolderError, match="cannot be read: No such file"):
        read_results(tmp_path / "results.jsonl")


def test_keys_of_a_newer_version_are_left_out(tmp_path):
    values = {**dataclasses.asdict(episode()), "colour": "blue"}
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(values) + "\n", encoding="utf-8")
    assert read_results(path) == [episode()]


def test_tokens_per_second_are_over_the_answers_whose_tokens_are_known():
    stages = [{"tokens": 30, "seconds": 1.5}, {"tokens": None, "seconds": 9.0}, {"tokens": 10, "seconds": 0.5}]
    spoken = episode(decisions=({"stages": stages}, {"stages": [{"tokens": 0, "seconds": 2.0}]}))
    summary = summarize([spoken, episode(episode_id=1)])
    assert (summary.overall.tokens, summary.overall.tokens_per_second) == (40, 20.0)
    assert summary.to_json()["tasks"]["carrot_on_plate"]["tokens_per_second"] == 20.0
    assert format_table(summary).endswith("errors: 0; tokens per second of an answer: 20.")
    unknown = summarize([episode(decisions=({"stages": stages[1:2]},))])
    assert (unknown.overall.tokens, unknown.overall.tokens_per_second) == (None, None)
    assert "tokens" not in format_table(unknown)


def test_truncated_answers_and_retried_requests_are_counted_and_told():
    results = [episode(episode_id=k, truncations=k, retries=2 * k) for k in range(3)]
    summary = summarize(results)
    assert (summary.overall.truncations, summary.overall.retries) == (3, 6)
    assert summary.to_json()["overall"]["truncations"] == 3
    assert format_table(summary).endswith("errors: 0; truncated answers: 3; retried requests: 6.")
    quiet = format_table(summarize([episode()]))
    assert "truncated" not in quiet
    assert "retried" not in quiet
