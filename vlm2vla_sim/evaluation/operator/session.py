"""A session: episodes on a robot, real or simulated, with an operator who arranges, judges and may stop.

The same loop serves both, so that a session can be rehearsed in simulation. An attempt with a fault of the link, the
camera or the robot is repeated and counted separately; it is not a failure of the policy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from vlm2vla_sim.envs.backends import is_real_robot
from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.envs.tasks import environment, is_built_in
from vlm2vla_sim.errors import BackendFaultError, EpisodeAbortedError
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
from vlm2vla_sim.evaluation.setup import check_spec, episode_seed, make_policy, widowx
from vlm2vla_sim.policies.base import close_policy
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.types import EpisodeResult, Outcome

MAX_FAULTS = 3
"""Attempts in a row that may end in a fault before the session stops."""


@dataclass(frozen=True)
class SessionEnd:
    """The result of a session."""

    folder: Path
    done: int
    planned: int
    stopped: str
    """Why it ended early; empty when all episodes are done."""
    table: str
    """Successes by policy; empty while a blind session is unfinished."""
    fault: bool = False
    """Whether the robot or the simulator stopped it, rather than the operator."""


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

    env_options: for `gym.make`, such as host=, port=, image_size=.
    """
    for spec in settings.policies:
        check_spec(spec, settings.backend)
    plan = settings.plan()
    with closing(EpisodeLog(out, settings, resume=resume)) as log:
        session = _Session(
            settings, log, operator, LiveView(out) if live else None, dict(env_options or {}), video, say
        )
        stopped, fault = "", False
        try:
            for episode in plan:
                if episode.number not in log.done():
                    record = session.run(episode)
                    log.add(record)
                    say(f"recorded episode {episode.number}: {record.label.word} {record.label.score:g}")
        except EpisodeAbortedError as stop:
            stopped = str(stop)
        except BackendFaultError as error:
            fault = True
            stopped = f"{error} Fix the robot, then rerun with --resume."
        finally:
            session.close()
        over = len(log.records) == len(plan)
        table = tally(log.records, settings) if over or not settings.blind else ""
        return SessionEnd(out, len(log.records), len(plan), stopped, table, fault)


class _Session:
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
        self._wanted: dict[tuple[str, int], np.ndarray] = {}

    def run(self, episode: PlannedEpisode) -> EpisodeRecord:
        """One episode until it counts: repeated after a fault, or when the operator asks for it."""
        attempts = faults = 0
        while True:
            attempts += 1
            result = self._attempt(episode, attempts)
            if result.outcome is Outcome.ERROR:
                faults += 1
                self._log.note("fault", episode, result.reason)
                self._say(f"episode {episode.number}: {result.reason}")
                self.close()
                if faults >= MAX_FAULTS:
                    raise BackendFaultError(f"Episode {episode.number} broke {faults} times in a row: {result.reason}")
                continue
            faults = 0
            if result.outcome is Outcome.ABORTED:
                self._log.note("abort", episode, result.reason)
                raise EpisodeAbortedError(result.reason)
            known = result.outcome is Outcome.SUCCESS if self._knows() else None
            self._tell(phase="judge", question="Did it succeed?")
            label = self._operator.judge(episode.number, known)
            if label.word == "abort":
                self._log.note("abort", episode, "; ".join(["not judged", *label.notes]))
                raise EpisodeAbortedError(f"The operator stopped the session; episode {episode.number} does not count.")
            if label.word == "redo":
                self._log.note("redo", episode, "; ".join(label.notes))
                continue
            return EpisodeRecord(episode, label, apply_label(result, label, known=known is not None), attempts)

    def close(self) -> None:
        """Release the robot, which holds its pose. May be called twice."""
        env, self._env = self._env, None
        if env is None:
            return
        try:
            env.close()
        except (BackendFaultError, OSError) as error:
            self._say(str(error))

    def _attempt(self, episode: PlannedEpisode, number: int) -> EpisodeResult:
        settings, spec = self._settings, self._settings.policies[episode.policy]
        seed = episode_seed(settings.seed, episode.task, episode.episode_id)
        env = self._prepare(episode, spec)
        self._arrange(env, episode, seed)
        self._tell(phase="running", question="")
        policy = make_policy(env, spec)
        # A policy may be recognised by its text, so a blind session does not show it.
        shown = self._live is not None and not settings.blind
        name = f"episode{episode.number:04d}" + (f"_attempt{number}" if number > 1 else "")
        try:
            result = run_episode(
                env,
                ReportingPolicy(policy, self._live) if shown and self._live else policy,
                episode_id=episode.episode_id,
                seed=seed,
                spec=spec,
                videos=self._log.path / "videos" / name if self._video else None,
                log=self._log.path / "logs" / f"{name}.txt",
            )
        finally:
            close_policy(policy)
        return dataclasses.replace(result, video=f"videos/{result.video}" if result.video else "")

    def _prepare(self, episode: PlannedEpisode, spec: PolicySpec) -> gym.Env[Any, Any]:
        wanted = (episode.task, spec.language)
        if self._env is None or wanted != self._prepared:
            self.close()
            backend = self._settings.backend
            task = find_task(episode.task, backend)
            env_id, own = environment(task)
            instruction = spec.instruct(task.instruction)
            env = gym.make(env_id, backend=backend, instruction=instruction, **own, **self._options)
            self._env = LiveViewWrapper(env, self._live, self._operator) if self._live else env
            self._prepared = wanted
        if isinstance(self._env, LiveViewWrapper):
            self._env.episode = episode.number
        return self._env

    def _arrange(self, env: gym.Env[Any, Any], episode: PlannedEpisode, seed: int) -> None:
        """On a real robot: move to the start, show the wanted scene beside the live one, and wait for the operator."""
        planned = len(self._settings.plan())
        who, instruction = self._settings.title(episode), widowx(env).task_description
        self._tell(episode=episode.number, episodes=planned, who=who, instruction=instruction, phase="scene")
        if not is_real_robot(self._settings.backend):
            return
        live = env.reset(seed=seed, options={"episode_id": episode.episode_id})[0]["pixels"]["primary"]
        wanted = self._wanted_image(episode, live)
        request = f"Episode {episode.number + 1} of {planned}, {who}: {instruction!r}. Arrange the scene."
        if self._live is not None:
            self._live.show(wanted, WANTED)
            self._live.show(np.concatenate([wanted, live], axis=1), "scene.jpg")
            self._live.update(question="Arrange the scene as in the image, then start.")
            request += f" Target layout and live image, side by side: {self._live.path / 'scene.jpg'}."
        self._operator.wait_for_scene(episode.number, request)

    def _wanted_image(self, episode: PlannedEpisode, live: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB: SIMPLER's episode on the twin; for another task, the scene of its first attempt."""
        key = (episode.task, episode.episode_id)
        if key not in self._wanted:
            task = find_task(episode.task, self._settings.backend)
            if is_built_in(task):
                twin = gym.make(task.env_id, image_size=live.shape[:2])
                self._wanted[key] = twin.reset(options={"episode_id": episode.episode_id})[0]["pixels"]["primary"]
                twin.close()
            else:
                self._wanted[key] = live
        return self._wanted[key]

    def _knows(self) -> bool:
        return self._env is not None and widowx(self._env).status.scene is not None

    def _tell(self, **changes: Any) -> None:
        if self._live is not None:
            self._live.update(**changes)


def run_attended(
    run: Callable[[], EpisodeResult], env: Callable[[], gym.Env[Any, Any]], operator: Operator, number: int
) -> EpisodeResult:
    """An episode of a suite on a real robot: the operator arranges the scene, `run` runs, the operator labels.

    env: the current environment, which a fault replaces. After `MAX_FAULTS` attempts with a fault the result is an
    error. A stop by the operator ends the whole run (KeyboardInterrupt, as Ctrl-C).
    """
    faults = 0
    while True:
        operator.wait_for_scene(number, f"Episode {number}: {widowx(env()).task_description!r}. Arrange the scene.")
        result = run()
        if result.outcome is Outcome.ERROR:
            faults += 1
            if faults < MAX_FAULTS:
                continue
            return dataclasses.replace(result, reason=f"{result.reason} ({faults} attempts)")
        if result.outcome is Outcome.ABORTED:
            raise KeyboardInterrupt(result.reason)
        known = result.outcome is Outcome.SUCCESS if widowx(env()).status.scene is not None else None
        label: Label = operator.judge(number, known)
        if label.word == "abort":
            raise KeyboardInterrupt("The operator stopped the run.")
        if label.word != "redo":
            return apply_label(result, label, known=known is not None)
