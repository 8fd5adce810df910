"""Is B worse than A: the statistics against scipy and statsmodels, the pairing, the verdict, the command."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from itertools import product

import numpy as np
import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.errors import NotComparableError, RunFolderError, SettingError, UnknownNameError
from vlm2vla_sim.evaluation.comparison import statistics
from vlm2vla_sim.evaluation.comparison.compare import Pairing, Verdict, compare
from vlm2vla_sim.evaluation.comparison.sides import read_side
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.types import EpisodeResult, Outcome

scipy_stats = pytest.importorskip("scipy.stats", reason="needs scipy")
TASKS = ("carrot_on_plate", "stack_cube")
TABLES = [(20, 3, 9, 4), (36, 12, 2, 0), (0, 0, 0, 5), (5, 0, 0, 0), (10, 10, 0, 10), (1, 0, 7, 30), (90, 2, 2, 2)]


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (3, 12), (40, 17), (0, 9)])
def test_mcnemar_is_the_one_of_statsmodels(b, c):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="needs statsmodels")
    expected = tables.mcnemar([[7, b], [c, 4]], exact=True).pvalue if b + c else 1.0
    assert statistics.mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("a", "m", "b", "n"), [(8, 10, 1, 6), (0, 24, 5, 24), (12, 24, 12, 24), (88, 96, 70, 96)])
def test_fisher_is_the_one_of_scipy(a, m, b, n):
    expected = scipy_stats.fisher_exact([[a, m - a], [b, n - b]]).pvalue
    assert statistics.fisher_exact(a, m, b, n) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("a", "m", "b", "n"), [(8, 10, 1, 6), (0, 24, 5, 24), (56, 70, 48, 80), (10, 10, 0, 20)])
def test_the_unpaired_interval_is_newcombes_of_statsmodels(a, m, b, n):
    proportion = pytest.importorskip("statsmodels.stats.proportion", reason="needs statsmodels")
    expected = proportion.confint_proportions_2indep(b, n, a, m, method="newcomb")
    assert statistics.unpaired_interval(a, m, b, n) == pytest.approx(expected, abs=1e-9)


def test_holm_is_the_one_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="needs statsmodels")
    p = [0.001, 0.2, 0.03, 0.03, 0.9, 0.012]
    assert statistics.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])
    assert statistics.holm([]) == []


@pytest.mark.parametrize("table", TABLES)
def test_the_paired_interval_holds_the_difference_and_turns_with_the_sides(table):
    a, b, c, d = table
    low, high = statistics.paired_interval(a, b, c, d)
    difference = (c - b) / sum(table)
    assert -1 <= low <= difference <= high <= 1
    assert statistics.paired_interval(a, c, b, d) == pytest.approx((-high, -low))


def test_the_paired_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    for rate, drop, correlated in product((0.9, 0.6), (0.0, 0.2), (0.0, 0.7)):
        held = 0
        for _ in range(600):
            first = rng.random(48) < rate
            again = np.where(rng.random(48) < correlated, first, rng.random(48) < rate)
            second = again & (rng.random(48) > drop / rate)
            a, b, c = int((first & second).sum()), int((first & ~second).sum()), int((~first & second).sum())
            low, high = statistics.paired_interval(a, b, c, 48 - a - b - c)
            held += low <= -drop <= high
        assert held / 600 > 0.92


@pytest.mark.parametrize(("n", "drop", "discordance"), [(24, 0.3, 0.4), (96, 0.15, 0.2), (96, 0.0, 0.1)])
def test_the_power_is_that_of_simulated_comparisons(n, drop, discordance):
    rng = np.random.default_rng(1)
    shares = [(discordance + drop) / 2, (discordance - drop) / 2, 1 - discordance]
    counts = rng.multinomial(n, shares, size=4000)
    found = np.mean([statistics.mcnemar_exact(int(b), int(c)) <= 0.05 for b, c, _ in counts])
    power = statistics.paired_power(n, drop, discordance)
    assert abs(found - power) < 4 * math.sqrt(0.25 / 4000)


def test_power_is_refused_for_a_difference_that_the_discordance_cannot_hold():
    with pytest.raises(ValueError, match="discordance"):
        statistics.paired_power(10, 0.5, 0.2)


# Runs.


def result(task: str, number: int, *, won: bool, seed: int = 7, policy: str = "a", **values) -> EpisodeResult:
    fields = {
        "backend": "mujoco", "profile": "", "action_format": "vlm2vla", "layouts": "grid", "instruction": task,
        "outcome": Outcome.SUCCESS if won else Outcome.FAILURE, "success_at_end": won, "success_once": won,
        "versions": {"vlm2vla_sim": "0.1.0", "mujoco": "3.3.7"},
    } | values  # fmt: skip
    return EpisodeResult(task=task, episode_id=number, seed=seed, policy=policy, **fields)


def folder(path, results, **settings):
    path.mkdir(parents=True)
    path.joinpath("results.jsonl").write_text("".join(one.to_json() + "\n" for one in results))
    path.joinpath("settings.json").write_text(
        json.dumps({"policy": "a", "layouts": "grid", "quality": "fast"} | settings)
    )
    return str(path)


def run(path, wins: dict[str, list[bool]], **values):
    results = [result(task, k, won=won, **values) for task, row in wins.items() for k, won in enumerate(row)]
    return folder(path, results)


def rows(rate: float, n: int = 24) -> list[bool]:
    return [k < round(rate * n) for k in range(n)]


def test_an_inverted_gripper_in_one_task_is_worse_there(tmp_path):
    good = {task: rows(0.95) for task in ("spoon", "carrot", "cube", "eggplant")}
    baseline = read_side(run(tmp_path / "a", good))
    candidate = read_side(run(tmp_path / "b", good | {"cube": rows(0)}, policy="b"))
    (found,) = compare(baseline, [candidate])
    assert found.verdict is Verdict.WORSE
    assert [cell.name for cell in found.cells if cell.is_worse] == ["cube", "overall"]
    assert found.pairing is Pairing.EPISODE
    assert (found.overall.only_baseline, found.overall.only_candidate) == (23, 0)


def test_runs_of_a_policy_in_other_seeds_are_not_worse_in_95_of_100(tmp_path):
    """200 pairs of runs, resampled from the lines of a real one, in which 1 cm of error makes some episodes fail."""
    settings = RunSettings(policy="scripted", noise_cm=1.0, backend="point", image_size=None)
    side = read_side(str(run_suite(settings, out=tmp_path / "run", video=False).folder))
    lines = {}
    for episode in side.episodes:
        lines.setdefault(episode.task, []).append(episode)
    assert [len(of_task) for of_task in lines.values()] == [24] * 4
    assert 0.03 < np.mean([not episode.success_at_end for episode in side.episodes]) < 0.2
    rng = np.random.default_rng(5)
    verdicts = []
    for _ in range(200):
        drawn = [
            tuple(
                dataclasses.replace(of_task[rng.integers(len(of_task))], episode_id=k, seed=seed)
                for of_task in lines.values()
                for k in range(24)
            )
            for seed in (1, 2)
        ]
        again = [dataclasses.replace(side, episodes=of_seed) for of_seed in drawn]
        (found,) = compare(again[0], again[1:])
        assert found.pairing is Pairing.SCENE
        verdicts.append(found.verdict)
    assert verdicts.count(Verdict.NOT_WORSE) >= 190
    assert verdicts.count(Verdict.WORSE) <= 10


def test_a_real_run_with_the_gripper_inverted_in_one_task_is_worse_there(tmp_path):
    settings = RunSettings(policy="scripted", backend="point", image_size=None, episodes=10, tasks=TASKS)
    inverted = dataclasses.replace(settings, policy="fakes:INVERTED_STACKER")
    folders = [run_suite(s, out=tmp_path / s.policy[:5], video=False).folder for s in (settings, inverted)]
    (found,) = compare(read_side(str(folders[0])), [read_side(str(folders[1]))])
    assert found.verdict is Verdict.WORSE
    assert "stack_cube" in [cell.name for cell in found.cells if cell.is_worse]
    assert not any(cell.is_worse for cell in found.cells if cell.name not in ("stack_cube", "overall"))
    assert main(["compare", *map(str, folders)]) == 1


def test_few_episodes_are_underpowered_and_say_what_they_could_find(tmp_path):
    baseline, candidate = (read_side(run(tmp_path / name, {"carrot": rows(0.5, 6)})) for name in "ab")
    (found,) = compare(baseline, [candidate])
    assert found.verdict is Verdict.UNDERPOWERED
    assert found.overall.detectable is None or found.overall.detectable > 0.5


def test_several_seeds_of_a_policy_are_merged_and_paired(tmp_path):
    one = run(tmp_path / "a1", {"carrot": rows(0.9)}, seed=1)
    two = run(tmp_path / "a2", {"carrot": rows(0.9)}, seed=2)
    other = run(tmp_path / "b", {"carrot": rows(0.5)}, seed=2, policy="b")
    (found,) = compare(read_side(f"{one},{two}"), [read_side(other)])
    assert (found.pairing, found.overall.baseline.n) == (Pairing.EPISODE, 24)
    assert found.left_out == {"without a partner": 24}
    assert found.repeated_scenes
    with pytest.raises(NotComparableError, match="more than once"):
        read_side(f"{one},{one}")
    with pytest.raises(NotComparableError, match="policies are a and b"):
        read_side(f"{one},{other}")


def test_random_layouts_of_other_seeds_are_independent_samples(tmp_path):
    sides = [
        read_side(run(tmp_path / n, {"carrot": rows(r)}, seed=s, layouts="random"))
        for n, r, s in (("a", 1, 1), ("b", 0.5, 2))
    ]
    (found,) = compare(sides[0], sides[1:])
    assert (found.pairing, found.overall.only_baseline, found.verdict) == (Pairing.NONE, None, Verdict.WORSE)


def test_episodes_without_an_outcome_are_left_out_and_counted(tmp_path):
    base = [result("carrot", k, won=True) for k in range(10)]
    other = [result("carrot", k, won=True) for k in range(8)]
    other += [result("carrot", 8, won=False, outcome=Outcome.ERROR, success_at_end=None)]
    a, b = read_side(folder(tmp_path / "a", base)), read_side(folder(tmp_path / "b", other))
    (found,) = compare(a, [b])
    assert found.overall.baseline.n == 8
    assert found.left_out == {f"outcome error ({b.name})": 1, "without a partner": 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backend": "simpler"}, "backend: mujoco, simpler"),
        ({"layouts": "random"}, "layouts: grid, random"),
        ({"profile": "maniskill3"}, "profile"),
        ({"versions": {"vlm2vla_sim": "0.1.0", "mujoco": "3.4.0"}}, "version of mujoco: 3.3.7, 3.4.0"),
    ],
)
def test_runs_under_other_conditions_are_refused_unless_allowed(tmp_path, change, said):
    a = read_side(run(tmp_path / "a", {"carrot": rows(0.5)}))
    b = read_side(run(tmp_path / "b", {"carrot": rows(0.5)}, **change))
    with pytest.raises(NotComparableError, match=said):
        compare(a, [b])
    (found,) = compare(a, [b], allow=[*change])
    assert found.allowed


def test_a_package_that_only_one_side_has_loaded_and_how_a_run_was_made_are_no_conditions(tmp_path):
    results = [result("carrot", k, won=True) for k in range(5)]
    lean = [result("carrot", k, won=True, versions={"vlm2vla_sim": "0.1.0"}) for k in range(5)]
    broken = {"outcome": Outcome.ERROR, "success_at_end": None, "versions": {}}
    results = [dataclasses.replace(r, profile="twin") for r in results]
    lean = [dataclasses.replace(r, profile="twin") for r in lean]
    died = result("carrot", 5, won=False, **broken)
    a = folder(tmp_path / "a", [died, *results], merged=["x"], shard="0/2")
    compare(read_side(a), [read_side(folder(tmp_path / "b", lean))])
    unknown = [dataclasses.replace(r, versions={}) for r in lean]
    with pytest.raises(NotComparableError, match=r"version of mujoco: 3\.3\.7, not recorded"):
        compare(read_side(a), [read_side(folder(tmp_path / "c", unknown))])


def test_settings_other_than_the_policys_must_agree(tmp_path):
    results = [result("carrot", k, won=True) for k in range(5)]
    a, b = folder(tmp_path / "a", results), folder(tmp_path / "b", results, quality="high")
    with pytest.raises(NotComparableError, match="quality: fast, high"):
        compare(read_side(a), [read_side(b)])
    c = folder(tmp_path / "c", results, policy="b", policy_options={"state": True}, language="es")
    compare(read_side(a), [read_side(c)])


def test_an_unknown_rule_margin_task_or_folder_is_refused(tmp_path):
    a = read_side(run(tmp_path / "a", {"carrot": rows(0.5)}))
    b = read_side(run(tmp_path / "b", {"spoon": rows(0.5)}))
    with pytest.raises(UnknownNameError, match="success rule"):
        compare(a, [a], rule="won")
    with pytest.raises(SettingError, match="margin"):
        compare(a, [a], margin=0)
    with pytest.raises(NotComparableError, match="share no task"):
        compare(a, [b])
    with pytest.raises(NotComparableError, match="share no"):
        compare(a, [a], rule="success_released")
    with pytest.raises(RunFolderError, match=r"no results\.jsonl"):
        read_side(str(tmp_path))


# The command.


def test_the_command_answers_with_its_exit_status(tmp_path, capsys):
    good = run(tmp_path / "good", {"carrot": rows(0.9, 96)})
    bad = run(tmp_path / "bad", {"carrot": rows(0.3, 96)}, policy="b")
    few = run(tmp_path / "few", {"carrot": rows(0.9, 5)}, policy="c")
    assert main(["compare", good, good]) == 0
    assert "Not worse by 15 points or more" in capsys.readouterr().out
    assert main(["compare", good, bad]) == 1
    said = capsys.readouterr().out
    assert "Worse: carrot." in said
    assert "57 / 0" in said
    assert main(["compare", good, few]) == 2
    assert "Underpowered" in capsys.readouterr().out
    assert main(["compare", good, str(tmp_path / "none")]) == 3
    assert main(["compare", good, "x" * 300]) == 3
    assert main(["compare", good]) == 3
    assert main(["compare", "--rule"]) == 3
    capsys.readouterr()
    assert main(["compare", good, bad, "--markdown"]) == 1
    assert "| carrot | 86/96 | 29/96 |" in capsys.readouterr().out
    assert main(["compare", good, bad, few, "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert [one["verdict"] for one in values["comparisons"]] == ["worse", "underpowered"]


def test_a_session_of_two_policies_is_compared_alone(tmp_path, capsys):
    results = [
        result("carrot", k, won=k % 3 > 0, policy=p, layouts="grid") for k in range(12) for p in ("mine", "yours")
    ]
    session = folder(tmp_path / "session", results)
    assert main(["compare", session]) == 2
    said = capsys.readouterr().out
    assert f"{session}#mine" in said
    assert f"{session}#yours" in said
    assert main(["compare", f"{session}#mine", f"{session}#ours"]) == 3
    assert "no episode of the policy 'ours'" in capsys.readouterr().err


def test_runs_of_evaluate_are_compared(tmp_path, capsys):
    for name, noise in (("exact", 0.0), ("noisy", 4.0)):
        settings = RunSettings(
            policy="scripted", tasks=("carrot_on_plate",), episodes=8, backend="point", image_size=None, noise_cm=noise
        )
        run_suite(settings, out=tmp_path / name, video=False)
    assert main(["compare", str(tmp_path / "exact"), str(tmp_path / "noisy")]) in (1, 2)
    said = capsys.readouterr().out
    assert "paired by task, episode and seed" in said
    assert "Failures of the baseline" not in said
    causes = re.search(r"Failures of the candidate: missed grasp (\d+)", said)
    assert causes
    assert int(causes[1]) >= 1
