"""Runs the episodes of one run one after the other, in whatever process it is told to.

It keeps the environment and the policy of a task from one episode to the next, because starting a simulator or loading
a model for every episode would cost more than the episode.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym

from vlm2vla_sim.envs.backends import is_real_robot
from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.errors import BackendFaultError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.operator.prompts import Operator, StreamAnswers
from vlm2vla_sim.evaluation.operator.session import attended
from vlm2vla_sim.evaluation.policy_spec import PolicySpec, episode_seed, make_policy, widowx
from vlm2vla_sim.evaluation.run_folder import RunSettings
from vlm2vla_sim.policies.base import close_policy
from vlm2vla_sim.types import EpisodeResult, Outcome

if TYPE_CHECKING:
    from vlm2vla_sim.policies.base import Policy


class Recorder(Protocol):
    """Keeps one episode while it runs."""

    env: gym.Env[Any, Any]
    """The environment the episode is run in."""

    def keep(self, result: EpisodeResult) -> None:
        """The episode ended with `result`."""
        ...

    def drop(self) -> None:
        """The episode broke off; forget it."""
        ...


class RecorderFactory(Protocol):
    """Makes the recorder of an episode. It is sent to worker processes, so it can be pickled."""

    def __call__(self, env: gym.Env[Any, Any], task: str, episode_id: int) -> Recorder:
        """The recorder of this episode of `task`, around `env`."""
        ...


@dataclass(frozen=True)
class Item:
    """One episode to be run."""

    task: str
    episode_id: int


@dataclass(frozen=True)
class Job:
    """All that a process needs to know to run any episode of a run; it is sent to workers."""

    settings: RunSettings
    videos: Path | None
    """Folder for the videos; None for none."""
    logs: Path
    """Folder for tracebacks."""
    recorder: RecorderFactory | None = None
    """Wraps the environment of every episode, to keep what happens in it; None for none."""

    def spec(self) -> PolicySpec:
        """Whom the results are about."""
        settings = self.settings
        return PolicySpec(settings.policy, settings.action_format, settings.noise_cm, settings.policy_options)

    def error_result(self, item: Item, reason: str) -> EpisodeResult:
        """The result of an episode that nobody lived to report."""
        settings = self.settings
        return EpisodeResult(
            task=item.task,
            episode_id=item.episode_id,
            seed=episode_seed(settings.seed, item.task, item.episode_id),
            backend=settings.backend,
            profile="",
            policy=settings.policy,
            action_format=settings.action_format,
            layouts=settings.layouts,
            instruction=settings.said(find_task(item.task, settings.backend).instruction),
            outcome=Outcome.ERROR,
            noise_cm=settings.noise_cm,
            reason=reason,
        )


def make_env(settings: RunSettings, task: str) -> gym.Env[Any, Any]:
    """The environment in which `settings` runs the episodes of `task`."""
    options: dict[str, Any] = {
        "image_size": settings.image_size,
        "quality": settings.quality,
    } | settings.backend_options
    found = find_task(task, settings.backend)
    own = {"task": task} if found.own else {"instruction": settings.said(found.instruction)}
    return gym.make(found.env_id, backend=settings.backend, **own, **options)


def _say(words: str) -> None:
    print(words, end="", file=sys.stderr, flush=True)  # noqa: T201


class EpisodeRunner:
    """Runs items of a job, each to its result."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._task: str | None = None
        self._env: gym.Env[Any, Any] | None = None
        self._policy: Policy | None = None
        self._operator: Operator | None = None

    def run(self, item: Item) -> EpisodeResult:
        """The result of one episode; errors that would meet every episode are raised."""
        settings = self._job.settings
        if not is_real_robot(settings.backend) or widowx(self._prepare(item.task)[0]).knows_scene:
            return self._run_once(item)
        if self._operator is None:
            self._operator = Operator([StreamAnswers(sys.stdin)], say=_say)
        return attended(
            lambda: self._run_once(item), lambda: self._prepare(item.task)[0], self._operator, item.episode_id
        )

    def _run_once(self, item: Item) -> EpisodeResult:
        env, policy = self._prepare(item.task)
        recorder: Recorder | None = None
        if self._job.recorder is not None:
            recorder = self._job.recorder(env, item.task, item.episode_id)
        try:
            result = self._run(env if recorder is None else recorder.env, policy, item)
        except BaseException:
            if recorder is not None:
                recorder.drop()
            raise
        if recorder is not None:
            recorder.keep(result)
        if result.outcome is Outcome.ERROR:
            # What broke once may be broken for good: the next episode gets a new simulator and a new policy.
            self.close()
        return result

    def _run(self, env: gym.Env[Any, Any], policy: Policy, item: Item) -> EpisodeResult:
        settings = self._job.settings
        return run_episode(
            env,
            policy,
            episode_id=item.episode_id,
            seed=episode_seed(settings.seed, item.task, item.episode_id),
            layouts=settings.layouts,
            spec=self._job.spec(),
            videos=self._job.videos,
            log=self._job.logs / f"ep{item.episode_id:04d}_{item.task}.txt",
        )

    def close(self) -> None:
        """Release environment and policy. May be called twice; a fault on the way out costs nothing measured."""
        env, policy = self._env, self._policy
        self._env, self._policy, self._task = None, None, None
        if policy is not None:
            close_policy(policy)
        if env is None:
            return
        try:
            env.close()
        except (BackendFaultError, OSError):
            return

    def _prepare(self, task: str) -> tuple[gym.Env[Any, Any], Policy]:
        if self._env is None or self._policy is None or task != self._task:
            self.close()
            self._env = make_env(self._job.settings, task)
            self._policy = make_policy(self._env, self._job.spec())
            self._task = task
        return self._env, self._policy
