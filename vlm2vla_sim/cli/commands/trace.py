"""`vlm2vla trace`: the dialogue between loop and model in one episode of a run."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.core.folder_kind import wrong_folder
from vlm2vla_sim.errors import EpisodeError, RunFolderError, SettingError
from vlm2vla_sim.evaluation.agreement import PAIRS, disagreements
from vlm2vla_sim.evaluation.failures import LABELS
from vlm2vla_sim.evaluation.outcome_shares import PAIR_NAMES
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.evaluation.run_folder import RESULTS
from vlm2vla_sim.evaluation.verdicts import misjudged
from vlm2vla_sim.types import EpisodeResult


def trace(
    run: Annotated[Path, tyro.conf.Positional],
    episode: Annotated[int, tyro.conf.Positional] = 0,
    *,
    task: str = "",
    condition: str = "",
    policy: str = "",
    json: bool = False,
) -> CommandResult:
    """Print the model's answers in one episode, stage by stage, with token counts and seconds.

    Decisions in which plan, action text and the arm's motion disagree are marked, and verdicts that were wrong.

    Args:
        run: The folder of a run of `vlm2vla evaluate`, or of a session.
        episode: Number of the episode.
        task: Name of the task; required if the run has several.
        condition: Name of the condition; required if the run has several, of a suite.
        policy: Name of the policy in the results; required if a session has several.
        json: Print the episode's line of results.jsonl.
    """
    path = run / RESULTS
    if not path.is_file():
        raise RunFolderError(wrong_folder(run, f"a run of `vlm2vla evaluate` or a session, which contains {RESULTS}"))
    results = [result for result in read_results(path) if result.episode_id == episode]
    asked = {"task": task, "condition": condition, "policy": policy}
    found = [one for one in results if all(name in ("", getattr(one, field)) for field, name in asked.items())]
    if not found:
        wanted = "".join(f" of {name}" for name in asked.values() if name)
        raise EpisodeError(f"The run {run} has no episode {episode}{wanted}.")
    _check_one("tasks", [result.task for result in found], f"The run {run} has episode {episode}", "--task")
    conditions = [result.condition for result in found]
    _check_one("conditions", conditions, f"The run {run} has episode {episode}", "--condition")
    _check_one("policies", [result.policy for result in found], f"The run {run} has episode {episode}", "--policy")
    result = found[-1]
    return CommandResult("\n".join(_dialogue(result)), json_module.loads(result.to_json()), json)


def _check_one(what: str, names: list[str], has: str, flag: str) -> None:
    if len(set(names)) > 1:
        raise SettingError(f"{has} of several {what} ({', '.join(sorted(set(names)))}); choose one with {flag}.")


def _dialogue(result: EpisodeResult) -> list[str]:
    where = f", condition {result.condition} of {result.suite}" if result.condition else ""
    lines = [
        f"{result.task}, episode {result.episode_id}, policy {result.policy}, seed {result.seed}{where}",
        f"TASK      {result.instruction}",
    ]
    for decision in result.decisions:
        lines += ["", f"step {decision.get('step', '?')}  {decision.get('subtask', '')}"]
        stages: Any = decision.get("stages") or ()
        for stage in stages:
            lines += _stage(stage)
        said = {stage["name"] for stage in stages}
        lines += [f"  {name.upper():<8}  {decision.get(name)}" for name in ("plan", "action") if name not in said]
        if decision.get("error"):
            lines.append(f"  PARSE ERROR  {decision['error']}")
        words: Any = decision.get("words") or {}
        lines += [f"  DISAGREE  {line}" for line in disagreements(words)]
        lines += [f"  VERIFIER  {line}" for line in misjudged(decision)]
    failures = f", {result.parse_failures} parse errors" if result.parse_failures else ""
    ended = f"{result.outcome.value} after {result.steps} steps, {len(result.decisions)} decisions{failures}"
    lines += ["", ended + (f": {result.reason}" if result.reason else "")]
    if result.failure is not None:
        lines.append(f"cause: {LABELS.get(result.failure, result.failure)}")
    return [*lines, *_agreement(result)]


def _agreement(result: EpisodeResult) -> list[str]:
    lines = []
    for pair in PAIRS:
        compared: Any = [decision.get("words") or {} for decision in result.decisions]
        known = [words[pair] for words in compared if words.get(pair) is not None]
        if known:
            lines.append(f"{PAIR_NAMES[pair]} agree in {sum(known)} of {len(known)} decisions")
    return lines


def _stage(stage: dict[str, Any]) -> list[str]:
    tokens = [f"{stage['tokens']} tokens"] if stage.get("tokens") else []
    cost = ", ".join([*tokens, f"{stage['seconds']:.2f} s"] if tokens or stage.get("seconds") else [])
    tried = f", {stage['retries']} retries" if stage.get("retries") else ""
    first, *more = stage["text"].splitlines() or [""]
    lines = [f"  {stage['name'].upper():<8}  {first}" + (f"   ({cost}{tried})" if cost and not more else "")]
    lines += [f"{'':12}{line}" for line in more]
    if cost and more:
        lines[-1] += f"   ({cost}{tried})"
    if thought := (stage.get("reasoning") or "").splitlines():
        lines = [f"  {'THOUGHT':<8}  {thought[0]}", *(f"{'':12}{line}" for line in thought[1:]), *lines]
    return lines + ([f"{'':12}rejected: {stage['error']}"] if stage.get("error") else [])
