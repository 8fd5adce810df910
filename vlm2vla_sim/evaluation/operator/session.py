"""A session: episodes on a robot, real or simulated, with an operator who arranges, judges and may stop.

The same loop serves both, so that a session can be rehearsed in simulation. An attempt with a fault of the link, the
camera or the robot is repeated and counted separately; it is not a failure of the policy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from vlm2vla_sim.envs.backends import is_real_robot
from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.envs.tasks import environment
from vlm2vla_sim.errors import BackendFaultError, EpisodeAbortedError, RobotInUseError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.operator.episode_log import (
    EpisodeLog,
    EpisodeRecord,
    PlannedEpisode,
    SessionSettings,
    apply_label,
    tally,
)
from vlm2vla_sim.evaluation.operator.live_view import WANTED, LiveView, LiveViewWrapper, ReportingPolicy
from vlm2vla_sim.evaluation.operator.prompts import Label, Operator
from vlm2vla_sim.evaluation.operator.session_end import InterruptedSessionError, SessionEnd
from vlm2vla_sim.evaluation.operator.stop import Stop, StopWrapper
from vlm2vla_sim.evaluation.operator.wanted_scene import WantedScenes
from vlm2vla_sim.evaluation.policy_crash import PolicyCrash, close_or_tell, make_or_crash
from vlm2vla_sim.evaluation.setup import check_spec, episode_seed, widowx
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import EpisodeResult, Outcome

__all__ = ["InterruptedSessionError", "SessionEnd", "run_session"]

MAX_FAULTS = 3
"""Attempts in a row that may end in a fault before the session stops."""


def run_session(
    settings: SessionSettings,
    out: Path,
    operator: Operator,
    *,
    resume: bool = False,
    live: bool = True,
    video: bool = True,
    env_options: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> SessionEnd:
    """Run the episodes of `settings` that are not done yet, each until it counts, until the operator stops.

    env_options: for `gym.make`, such as host=, port=, image_size=. Ctrl-C raises `InterruptedSessionError` once the
    video is complete, the event is written and the robot is released (and parked, where that was asked for).
    """
    for spec in settings.policies:
        check_spec(spec, settings.backend)
    settings.check_tasks()
    plan = settings.plan()
    with closing(EpisodeLog(out, settings, resume=resume)) as log:
        view = LiveView(out, say=say) if live else None
        session = _Session(settings, log, operator, view, dict(env_options or {}), video, say)
        stopped, fault = "", False
        try:
            with operator.listen(), closing(session):
                for episode in plan:
                    if episode.number not in log.done():
                        record = session.run(episode)
                        log.add(record)
                        say(f"recorded episode {episode.number}: {record.label.word} {record.label.score:g}")
        except EpisodeAbortedError as stop:
            stopped = str(stop)
        except (BackendFaultError, RobotInUseError) as error:
            advice = "Then" if isinstance(error, RobotInUseError) else "Fix the robot, then"
            fault, stopped = True, f"{error} {advice} rerun with --resume."
        except PolicyCrash as crash:
            fault, stopped = True, f"The policy cannot be made ({crash}). Fix it, then rerun with --resume."
        except KeyboardInterrupt as stop:
            raise InterruptedSessionError(
                f"{str(stop) or 'Interrupted'}: {len(log.records)} of {len(plan)} episodes are recorded in {out}. "
                "Continue with the same command and --resume."
            ) from stop
        finally:
            over = len(log.records) == len(plan)
            if view is not None:
                how = stopped or ("All episodes are recorded." if over else "Interrupted.")
                view.update(phase="over", question=how, stop="Stopped." if stopped else "")
        table = tally(log.records, settings) if over or not settings.blind else ""
        return SessionEnd(out, len(log.records), len(plan), stopped, table, fault)


class _Session:
    """Takes one episode after the other through its phases: arrange, reset, run (think and move), judge.

    A stop is latched by `operator.stop` whenever it is given. Between two phases, before every control step and before
    and after every reset it is looked for; it is acknowledged once the arm is at rest.
    """

    def __init__(
        self,
        settings: SessionSettings,
        log: EpisodeLog,
        operator: Operator,
        live: LiveView | None,
        options: dict[str, Any],
        video: bool,
        say: Callable[[str], None],
    ) -> None:
        self._settings, self._log, self._operator, self._live = settings, log, operator, live
        self._options, self._video, self._say = options, video, say
        self._prepared: tuple[str, str] | None = None
        self._env: gym.Env[Any, Any] | None = None
        self._wanted = WantedScenes(settings.backend)
        operator.stop.on_change = self._show_stop

    def run(self, episode: PlannedEpisode) -> EpisodeRecord:
        """One episode until it counts: repeated after a fault, or when the operator asks for it."""
        try:
            return self._run(episode)
        except KeyboardInterrupt as stop:
            self._log.note("interrupt", episode, str(stop) or "Ctrl-C")
            raise

    def _run(self, episode: PlannedEpisode) -> EpisodeRecord:
        attempts = faults = 0
        while True:
            attempts += 1
            try:
                result = self._attempt(episode, attempts)
            except EpisodeAbortedError as stop:
                self._end_if_stopped(episode, str(stop))
                self._hold(episode)
                continue
            except BackendFaultError as error:
                self._log.note("fault", episode, str(error))
                raise
            if result.outcome is Outcome.ERROR and not result.policy_crash:
                faults += 1
                self._log.note("fault", episode, result.reason)
                self._say(f"episode {episode.number}: {result.reason}")
                self.close()
                if faults >= MAX_FAULTS:
                    raise BackendFaultError(f"Episode {episode.number} broke {faults} times in a row: {result.reason}")
                continue
            faults = 0
            if result.outcome is Outcome.ABORTED:
                self._end_if_stopped(episode, result.reason)
                if not result.steps:
                    self._hold(episode)
                    continue
            label = self._judge(episode, result)
            if label.word == "abort":
                self._log.note("abort", episode, "; ".join(["not judged", *label.notes]))
                raise EpisodeAbortedError(f"The operator stopped the session; episode {episode.number} does not count.")
            if label.word == "redo":
                self._log.note("redo", episode, "; ".join(label.notes))
                continue
            return EpisodeRecord(episode, label, apply_label(result, label, known=self._knows()), attempts)

    def close(self) -> None:
        """Release the robot, which holds its pose. May be called twice."""
        env, self._env = self._env, None
        if env is None:
            return
        try:
            env.close()
        except (BackendFaultError, OSError) as error:
            self._say(str(error))

    # Phases.

    def _attempt(self, episode: PlannedEpisode, number: int) -> EpisodeResult:
        settings, spec = self._settings, self._settings.policies[episode.policy]
        seed = episode_seed(settings.seed, episode.task, episode.episode_id)
        # The last episode's question is answered: its buttons go before the next episode's number comes.
        self._tell(phase="starting", question="")
        env = self._prepare(episode, spec)
        self._arrange(env, episode, seed)
        self._tell(phase="starting", question="", stop="")
        policy = make_or_crash(env, spec)
        # A policy may be recognised by its text, so a blind session does not show it.
        shown = policy if self._live is None else ReportingPolicy(policy, self._live, text=not settings.blind)
        name = f"episode{episode.number:04d}" + (f"_attempt{number}" if number > 1 else "")
        try:
            result = run_episode(
                env,
                shown,
                episode_id=episode.episode_id,
                seed=seed,
                spec=spec,
                videos=self._log.path / "videos" / name if self._video else None,
                log=self._log.path / "logs" / f"{name}.txt",
                finish_interrupted=True,
            )
        finally:
            if problem := close_or_tell(policy):
                self._log.note("policy crash", episode, f"in close(): {problem}")
        return dataclasses.replace(result, video=f"videos/{result.video}" if result.video else "")

    def _judge(self, episode: PlannedEpisode, result: EpisodeResult) -> Label:
        """The label of an episode that ended, was stopped by the operator, or broken off by its policy's crash."""
        known = result.outcome is Outcome.SUCCESS if self._knows() else None
        about = ""
        if result.policy_crash:
            self._log.note("policy crash", episode, result.reason)
            about = f"The policy crashed at step {result.steps} ({result.policy_crash})."
            self._say(f"episode {episode.number}: {about}")
            if self._knows():
                return Label("crash", notes=self._operator.take_notes(episode.number), automatic=True)
        elif result.outcome is Outcome.ABORTED:
            self._log.note("stop", episode, f"at step {result.steps}")
            about = f"Stopped at step {result.steps}; the arm holds."
        question = f"{about} Did it succeed?".lstrip()
        return self._operator.judge(
            episode.number, known, about=about, show=lambda: self._tell(phase="judge", question=question)
        )

    def _end_if_stopped(self, episode: PlannedEpisode, reason: str) -> None:
        """The arm is at rest: acknowledge an episode's stop; EpisodeAbortedError if the session is stopped."""
        if self._operator.stop.acknowledge() is not Stop.EPISODE:
            self._log.note("abort", episode, "; ".join([reason, *self._operator.take_notes(episode.number)]))
            raise EpisodeAbortedError(reason)

    def _hold(self, episode: PlannedEpisode) -> None:
        """An episode was stopped before its first step: nothing moves until the operator starts it again."""
        self._log.note("stop", episode, "before its first step")
        question = "Stopped: the arm holds. Start drives it to its start."
        request = f"Episode {episode.number + 1} was stopped before its first step; the arm holds. Start it again?"
        try:
            self._operator.wait_for_scene(
                episode.number, request, show=lambda: self._tell(phase="scene", question=question)
            )
        except EpisodeAbortedError as stop:
            self._log.note("abort", episode, "; ".join([str(stop), *self._operator.take_notes(episode.number)]))
            raise

    def _show_stop(self, pending: Stop | None) -> None:
        what = "" if pending is None else "session" if pending is Stop.SESSION else "episode"
        self._tell(stop=f"Stop of the {what} received." if what else "Stopped. The arm holds.")

    def _prepare(self, episode: PlannedEpisode, spec: PolicySpec) -> gym.Env[Any, Any]:
        wanted = (episode.task, spec.language)
        if self._env is None or wanted != self._prepared:
            self.close()
            backend = self._settings.backend
            task = find_task(episode.task, backend)
            env_id, own = environment(task)
            instruction = spec.instruct(task.instruction)
            env = gym.make(env_id, backend=backend, instruction=instruction, **own, **self._options)
            stoppable = StopWrapper(env, self._operator.check)
            self._env = LiveViewWrapper(stoppable, self._live) if self._live else stoppable
            self._prepared = wanted
        return self._env

    def _arrange(self, env: gym.Env[Any, Any], episode: PlannedEpisode, seed: int) -> None:
        """On a real robot: move to the start, show the wanted scene beside the live one, and wait for the operator."""
        planned = len(self._settings.plan())
        who, instruction = self._settings.title(episode), widowx(env).task_description
        self._tell(episode=episode.number, episodes=planned, who=who, instruction=instruction)
        if not is_real_robot(self._settings.backend):
            self._operator.check()
            return
        live = env.reset(seed=seed, options={"episode_id": episode.episode_id})[0]["pixels"]["primary"]
        wanted = self._wanted.image(episode, live)
        request = f"Episode {episode.number + 1} of {planned}, {who}: {instruction!r}. Arrange the scene."
        if self._live is not None:
            self._live.show(wanted, WANTED)
            self._live.show(np.concatenate([wanted, live], axis=1), "scene.jpg")
            request += f" Target layout and live image, side by side: {self._live.path / 'scene.jpg'}."
        question = "Arrange the scene as in the image, then start."
        self._operator.wait_for_scene(
            episode.number, request, show=lambda: self._tell(phase="scene", question=question)
        )

    def _knows(self) -> bool:
        return self._env is not None and widowx(self._env).status.scene is not None

    def _tell(self, **changes: Any) -> None:
        if self._live is not None:
            self._live.update(**changes)
