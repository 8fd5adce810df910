"""Reads `eval_info.json`, the results of `lerobot-eval`, as a side of a comparison.

Since LeRobot 0.4 the file holds successes by task and no seeds (huggingface/lerobot 0.4.4, scripts/lerobot_eval.py,
eval_policy_all); before, the successes of one environment with their seeds (0.3.3, scripts/eval.py, eval_policy).
Episode i of every task is run with the seed of the evaluation (`--seed`, 1000 unless given) plus i.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.types import EpisodeResult, Outcome

EVAL_INFO = "eval_info.json"
NAME = "lerobot"
"""The backend and the layouts of its episodes."""
NOT_RECORDED = "not recorded"
"""The policy, which the file does not name."""


@dataclass(frozen=True)
class EvalInfo:
    """The episodes in a file."""

    episodes: tuple[EpisodeResult, ...]
    """`success_at_end` is LeRobot's success: `is_success` of the step at which the environment ended the episode."""
    seeded: bool
    """Whether their seeds are known; if not, they are partners of none."""


def find_eval_info(path: Path) -> Path | None:
    """The file, where `path` is one or a folder with one."""
    if path.suffix == ".json" and path.is_file():
        return path
    return path / EVAL_INFO if (path / EVAL_INFO).is_file() else None


def read_eval_info(file: Path, option: str) -> EvalInfo:
    """The episodes in `file`. option: "seed=N" for the seed of an evaluation whose file names none, else empty.

    Raises:
        RunFolderError: the file is none of LeRobot's, holds rates only, or contradicts itself.
        SettingError: another option, or a seed for a file that names its own.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise RunFolderError(f"{file} cannot be read ({problem}).") from problem
    start = _start(option, file)
    if isinstance(values, dict) and isinstance(values.get("per_task"), list):
        return _by_task(values, start, file)
    if isinstance(values, dict) and isinstance(values.get("per_episode"), list):
        return _by_episode(values["per_episode"], start, file)
    raise RunFolderError(f"{file} is no {EVAL_INFO} of LeRobot: it has neither a list per_task nor a list per_episode.")


def _start(option: str, file: Path) -> int | None:
    if not option:
        return None
    name, _, number = option.partition("=")
    if name != "seed" or not number.isdecimal():
        raise SettingError(
            f"{file}#{option}: expected {file}#seed=N, the --seed of that evaluation, or nothing after the file: it "
            "holds the episodes of one policy."
        )
    return int(number)


def _by_task(values: dict[str, Any], start: int | None, file: Path) -> EvalInfo:
    episodes: dict[str, list[EpisodeResult]] = {}
    for entry in values["per_task"]:
        try:
            task, successes = f"{entry['task_group']}_{entry['task_id']}", entry["metrics"]["successes"]
        except (TypeError, KeyError) as missing:
            raise RunFolderError(f"{file}: an entry of per_task has no task or successes ({missing}).") from missing
        if not isinstance(successes, list):
            raise RunFolderError(f"{file} holds rates of {task}, not the success of every episode, which is compared.")
        if task in episodes:
            raise RunFolderError(f"{file} holds the task {task} twice.")
        episodes[task] = [_episode(task, i, won, start, file) for i, won in enumerate(successes)]
    found = tuple(episode for of_task in episodes.values() for episode in of_task)
    counted = (values.get("overall") or {}).get("n_episodes", len(found))
    if counted != len(found) or not found:
        raise RunFolderError(f"{file} names {len(found)} episodes by task and {counted} overall: it is not whole.")
    return EvalInfo(found, start is not None)


def _by_episode(entries: list[Any], start: int | None, file: Path) -> EvalInfo:
    try:
        seeds = [entry["seed"] for entry in entries]
        wins = [entry["success"] for entry in entries]
    except (TypeError, KeyError) as missing:
        raise RunFolderError(f"{file}: an entry of per_episode has no {missing}.") from missing
    if not wins:
        raise RunFolderError(f"There is no finished episode in {file}.")
    known = all(type(seed) is int for seed in seeds)
    if known and start is not None and seeds != list(range(start, start + len(seeds))):
        raise SettingError(f"{file} names the seeds of its episodes, from {seeds[0]} on, not from {start}.")
    if known:
        start = None
    episodes = [_episode("task", i, won, start, file) for i, won in enumerate(wins)]
    if not known:
        return EvalInfo(tuple(episodes), start is not None)
    named = (dataclasses.replace(e, seed=seed) for e, seed in zip(episodes, seeds, strict=True))
    return EvalInfo(tuple(named), True)


def _episode(task: str, number: int, won: object, start: int | None, file: Path) -> EpisodeResult:
    if won not in (True, False):  # 0 and 1 too
        raise RunFolderError(f"{file}: the success of {task} episode {number} is {won!r}; expected true or false.")
    return EpisodeResult(
        task=task,
        episode_id=number,
        seed=-1 if start is None else start + number,
        backend=NAME,
        profile="",
        policy=NOT_RECORDED,
        action_format="",
        layouts=NAME,
        instruction="",
        outcome=Outcome.SUCCESS if won else Outcome.FAILURE,
        success_at_end=bool(won),
        success_once=True if won else None,
    )
