"""Run the episodes of a run one after the other, in this process or in a worker's.

The environment and the policy of a task are kept from one episode to the next, because starting a simulator or loading
a model costs more than an episode. Conditions of a suite that differ in the instruction only share them.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym

from vlm2vla_sim.core.terminal import to_stderr
from vlm2vla_sim.envs.backends import is_real_robot, needs_own_process
from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.errors import BackendFaultError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.episode_files import episode_stem
from vlm2vla_sim.evaluation.operator.attended import run_attended
from vlm2vla_sim.evaluation.operator.prompts import Operator, StreamAnswers
from vlm2vla_sim.evaluation.operator.stop import StopWrapper
from vlm2vla_sim.evaluation.run_folder import LOGS, VIDEOS
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.setup import episode_seed, make_env, make_policy, widowx
from vlm2vla_sim.policies import TextModelFactory
from vlm2vla_sim.policies.base import close_policy
from vlm2vla_sim.policies.spec import Option
from vlm2vla_sim.types import EpisodeResult, Outcome

if TYPE_CHECKING:
    from vlm2vla_sim.policies.base import Policy


class Recorder(Protocol):
    """Records one episode while it runs."""

    env: gym.Env[Any, Any]
    """The environment the episode is run in."""

    def keep(self, result: EpisodeResult) -> None:
        """The episode ended with `result`."""
        ...

    def drop(self) -> None:
        """The episode was interrupted; discard it."""
        ...


class RecorderFactory(Protocol):
    """Makes the recorder of an episode. It is sent to worker processes, so it can be pickled."""

    def __call__(
        self, env: gym.Env[Any, Any], task: str, episode_id: int, folder: Path, condition: str = "", /
    ) -> Recorder:
        """The recorder of this episode of `task`, around `env`.

        folder: the run folder, which its files are below. condition: that of the suite, empty outside one.
        """
        ...


@dataclass(frozen=True)
class Item:
    """One episode to be run."""

    task: str
    """As `find_task` takes it."""
    episode_id: int
    condition: str = ""
    """Name of one of the settings' conditions; empty without a suite."""


@dataclass(frozen=True)
class EpisodeJob:
    """The episodes of a run: an `executors.base.Job`."""

    settings: RunSettings
    folder: Path
    """The run folder; videos, logs and what a recorder writes are below it."""
    video: bool = True
    """Whether every episode leaves a video."""
    recorder: RecorderFactory | None = None
    """Wraps the environment of every episode, to record it; None for none."""
    asks_models = True

    @property
    def fresh_for_group(self) -> bool:
        """A simulator that cannot be started twice in a process serves one task, with the same options."""
        return needs_own_process(self.settings.backend)

    def open(self, models: TextModelFactory | None) -> EpisodeRunner:
        """See `executors.base.Job.open`."""
        return EpisodeRunner(self, models=models)

    def within(self, folder: Path) -> EpisodeJob:
        """See `executors.base.Job.within`."""
        return dataclasses.replace(self, folder=folder)

    def group(self, item: Item) -> str:
        """Its task and what a condition changes of the scene: environment and policy are made for one of them."""
        changed = self.settings.condition(item.condition).options
        return item.task + (f" {json.dumps(changed, sort_keys=True)}" if changed else "")

    def annotated(self, result: EpisodeResult, note: str) -> EpisodeResult:
        """See `executors.base.Job.annotated`."""
        return dataclasses.replace(result, reason=f"{result.reason} {note}".strip())

    def broken(self, item: Item, reason: str) -> EpisodeResult:
        """The result of an episode whose process ended before it could report one."""
        settings = self.settings.under(item.condition, item.task)
        task = find_task(item.task, settings.backend)
        broken = EpisodeResult(
            task=task.name,
            episode_id=item.episode_id,
            seed=episode_seed(settings.seed, task.name, item.episode_id),
            backend=settings.backend,
            profile="",
            policy=settings.spec.label,
            action_format=settings.action_format,
            layouts=settings.layouts,
            instruction=settings.instruct(task.instruction),
            outcome=Outcome.ERROR,
            noise_cm=settings.noise_cm,
            reason=f"The episode {reason}",
        )
        return self.settings.condition(item.condition).mark(broken)


class EpisodeRunner:
    """Runs items of a job, each to its result."""

    def __init__(self, job: EpisodeJob, *, models: TextModelFactory | None = None) -> None:
        """models: makes the text models of policies; by default they are loaded in this process."""
        self._job, self._models = job, models
        self._made_for: tuple[str, dict[str, Option]] | None = None
        self._env: gym.Env[Any, Any] | None = None
        self._policy: Policy | None = None
        self._operator: Operator | None = None

    def run(self, item: Item) -> EpisodeResult:
        """The result of one episode; an error that every episode would meet is raised."""
        settings = self._job.settings
        if not is_real_robot(settings.backend) or widowx(self._prepare(item)[0]).knows_scene:
            return self._run_once(item)
        if self._operator is None:
            self._operator = Operator([StreamAnswers(sys.stdin)], say=to_stderr)
        return run_attended(
            lambda: self._run_once(item), lambda: self._prepare(item)[0], self._operator, item.episode_id
        )

    def _run_once(self, item: Item) -> EpisodeResult:
        env, policy = self._prepare(item)
        recorder: Recorder | None = None
        if self._job.recorder is not None:
            recorder = self._job.recorder(env, widowx(env).task, item.episode_id, self._job.folder, item.condition)
        try:
            result = self._run(env if recorder is None else recorder.env, policy, item)
        except BaseException:
            if recorder is not None:
                recorder.drop()
            raise
        if recorder is not None:
            recorder.keep(result)
        if result.outcome is Outcome.ERROR:
            # The fault may persist, so the next episode gets a new simulator and a new policy.
            self.close()
        return result

    def _run(self, env: gym.Env[Any, Any], policy: Policy, item: Item) -> EpisodeResult:
        settings, task, folder = self._job.settings.under(item.condition, item.task), widowx(env).task, self._job.folder
        result = run_episode(
            env,
            policy,
            episode_id=item.episode_id,
            seed=episode_seed(settings.seed, task, item.episode_id),
            layouts=settings.layouts,
            spec=settings.spec,
            videos=folder / VIDEOS / item.condition if self._job.video else None,
            log=folder / LOGS / item.condition / f"{episode_stem(task, item.episode_id)}.txt",
            metrics=settings.metrics,
        )
        if not item.condition:
            return result
        result = dataclasses.replace(result, video=f"{VIDEOS}/{result.video}" if result.video else "")
        return self._job.settings.condition(item.condition).mark(result)

    def close(self) -> None:
        """Release environment and policy. May be called twice. A fault while closing is ignored: no result is lost."""
        env, policy = self._env, self._policy
        self._env, self._policy, self._made_for = None, None, None
        if policy is not None:
            close_policy(policy)
        if env is None:
            return
        try:
            env.close()
        except (BackendFaultError, OSError):
            return

    def _prepare(self, item: Item) -> tuple[gym.Env[Any, Any], Policy]:
        settings = self._job.settings.under(item.condition, item.task)
        wanted = item.task, settings.backend_options
        if self._env is None or self._policy is None or wanted != self._made_for:
            self.close()
            env = make_env(settings, item.task)
            self._env = StopWrapper(env, self._check_stop) if is_real_robot(settings.backend) else env
            self._policy = make_policy(self._env, settings.spec, models=self._models)
            self._made_for = wanted
        elif item.condition:
            inner = widowx(self._env)
            inner.instruct(settings.instruct(inner.spec_task.instruction))
        return self._env, self._policy

    def _check_stop(self) -> None:
        if self._operator is not None:
            self._operator.check()
