"""Required success rates, JUnit XML and the Markdown summary: what a CI job reads."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.errors import SettingError, UnknownNameError
from vlm2vla_sim.evaluation import gates
from vlm2vla_sim.evaluation.results import summarize
from vlm2vla_sim.types import EpisodeResult, Outcome

TASKS = ("carrot", "spoon")


def result(task: str, number: int, outcome: Outcome, **values) -> EpisodeResult:
    won = {Outcome.SUCCESS: True, Outcome.FAILURE: False}.get(outcome)
    fields = {
        "seed": 1, "backend": "point", "profile": "", "policy": "p", "action_format": "prose", "layouts": "grid",
        "instruction": "", "outcome": outcome, "success_at_end": won, "success_once": won,
    } | values  # fmt: skip
    return EpisodeResult(task=task, episode_id=number, **fields)


def episodes(carrot: int, spoon: int, n: int = 10) -> list[EpisodeResult]:
    return [
        result(task, k, Outcome.SUCCESS if k < wins else Outcome.FAILURE)
        for task, wins in (("carrot", carrot), ("spoon", spoon))
        for k in range(n)
    ]


@pytest.mark.parametrize(
    ("given", "by", "said"),
    [
        (("0.7",), "point", []),
        (("0.75",), "point", []),
        (("0.76",), "point", ["overall 76 % is required; reached: 75.0 % (15 of 20)."]),
        (("carrot=0.9", "spoon=0.6"), "point", []),
        (("carrot=0.9", "spoon=0.7"), "point", ["spoon 70 % is required; reached: 60.0 % (6 of 10)."]),
        (("0.5",), "lower", []),
        (("0.6",), "lower", ["overall 60 % is required; reached: 53.1 %, the lower end of its interval (15 of 20)."]),
    ],
)
def test_a_rate_that_is_not_reached_is_a_sentence(given, by, said):
    summary = summarize(episodes(9, 6))
    assert gates.missed(summary, gates.read_requirements(given, TASKS), by) == said


def test_a_rate_that_nobody_knows_is_not_reached():
    summary = summarize([result("carrot", 0, Outcome.UNKNOWN, success_at_end=None, success_once=None)])
    (said,) = gates.missed(summary, gates.read_requirements(["0.1"], TASKS))
    assert said == "overall 10 % is required, and no episode was scored."


@pytest.mark.parametrize("given", ["", "80", "0", "-1", "nan", "carrot=", "carrot=2", "half"])
def test_a_rate_that_is_none_is_refused(given):
    with pytest.raises(SettingError, match=r"expected 0\.8, or TASK=0\.8"):
        gates.read_requirements([given], TASKS)


def test_a_task_that_is_not_run_or_named_twice_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'carrot'"):
        gates.read_requirements(["carot=0.5"], TASKS)
    with pytest.raises(SettingError, match="Two success rates"):
        gates.read_requirements(["0.5", "0.6"], TASKS)


def test_junit_has_a_case_for_each_episode_and_each_missed_rate():
    found = [
        *episodes(1, 0, n=2),
        result("carrot", 2, Outcome.ERROR, reason='the link <broke> & "fell"\x00\ud800', video="videos/a.mp4"),
        result("spoon", 2, Outcome.ABORTED),
    ]
    root = ElementTree.fromstring(gates.junit(found, ["overall 90 % is required."]))
    counts = {
        suite.get("name"): [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] for suite in root
    }
    assert counts == {
        "carrot": ["3", "1", "1", "0"],
        "spoon": ["3", "2", "0", "1"],
        "required success rates": ["1", "1", "0", "0"],
    }
    error = root.find("./testsuite/testcase/error")
    assert error is not None
    assert error.get("message") == 'the link <broke> & "fell"??'


def test_the_markdown_table_has_a_row_for_each_task_and_the_missed_rates():
    text = gates.markdown(summarize(episodes(9, 6)), ["too low"], title="mine")
    assert text.splitlines()[:4] == [
        "### mine",
        "",
        "| task | success at the last step | at any step | errors |",
        "|---|---|---|---|",
    ]
    assert "| carrot | 9/10 90.0 % (59.6 to 98.2) | 9/10 | 0 |" in text
    assert "| all tasks | 15/20" in text
    assert "- **Not reached:** too low" in text
    assert "why episodes failed" not in text, "no cause is known"


def test_causes_of_failure_are_shares_of_the_known_ones_in_markdown_and_named_in_junit():
    results = episodes(9, 6)
    failed = [number for number, one in enumerate(results) if one.outcome is Outcome.FAILURE]
    for number, cause in zip(failed, ("dropped", "dropped", "missed_grasp"), strict=False):
        results[number] = dataclasses.replace(results[number], failure=cause)
    text = gates.markdown(summarize(results))
    assert "| why episodes failed | carrot | spoon | all tasks |" in text
    assert "| dropped | 1/1 100.0 % (20.7 to 100.0) | 1/2 50.0 % (9.5 to 90.5) | 2/3 66.7 % (20.8 to 93.9) |" in text
    assert "| missed grasp | 0/1 0.0 % (0.0 to 79.3) |" in text
    assert "not released" not in text
    root = ElementTree.fromstring(gates.junit(results))
    causes = [failure.get("message") for failure in root.findall("./testsuite/testcase/failure")]
    assert causes[:3] == ["dropped", "dropped", "missed grasp"]
    assert str(causes[3]).startswith("failure after")


EVALUATE = ["evaluate", "--backend", "point", "--tasks", "carrot_on_plate", "--episodes", "2", "--no-video"]


def test_evaluate_ends_with_5_where_a_rate_is_not_reached(tmp_path, capsys):
    words = [*EVALUATE, "--policy", "hold", "--out", str(tmp_path / "run"), "--min-success", "0.5"]
    words += ["--junit", str(tmp_path / "j.xml"), "--markdown", str(tmp_path / "s.md")]
    (tmp_path / "s.md").write_text("before\n")
    assert main(words) == 5
    assert "Success rate: overall 50 % is required; reached: 0.0 % (0 of 2)." in capsys.readouterr().err
    root = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert len(root.findall("./testsuite/testcase/failure")) == 3
    assert (tmp_path / "s.md").read_text().startswith("before\n### hold")


def test_evaluate_ends_with_0_where_it_is(tmp_path):
    words = [*EVALUATE, "--policy", "scripted", "--out", str(tmp_path / "run"), "--min-success", "carrot_on_plate=1"]
    assert main(words) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--min-success", "spoon_on_towel=0.5"], "No task of this run named 'spoon_on_towel'"),
        (["--min-success", "2"], "expected 0.8, or TASK=0.8"),
        (["--junit", "nowhere/there/j.xml"], "cannot be written"),
        (["--markdown", "."], "cannot be written"),
        (["--junit", f"{'x' * 300}.xml"], "a name of 304 bytes"),
    ],
)
def test_what_could_not_be_checked_or_written_is_refused_before_the_first_episode(tmp_path, capsys, words, said):
    out = tmp_path / "run"
    assert main([*EVALUATE, "--policy", "hold", "--out", str(out), *words]) == 1
    assert said in capsys.readouterr().err
    assert not out.exists()
