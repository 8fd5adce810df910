"""LeRobot's eval_info.json as a side of a comparison, and what is refused of it."""

from __future__ import annotations

import json

import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.errors import NotComparableError, RunFolderError, SettingError
from vlm2vla_sim.evaluation.comparison.compare import Pairing, Verdict, compare
from vlm2vla_sim.evaluation.comparison.sides import read_side


def entry(task: int, wins: list[bool], **metrics) -> dict:
    n = len(wins)
    found = {"sum_rewards": [0.0] * n, "max_rewards": [0.0] * n, "successes": wins, "video_paths": []} | metrics
    return {"task_group": "libero_10", "task_id": task, "metrics": found}


def write(folder, *entries: dict, **overall) -> str:
    """As lerobot 0.4.4 writes it (scripts/lerobot_eval.py, eval_policy_all and eval_main)."""
    folder.mkdir(parents=True)
    n = sum(len(e["metrics"]["sum_rewards"]) for e in entries)
    values = {
        "per_task": list(entries),
        "per_group": {"libero_10": {"avg_sum_reward": float("nan"), "pc_success": 50.0, "n_episodes": n}},
        "overall": {"pc_success": 50.0, "n_episodes": n, "eval_s": 1.0, "eval_ep_s": 0.1, "video_paths": []} | overall,
    }
    (folder / "eval_info.json").write_text(json.dumps(values, indent=2))
    return str(folder)


def rows(won: int, of: int = 50) -> list[bool]:
    return [k < won for k in range(of)]


def test_two_files_are_independent_samples_until_their_seeds_are_given(tmp_path):
    a = write(tmp_path / "a", entry(0, rows(45)), entry(3, rows(40)))
    b = write(tmp_path / "b", entry(3, rows(10)), entry(0, rows(44)))
    (found,) = compare(read_side(a), [read_side(b)])
    assert (found.pairing, found.verdict) == (Pairing.NONE, Verdict.WORSE)
    assert [cell.name for cell in found.cells if cell.is_worse] == ["libero_10_3", "overall"]
    assert found.cells[0].candidate.k == 44
    (paired,) = compare(read_side(f"{a}#seed=1000"), [read_side(f"{b}/eval_info.json#seed=1000")])
    assert (paired.pairing, paired.overall.only_baseline) == (Pairing.EPISODE, 31)
    (shifted,) = compare(read_side(f"{a}#seed=1000"), [read_side(f"{b}#seed=1001")])
    assert shifted.pairing is Pairing.NONE  # episode i has another seed
    (half,) = compare(read_side(f"{a}#seed=1000"), [read_side(b)])
    assert half.pairing is Pairing.NONE
    assert main(["compare", a, b]) == 1


def test_the_file_of_an_earlier_lerobot_names_its_seeds(tmp_path):
    def earlier(name: str, wins: list[bool], first: int | None) -> str:
        episodes = [
            {"episode_ix": i, "sum_reward": 0.0, "max_reward": 0.0, "success": won, "seed": first and first + i}
            for i, won in enumerate(wins)
        ]
        (tmp_path / name).write_text(json.dumps({"per_episode": episodes, "aggregated": {"pc_success": 50.0}}))
        return str(tmp_path / name)

    a, b = earlier("a.json", rows(45), 1000), earlier("b.json", rows(20), 1000)
    (found,) = compare(read_side(a), [read_side(b)])
    assert (found.pairing, found.overall.only_baseline, found.verdict) == (Pairing.EPISODE, 25, Verdict.WORSE)
    assert not read_side(earlier("c.json", rows(20), None)).seeded
    with pytest.raises(SettingError, match="from 1000 on, not from 7"):
        read_side(f"{a}#seed=7")


def test_what_cannot_be_paired_or_compared_is_refused(tmp_path):
    a = write(tmp_path / "a", entry(0, rows(45)))
    with pytest.raises(NotComparableError, match="do not name their policy"):
        read_side(f"{a}#seed=1,{write(tmp_path / 'b', entry(1, rows(45)))}#seed=1")
    with pytest.raises(SettingError, match="the --seed of that evaluation"):
        read_side(f"{a}#pi0")
    with pytest.raises(RunFolderError, match="holds rates of libero_10_0"):
        read_side(write(tmp_path / "c", entry(0, rows(45), successes=0.9)))
    with pytest.raises(RunFolderError, match="50 episodes by task and 49 overall"):
        read_side(write(tmp_path / "d", entry(0, rows(45)), n_episodes=49))
    with pytest.raises(RunFolderError, match="twice"):
        read_side(write(tmp_path / "e", entry(0, rows(45)), entry(0, rows(45))))
    with pytest.raises(RunFolderError, match="success of libero_10_0 episode 0 is None"):
        read_side(write(tmp_path / "f", entry(0, rows(45), successes=[None] * 50)))
    for text, said in (("{}", "neither"), ("[1", "cannot be read"), ('{"per_task": [{}]}', "no task or successes")):
        (tmp_path / "g.json").write_text(text)
        with pytest.raises(RunFolderError, match=said):
            read_side(str(tmp_path / "g.json"))
    with pytest.raises(NotComparableError, match="share no"):
        compare(read_side(a), [read_side(a)], rule="success_settled")
