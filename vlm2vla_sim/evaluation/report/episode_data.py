"""The episodes of a report as values for its script: a short entry for the gallery, and all words for the viewer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from vlm2vla_sim.envs.executor import Executor
from vlm2vla_sim.errors import Vlm2VlaError
from vlm2vla_sim.evaluation.agreement import disagreements
from vlm2vla_sim.evaluation.report.causes import cause, got_as_far, label
from vlm2vla_sim.evaluation.report.pictures import Filmstrip
from vlm2vla_sim.evaluation.report.runs import Episode
from vlm2vla_sim.evaluation.verdicts import misjudged
from vlm2vla_sim.types import ActionChunk, EpisodeResult


def tokens(result: EpisodeResult) -> int | None:
    """Written by the models in the episode; None where a server did not say, or no model was asked."""
    counts = [stage.get("tokens") for stage in _stages(result)]
    known = [int(count) for count in counts if count is not None]
    return sum(known) or None if len(known) == len(counts) else None


def model_seconds(result: EpisodeResult) -> float:
    """[s] that the models took."""
    return sum(float(stage.get("seconds") or 0.0) for stage in _stages(result))


def _stages(result: EpisodeResult) -> list[Mapping[str, Any]]:
    return [stage for decision in result.decisions for stage in decision.get("stages") or ()]  # type: ignore[attr-defined]


def entry(number: int, run: int, episode: Episode, strip: Filmstrip | None, video: str) -> dict[str, Any]:
    """What the gallery shows and sorts by. video: "in" for one in the page, an address, or empty."""
    result = episode.result
    why = cause(episode)
    return {
        "n": number,
        "run": run,
        "task": result.task,
        "id": result.episode_id,
        "seed": result.seed,
        "outcome": result.outcome.value,
        "cause": why,
        "why": label(why) if why else "",
        "far": "" if result.failure else got_as_far(result),
        "instruction": result.instruction,
        "reason": result.reason,
        "steps": result.steps,
        "seconds": result.seconds,
        "tokens": tokens(result),
        "decisions": len(result.decisions),
        "unread": result.parse_failures,
        "clipped": result.clipped_steps,
        "progress": result.progress,
        "first": result.first_success_step,
        "tag": factor(episode),
        "frames": strip.frames if strip else 0,
        "shape": round(strip.shape, 4) if strip else None,
        "fps": strip.fps if strip else 0,
        "nostrip": strip.problem if strip else "",
        "video": video,
    }


def factor(episode: Episode) -> str:
    """Factor and level of the episode's condition, as "light: left"; empty without one."""
    name, level = episode.line.get("factor"), episode.line.get("level")
    if not name:
        return ""
    return f"{name}: {level}" if level not in (None, "") else str(name)


def details(episode: Episode) -> dict[str, Any]:
    """Every word of the episode, and what its gripper was told at which step."""
    return {
        "decisions": [_decision(decision) for decision in episode.result.decisions],
        "gripper": gripper(episode.result),
        "words": episode.result.words,
    }


def _decision(decision: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("step", "subtask", "plan", "action", "error", "parse_failures")
    stages = [
        {
            key: stage[key]
            for key in ("name", "text", "tokens", "seconds", "error", "retries", "finish", "prompt_tokens", "cost")
            if stage.get(key)
        }
        for stage in decision.get("stages") or ()
    ]
    compared = decision.get("words") or {}
    disagree = disagreements(compared) if {"said", "written", "moved"} <= set(compared) else []
    return {
        **{key: decision[key] for key in kept if decision.get(key) not in (None, "", {}, ())},
        "stages": stages,
        "disagree": [*disagree, *misjudged(decision)],
    }


def gripper(result: EpisodeResult) -> list[list[float]] | None:
    """[step, what the gripper is told from there on, 0 closed .. 1 open], beginning at step 0.

    None where the rows of a decision are not known. Rows are split as `envs.executor` does it with its own limits; a
    decision whose rows are as many as its steps was carried out row by row.
    """
    executor = Executor()
    changes: list[list[float]] = [[0, 1.0]]
    starts = [decision.get("step") for decision in result.decisions]
    if not all(isinstance(start, int) for start in starts):
        return None
    for number, decision in enumerate(result.decisions):
        rows: Any = decision.get("deltas")
        start = int(starts[number])  # type: ignore[arg-type]
        end = int(starts[number + 1]) if number + 1 < len(starts) else result.steps  # type: ignore[arg-type]
        if rows is None:
            continue  # the text could not be read, and the arm held still
        try:
            chunk = ActionChunk(np.array(rows, np.float32), "", stepwise=len(rows) == end - start > 1)
        except (ValueError, TypeError, Vlm2VlaError):
            return None
        for step, made in zip(range(start, end), executor.steps(chunk), strict=False):
            told = round(float(made.action[6]), 3)
            if told != changes[-1][1]:
                changes.append([step, told])
    return changes


def as_json(values: object) -> str:
    """JSON that may stand in a script element: no text in it can end the element or open a comment."""
    plain = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
