"""Records decisions of the scripted policy as few-shot examples (`policies.zero_shot.examples`)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.setup import episode_seed, make_env, make_policy, widowx
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.policies.zero_shot.examples import FILE, example_line
from vlm2vla_sim.types import Decision, Outcome, Pose


def record_examples(settings: RunSettings, folder: Path, *, decisions: int = 3) -> tuple[int, int]:
    """Write examples of every task of `settings` into `folder`; their number, and that of episodes that failed.

    decisions: the most that are kept of an episode, spread over it.

    SettingError for a folder that holds something, and for SIMPLER's own layouts: an evaluation must not be shown its
    own episodes.
    """
    if settings.layouts != "random":
        raise SettingError("Examples are recorded in random layouts: those of the grid are the evaluation's episodes.")
    if decisions < 1:
        raise SettingError(f"{decisions} decisions of an episode were asked for; expected 1 or more.")
    if folder.exists() and any(folder.iterdir()):
        raise SettingError(f"The folder {folder} is not empty. Choose another one for the examples.")
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    failed = 0
    for task in settings.tasks:
        with closing(make_env(settings, task)) as env:
            watched = _Watched(make_policy(env, settings.spec), widowx(env))
            for number in range(settings.episodes):
                seed = episode_seed(settings.seed, task, number)
                result = run_episode(env, watched, episode_id=number, seed=seed, layouts="random", spec=settings.spec)
                failed += result.outcome is not Outcome.SUCCESS
                if result.outcome is Outcome.SUCCESS:
                    lines += _write(watched, folder, f"{result.task}-{number}", decisions)
    (folder / FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines), failed


class _Watched:
    """A policy whose decisions are kept, each with the picture and the state before it."""

    def __init__(self, policy: Policy, env: WidowXEnv) -> None:
        self._policy, self.env = policy, env
        self.instruction = ""
        self.kept: list[tuple[np.ndarray, np.ndarray, np.ndarray, str, Decision]] = []

    def reset(self, instruction: str, seed: int = 0) -> None:
        self.instruction, self.kept = instruction, []
        self._policy.reset(instruction, seed)

    def act(self, observation: dict[str, Any]) -> Decision | None:
        picture = np.array(observation["pixels"]["primary"])
        sent = self.env.spec_task.arm.pose_to_numbers(self.env.status.robot.target)
        sees = _sees(self.env)
        decision = self._policy.act(observation)
        if decision is not None and decision.chunk is not None:
            self.kept.append((picture, np.array(observation["agent_pos"]), sent, sees, decision))
        return decision


def _sees(env: WidowXEnv) -> str:
    """Where object, place and gripper are, in words."""
    scene = env.scene_state()
    source, target = (body.name.replace("_", " ") for body in (scene.source, scene.target))
    held = f"; the gripper holds the {source}" if scene.grasped else ""
    return (
        f"the {source} is at {_place(scene.source.pose)}, the {target} at {_place(scene.target.pose)}, the gripper at "
        f"{_place(env.status.robot.tcp)}{held}."
    )


def _place(pose: Pose) -> str:
    x, y, z = (round(100 * float(value), 1) + 0.0 for value in pose.position)
    return f"x {x}, y {y}, z {z}"


def _write(watched: _Watched, folder: Path, name: str, most: int) -> list[str]:
    chosen = np.unique(np.linspace(0, len(watched.kept) - 1, min(most, len(watched.kept))).round().astype(int))
    lines = []
    for number in chosen:
        picture, state, sent, sees, decision = watched.kept[number]
        file = f"{name}-{number}.png"
        Image.fromarray(picture).save(folder / file)
        assert decision.chunk is not None
        line = example_line(
            scene=watched.env.geometry.scene,
            task=watched.instruction,
            picture=file,
            state=state,
            sent=sent,
            camera=watched.env.geometry.camera,
            sees=sees,
            subtask=decision.subtask,
            plan=decision.plan,
            chunk=decision.chunk,
        )
        lines.append(line)
    return lines
