"""Run folders for tests of the report, written without a simulator; their videos are real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.types import EpisodeResult, Outcome
from vlm2vla_sim.video.encoder import FOR_PEOPLE, VideoEncoder

FPS = 5
HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='hacked=1'>\"'`&amp; <!-- \u202eevil\u2066 "
    + "w" * 400
)
ROWS = [[0.05, 0, 0, 0, 0, 0, 1.0], [0, 0, -0.05, 0, 0, 0, 0.0]]
"""Two steps with the gripper open, two more, then three in which it closes."""


def decision(step: int, words: str = "move forward", **changes: Any) -> dict[str, Any]:
    stage = {"name": "plan", "text": words, "tokens": 7, "seconds": 0.5, "error": "", "retries": 0, "finish": "stop"}
    action = {**stage, "name": "action", "text": "[[5, 0, 0, 1], [0, 0, -5, 0]]"}
    base = {
        "step": step,
        "subtask": "Grasp it",
        "plan": words,
        "action": action["text"],
        "parse_failures": 0,
        "error": "",
    }
    return {**base, "stages": [stage, action], "deltas": ROWS, **changes}


def line(task: str, number: int, success: bool | None, *, policy: str = "mini", **changes: Any) -> dict[str, Any]:
    """A line of results.jsonl. success: None for an outcome that nobody knows."""
    outcome = Outcome.UNKNOWN if success is None else Outcome.SUCCESS if success else Outcome.FAILURE
    flags = dict.fromkeys(
        ("success_at_end", "success_once", "success_released", "success_settled", "on_target"), success
    )
    result = EpisodeResult(
        task=task,
        episode_id=number,
        seed=100 + number,
        backend="mujoco",
        profile="twin",
        policy=policy,
        action_format="vlm2vla",
        layouts="random",
        instruction="put it there",
        outcome=outcome,
        **flags,
        grasped=None if success is None else True,
        moved_correct_object=None if success is None else True,
        first_success_step=12 if success else None,
        steps=20,
        seconds=3.0,
        decisions=(decision(0), decision(7)),
        versions={"mujoco": "4.0.0"},
    )
    return json.loads(result.to_json()) | changes


def write_run(folder: Path, lines: list[dict[str, Any]], **settings: Any) -> Path:
    """A run folder with these lines; the settings ask for as many episodes as there are, unless they say otherwise."""
    tasks = list(dict.fromkeys(one["task"] for one in lines))
    recorded = {"policy": lines[0]["policy"], "tasks": tasks, "episodes": len(lines) // len(tasks), "layouts": "random"}
    assert RunSettings.from_json(recorded)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(recorded | settings))
    (folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


def picture(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """(H, W, 3) uint8: coarse noise whose red channel grows by 12 with each number."""
    noise = np.random.default_rng(number).integers(0, 60, (size[0] // 4, size[1] // 4, 3)).astype(np.uint8)
    image = noise.repeat(4, axis=0).repeat(4, axis=1)
    image[..., 0] = min(12 * number, 250)
    return image


def write_video(path: Path, frames: int = 21, *, finished: bool = True, shift: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoder = VideoEncoder(path, size=(48, 64), fps=FPS, options=FOR_PEOPLE, key_frames=FPS)
    for number in range(frames):
        encoder.add(picture(number + shift))
    if finished:
        encoder.finish(path.with_name(f"done-{path.name}"))
        path.with_name(f"done-{path.name}").replace(path)
    else:
        encoder.close()
    return path
