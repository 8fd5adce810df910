"""One episode: a policy speaks, its words move the arm, and one `EpisodeResult` and one video remain.

Every way of running a policy (a suite, the command line, a notebook) goes through `run_episode`. Were there two loops,
one would count an unreadable answer as a failure and the other as a crash, and their numbers could not be compared.
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from vlm2vla_sim.core.versions import collect_versions
from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.base import CONTROL_HZ, Observation
from vlm2vla_sim.errors import (
    ActionError,
    ActionTextError,
    BackendFaultError,
    EpisodeAbortedError,
    RunFolderError,
    SettingError,
    Vlm2VlaError,
)
from vlm2vla_sim.evaluation.policy_spec import PolicySpec, episode_length, make_policy, widowx
from vlm2vla_sim.language.formats import describe
from vlm2vla_sim.language.prompts import prompts_hash
from vlm2vla_sim.types import Decision, EpisodeResult, Outcome
from vlm2vla_sim.video import writer
from vlm2vla_sim.video.overlay import Overlay

if TYPE_CHECKING:
    from vlm2vla_sim.policies.base import Policy

STATUS_FLAGS = (
    ("grasped", "grasped"),
    ("held", "consecutive_grasp"),
    ("moved", "moved_correct_object"),
    ("on target", "on_target"),
    ("success", "success"),
)
"""The status flags that the video shows: label and key of `info`."""


def run_episode(
    env: gym.Env[Observation, np.ndarray],
    policy: Policy | str,
    *,
    episode_id: int = 0,
    seed: int = 0,
    layouts: str = "grid",
    spec: PolicySpec | None = None,
    limits: motion.StepLimits | None = None,
    videos: str | Path | None = None,
    log: Path | None = None,
) -> EpisodeResult:
    """Run one episode to its full length and say how it went.

    Args:
        env: a `WidowXEnv`, wrapped or not.
        policy: a policy, or a name for `load_policy`.
        episode_id: SIMPLER's episode; with random layouts, only the number that goes into the result.
        seed: for the layout, when it is random, and for the policy.
        layouts: "grid" or "random".
        spec: what the result says about the policy; by default its class.
        limits: how rows are split into steps.
        videos: folder to write a video to; None for no video.
        log: file for the traceback, should something break.

    Unreadable words are the policy's failure: the arm holds still for one step, and they are counted. A fault of the
    backend or a crash is an outcome of its own, never a failure. What every further episode would meet as well (a
    missing package, a folder that cannot be written, an unknown name) is raised.
    """
    if isinstance(policy, str):
        spec = dataclasses.replace(spec, policy=policy) if spec else PolicySpec(policy)
        policy = make_policy(env, spec)
    spec = spec or PolicySpec(type(policy).__name__, action_format="")
    if layouts not in ("grid", "random"):
        raise SettingError(f"layouts is {layouts!r}; expected 'grid' or 'random'.")
    run = _Run(env, policy, limits or motion.StepLimits(), title=f"{widowx(env).task} ep {episode_id}")
    options = {"episode_id": episode_id} if layouts == "grid" else {"layout": "random"}
    film = None if videos is None else (Path(videos), f"ep{episode_id:04d}_{widowx(env).task}")
    started = time.perf_counter()
    try:
        outcome, reason = _run_guarded(run, seed, options, film, log)
    finally:
        run.close()
    asked = {"episode_id": episode_id, "seed": seed, "layouts": layouts}
    return run.report(spec, outcome, asked, reason=reason, seconds=time.perf_counter() - started)


def _run_guarded(
    run: _Run, seed: int, options: dict[str, Any], film: tuple[Path, str] | None, log: Path | None
) -> tuple[Outcome, str]:
    """Run the episode; how it ended, and why when it did not end by itself."""
    try:
        run.start(seed, options, film)
        run.go()
    except EpisodeAbortedError as stop:
        return Outcome.ABORTED, str(stop)
    except Exception as error:  # The border: whatever broke, the suite goes on and the result says so.
        if isinstance(error, Vlm2VlaError) and not isinstance(error, (ActionError, BackendFaultError)):
            raise
        if log is not None:
            _write_log(log, error)
        return Outcome.ERROR, f"{type(error).__name__}: {error}" + (f" (traceback: {log.name})" if log else "")
    return (Outcome.SUCCESS if run.info["is_success"] else Outcome.FAILURE), ""


class _Run:
    """One episode under way: what happened so far, and what is on film."""

    def __init__(self, env: gym.Env[Any, Any], policy: Policy, limits: motion.StepLimits, *, title: str) -> None:
        self._env, self._policy, self._limits = env, policy, limits
        self._length = episode_length(env)
        self._film: writer.EpisodeVideo | None = None
        self._overlay = Overlay(title, widowx(env).task_description, step=0, steps=self._length)
        self._gripper = 1.0
        self._over = False
        self.info: dict[str, Any] = {}
        self._steps_made = 0
        self._first_success: int | None = None
        self._clipped_steps = 0
        self._parse_failures = 0
        self._decisions: list[dict[str, object]] = []
        self._ended = ""

    def start(self, seed: int, options: dict[str, Any], film: tuple[Path, str] | None) -> None:
        """Reset the environment and the policy, and film what the episode starts from."""
        self._observation, self.info = self._env.reset(seed=seed, options=options)
        self._gripper = float(self._observation["agent_pos"][6] > 0.5)
        if film is not None:
            if "pixels" not in self._observation:
                raise SettingError("A video was asked for, but the environment draws nothing (image_size=None).")
            size = self._observation["pixels"]["primary"].shape[:2]
            self._film = writer.EpisodeVideo(film[0], film[1], frame_size=size, fps=CONTROL_HZ)
        self._shoot()
        self._policy.reset(self.info["instruction"], seed)

    def go(self) -> None:
        """Decide and move until the episode is over; a policy that is done holds still, for the last step counts."""
        while not self._over:
            decision = self._decide()
            if decision is None:
                self._ended = getattr(self._policy, "ended", "")
                self._overlay = dataclasses.replace(
                    self._overlay, plan="", text="", error="", motion="done: hold still to the end"
                )
                while not self._over:
                    self._step(self._hold())
                return
            self._note(decision)
            for motion_in_words, step in self._steps(decision):
                self._overlay = dataclasses.replace(self._overlay, motion=motion_in_words)
                self._step(step)
                if self._over:
                    return

    def report(
        self, spec: PolicySpec, outcome: Outcome, asked: dict[str, Any], *, reason: str, seconds: float
    ) -> EpisodeResult:
        """The line for `results.jsonl`. asked: which episode it was, by the names of `EpisodeResult`."""
        inner = widowx(self._env)
        return EpisodeResult(
            task=inner.task,
            **asked,
            backend=inner.backend_name,
            profile=inner.profile,
            policy=spec.policy,
            action_format=spec.action_format,
            instruction=inner.task_description,
            outcome=outcome,
            noise_cm=spec.noise_cm,
            **self._credit(outcome),
            steps=self._steps_made,
            decisions=tuple(self._decisions),
            parse_failures=self._parse_failures,
            clipped_steps=self._clipped_steps,
            seconds=round(seconds, 3),
            video=self._finish_video(outcome),
            reason=reason or self._ended,
            versions=collect_versions(prompts=prompts_hash()),
        )

    def close(self) -> None:
        """End the encoder, whatever happened; what was filmed stays."""
        if self._film is not None:
            self._film.close()

    # Parts.

    def _credit(self, outcome: Outcome) -> dict[str, Any]:
        """What the judge saw, by the names of `EpisodeResult`."""
        succeeded = outcome is Outcome.SUCCESS
        partial = ("grasped", "consecutive_grasp", "moved_correct_object", "on_target")
        return {
            "success_at_end": succeeded,
            "success_once": self._first_success is not None,
            "first_success_step": self._first_success,
            "success_released": succeeded and bool(self.info["released"]),
            **{name: bool(self.info.get(name)) for name in partial},
        }

    def _finish_video(self, outcome: Outcome) -> str:
        """Name the video after the outcome; its path relative to the run folder, empty when there is none."""
        if self._film is None:
            return ""
        path = self._film.finish(outcome.value)
        return f"{path.parent.name}/{path.name}"

    def _decide(self) -> Decision | None:
        try:
            decision = self._policy.act(self._observation)
        except ActionTextError as error:
            return Decision(subtask="", plan="", action="", chunk=None, parse_failures=1, error=str(error))
        if decision is not None and decision.chunk is None:
            return dataclasses.replace(
                decision,
                parse_failures=max(decision.parse_failures, 1),
                error=decision.error or "The action text could not be read.",
            )
        return decision

    def _note(self, decision: Decision) -> None:
        self._parse_failures += decision.parse_failures
        rows = None if decision.chunk is None else np.round(decision.chunk.deltas.astype(np.float64), 5).tolist()
        self._decisions.append({"step": self._steps_made, **decision.to_json(), "deltas": rows})
        self._overlay = dataclasses.replace(
            self._overlay,
            subtask=decision.subtask,
            plan=decision.plan,
            text=decision.action,
            error="" if decision.chunk is not None else decision.error,
        )

    def _steps(self, decision: Decision) -> Iterator[tuple[str, np.ndarray]]:
        """The control steps of a decision, each with the words for its row."""
        if decision.chunk is None:
            yield "hold still", self._hold()
            return
        words = describe(decision.chunk)
        for number, row in enumerate(decision.chunk.deltas):
            which = f"row {number + 1} of {len(words)}: " if len(words) > 1 else ""
            split = motion.split(row[None], gripper=self._gripper, limits=self._limits)
            for step in [row] if decision.chunk.stepwise else split:
                yield which + words[number], step
            self._gripper = float(row[6])

    def _hold(self) -> np.ndarray:
        return np.array([0, 0, 0, 0, 0, 0, self._gripper], np.float32)

    def _step(self, delta: np.ndarray) -> None:
        self._observation, _, terminated, truncated, self.info = self._env.step(delta)
        if "fault" in self.info:
            raise BackendFaultError(f"{self.info['reason']}: {self.info['fault']}")
        self._steps_made += 1
        self._clipped_steps += bool(self.info["clipped"])
        if self._first_success is None and self.info["is_success"]:
            self._first_success = self._steps_made
        self._over = terminated or truncated or self._steps_made >= self._length
        self._shoot()

    def _shoot(self) -> None:
        if self._film is None:
            return
        self._overlay = dataclasses.replace(
            self._overlay,
            step=self._steps_made,
            clipped=bool(self.info["clipped"]),
            gripper=float(self._observation["agent_pos"][6]),
            flags=tuple((label, bool(self.info[key])) for label, key in STATUS_FLAGS),
        )
        self._film.add(self._observation["pixels"]["primary"], self._overlay)


def _write_log(path: Path, error: BaseException) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError as failed:
        raise RunFolderError(f"The log {path} cannot be written: {failed.strerror}.") from failed
