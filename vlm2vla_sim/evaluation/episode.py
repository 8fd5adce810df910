"""Run one episode of a policy in an environment, with an `EpisodeResult` and a video.

Every way of running a policy (a suite, a session, the command line, a notebook) goes through `run_episode`, so that
their results can be compared.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from vlm2vla_sim.core.versions import collect_versions
from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.base import CONTROL_HZ, Observation
from vlm2vla_sim.envs.executor import Executor
from vlm2vla_sim.errors import (
    ActionError,
    BackendFaultError,
    EpisodeAbortedError,
    SettingError,
    Vlm2VlaError,
)
from vlm2vla_sim.evaluation.credit import credit
from vlm2vla_sim.evaluation.episode_files import (
    check_video_folder,
    describe_step,
    episode_stem,
    status_flags,
    write_log,
)
from vlm2vla_sim.evaluation.event_log import EventLog
from vlm2vla_sim.evaluation.metrics import EpisodeMetrics
from vlm2vla_sim.evaluation.policy_crash import PolicyCrash, as_policy_crash
from vlm2vla_sim.evaluation.settings import LAYOUTS
from vlm2vla_sim.evaluation.setup import episode_length, make_policy, widowx
from vlm2vla_sim.language.formats import describe
from vlm2vla_sim.language.prompts import prompts_hash
from vlm2vla_sim.policies.base import decide, provenance
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import Decision, EpisodeResult, Outcome, Stage
from vlm2vla_sim.video import writer
from vlm2vla_sim.video.overlay import Overlay

if TYPE_CHECKING:
    from vlm2vla_sim.policies.base import Policy


def run_episode(
    env: gym.Env[Observation, np.ndarray],
    policy: Policy | PolicySpec | str,
    *,
    episode_id: int = 0,
    seed: int = 0,
    layouts: str = "grid",
    spec: PolicySpec | None = None,
    limits: motion.StepLimits | None = None,
    videos: str | Path | None = None,
    log: Path | None = None,
    metrics: Sequence[str] = (),
    finish_interrupted: bool = False,
) -> EpisodeResult:
    """Run one episode to its full length and return its result.

    Args:
        env: a `WidowXEnv`, wrapped or not.
        policy: a policy, the specification of one, or its name.
        episode_id: SIMPLER's episode; with random layouts, only the number that goes into the result.
        seed: for the layout, when it is random, and for the policy.
        layouts: "grid" or "random".
        spec: what the result records of a `policy` given as an object; by default the name of its class.
        limits: largest motion of a control step, by which rows are split.
        videos: folder to write a video to; None for no video.
        log: file for the traceback of an error.
        metrics: names of metrics besides success; see `evaluation.metrics`.
        finish_interrupted: complete the video, as `aborted`, of an episode that Ctrl-C ends.

    Action text that cannot be read is the policy's failure: the arm holds still for one step, and a parse error is
    counted. A fault of the backend or a crash is an outcome of its own, never a failure; of a crash of the policy, its
    SystemExit included, `policy_crash` holds the exception. Where the backend does not
    know the scene, the outcome is `unknown`. An error that every further episode would meet is raised (a missing
    package, a folder that cannot be written, an unknown name).
    """
    if isinstance(policy, str):
        policy = dataclasses.replace(spec, policy=policy) if spec else PolicySpec(policy)
    if isinstance(policy, PolicySpec):
        spec = policy
        policy = make_policy(env, policy)
    spec = spec or PolicySpec(type(policy).__name__, action_format="")
    if layouts not in LAYOUTS:
        raise SettingError(f"layouts is {layouts!r}; expected 'grid' or 'random'.")
    run = _Run(env, policy, Executor(limits), EpisodeMetrics(metrics), title=f"{widowx(env).task} ep {episode_id}")
    options = {"episode_id": episode_id} if layouts == "grid" else {"layout": "random"}
    video = None if videos is None else (check_video_folder(Path(videos)), episode_stem(widowx(env).task, episode_id))
    asked = {"episode_id": episode_id, "seed": seed, "layouts": layouts}
    started = time.perf_counter()
    try:
        outcome, reason = _run_guarded(run, seed, options, video, log)
    except KeyboardInterrupt:
        if finish_interrupted:
            run.finish_video(Outcome.ABORTED)
        raise
    finally:
        run.close()
    return run.report(spec, outcome, asked, reason=reason, seconds=time.perf_counter() - started)


def _run_guarded(
    run: _Run, seed: int, options: dict[str, Any], video: tuple[Path, str] | None, log: Path | None
) -> tuple[Outcome, str]:
    """Run the episode; its outcome, and the reason if it did not run to its end."""
    try:
        run.start(seed, options, video)
        run.run()
    except EpisodeAbortedError as stop:
        return Outcome.ABORTED, str(stop)
    except Exception as raised:  # Any error goes into the result, and the suite continues.
        error = raised.cause if isinstance(raised, PolicyCrash) else raised
        if isinstance(error, Vlm2VlaError) and not isinstance(error, (ActionError, BackendFaultError)):
            run.drop_empty_video()
            raise
        run.policy_crash = str(raised) if raised is not error else ""
        if log is not None:
            write_log(log, error)
        return Outcome.ERROR, f"{type(error).__name__}: {error}" + (f" (traceback: {log.name})" if log else "")
    return run.outcome(), ""


class _Run:
    """State and video of one running episode."""

    def __init__(
        self, env: gym.Env[Any, Any], policy: Policy, executor: Executor, metrics: EpisodeMetrics, *, title: str
    ) -> None:
        self._env, self._policy, self._executor, self._metrics = env, policy, executor, metrics
        self._length = episode_length(env)
        self._drew_before = widowx(env).images_on_demand
        widowx(env).images_on_demand = True
        self._video: writer.EpisodeVideo | None = None
        self._overlay = Overlay(title, widowx(env).task_description, step=0, steps=self._length)
        self._over = False
        self._events = EventLog(widowx(env))
        self.info: dict[str, Any] = {}
        self._steps_made = 0
        self._first_success: int | None = None
        self._clipped_steps = 0
        self._parse_failures = 0
        self._decisions: list[dict[str, object]] = []
        self._stages: list[Stage] = []
        self._ended = self.policy_crash = ""

    def start(self, seed: int, options: dict[str, Any], video: tuple[Path, str] | None) -> None:
        """Reset the environment and the policy, and record the first frame."""
        self._observation, self.info = self._env.reset(seed=seed, options=options)
        self._executor.reset(self._observation["agent_pos"])
        self._events.start(self._executor.gripper)
        self._metrics.reset(self._observation, self.info)
        if video is not None:
            if "pixels" not in self._observation:
                raise SettingError("A video was requested, but the environment renders no images (image_size=None).")
            size = self._observation["pixels"]["primary"].shape[:2]
            self._video = writer.EpisodeVideo(video[0], video[1], frame_size=size, fps=CONTROL_HZ)
        self._record_frame()
        with as_policy_crash():
            self._policy.reset(self.info["instruction"], seed)

    def run(self) -> None:
        """Decide and move until the episode is over; once the policy is done, the arm holds still to the last step."""
        while not self._over:
            with as_policy_crash():
                decision = decide(self._policy, self._observation)
            self._events.judged(getattr(self._policy, "judgement", None))
            if decision is None:
                self._ended = getattr(self._policy, "ended", "")
                self._events.stopped(self._ended)
                self._overlay = dataclasses.replace(
                    self._overlay, plan="", text="", error="", motion="done: hold still to the end"
                )
                while not self._over:
                    self._step(self._executor.hold())
                return
            with as_policy_crash():
                self._note(decision)
                rows = [] if decision.chunk is None else describe(decision.chunk)
                steps = iter(self._executor.steps(decision.chunk))
            for step in steps:
                self._overlay = dataclasses.replace(self._overlay, motion=describe_step(step, rows))
                self._step(step.action)
                if self._over:
                    return

    def outcome(self) -> Outcome:
        """Of an episode that ran to its end."""
        if widowx(self._env).status.scene is None:
            return Outcome.UNKNOWN
        return Outcome.SUCCESS if self.info["is_success"] else Outcome.FAILURE

    def report(
        self, spec: PolicySpec, outcome: Outcome, asked: dict[str, Any], *, reason: str, seconds: float
    ) -> EpisodeResult:
        """The result of the episode. asked: the fields of `EpisodeResult` that say which episode it was."""
        inner = widowx(self._env)
        return EpisodeResult(
            task=inner.task,
            **asked,
            backend=inner.backend_name,
            profile=inner.profile,
            policy=spec.label,
            action_format=spec.action_format,
            instruction=inner.task_description,
            outcome=outcome,
            noise_cm=spec.noise_cm,
            **credit(outcome, self.info, self._first_success),
            steps=self._steps_made,
            max_steps=self._length,
            **self._events.report(outcome, self._decisions),
            parse_failures=self._parse_failures,
            clipped_steps=self._clipped_steps,
            seconds=round(seconds, 3),
            video=self.finish_video(outcome),
            reason=reason or self._ended,
            policy_crash=self.policy_crash,
            truncations=sum(stage.finish == "length" for stage in self._stages),
            retries=sum(stage.retries for stage in self._stages),
            instruction_fits=inner.instruction_fits,
            versions=collect_versions(prompts=prompts_hash()) | inner.simulator_versions,
            provenance=provenance(self._policy),
            metrics=self._metrics.results(whole=outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNKNOWN)),
        )

    def close(self) -> None:
        """Close the video; the frames written so far are kept."""
        widowx(self._env).images_on_demand = self._drew_before
        if self._video is not None:
            self._video.close()

    def drop_empty_video(self) -> None:
        """Remove the video of an episode without a step, such as one whose policy could not be asked."""
        if self._video is not None and self._steps_made == 0:
            self._video.discard()

    def finish_video(self, outcome: Outcome) -> str:
        """Name the video after the outcome; its path relative to the run folder, empty when there is none."""
        if self._video is None:
            return ""
        path = self._video.finish(outcome.value)
        return f"{path.parent.name}/{path.name}"

    # Parts.

    def _note(self, decision: Decision) -> None:
        self._parse_failures += decision.parse_failures
        self._stages += decision.stages
        rows = None if decision.chunk is None else np.round(decision.chunk.deltas.astype(np.float64), 5).tolist()
        self._events.decided(decision)
        self._decisions.append({"step": self._steps_made, **decision.to_json(), "deltas": rows})
        self._overlay = dataclasses.replace(
            self._overlay,
            subtask=decision.subtask,
            plan=decision.plan,
            text=decision.action,
            error="" if decision.chunk is not None else decision.error,
        )

    def _step(self, delta: np.ndarray) -> None:
        self._observation, _, terminated, truncated, self.info = self._env.step(delta)
        if "fault" in self.info:
            raise BackendFaultError(f"{self.info['reason']}: {self.info['fault']}")
        self._steps_made += 1
        self._events.step(self.info)
        self._clipped_steps += bool(self.info["clipped"])
        if self._first_success is None and self.info["is_success"]:
            self._first_success = self._steps_made
        self._metrics.step(self._observation, self.info)
        self._over = terminated or truncated or self._steps_made >= self._length
        self._record_frame()

    def _record_frame(self) -> None:
        if self._video is None:
            return
        self._overlay = dataclasses.replace(
            self._overlay,
            step=self._steps_made,
            clipped=bool(self.info["clipped"]),
            gripper=float(self._observation["agent_pos"][6]),
            flags=status_flags(self.info),
        )
        self._video.add(self._observation["pixels"]["primary"], self._overlay)
