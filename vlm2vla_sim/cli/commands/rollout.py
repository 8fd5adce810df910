"""`vlm2vla rollout`: one episode, with the text the policy writes, and a video."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.flags import RunFlags
from vlm2vla_sim.cli.result import ALL_ERRORS, CommandResult
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.episode_files import episode_stem
from vlm2vla_sim.evaluation.rerun_files import RerunRecorder, check_rerun_file
from vlm2vla_sim.evaluation.setup import make_env, make_policy, widowx
from vlm2vla_sim.language.formats import describe
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.types import Decision, EpisodeResult, Outcome


def rollout(
    run: RunFlags,
    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[TASK]")] = "carrot_on_plate",
    *,
    episode: int = 0,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/rollouts"),
    no_video: bool = False,
    rerun: Annotated[Path | None, tyro.conf.arg(metavar="FILE.rrd")] = None,
    json: bool = False,
) -> CommandResult:
    """Run one episode, print what the policy writes as it writes it, and save a video.

    Args:
        run: Policy, backend and settings of the run.
        task: Name of the task (see `vlm2vla tasks`).
        episode: SIMPLER's episode, 0 to 23.
        out: Folder for the video; a video in it is never overwritten.
        no_video: Write no video.
        rerun: Write the episode as a recording for the Rerun viewer (rerun.io); a file that is there is replaced.
        json: Print the result as one line of JSON; what the policy writes goes to standard error.
    """
    settings = run.settings(tasks=(task,), episodes=1)
    spec = settings.spec
    if rerun is not None:
        check_rerun_file(rerun)
    env = make_env(settings, task)
    recorder = None if rerun is None else RerunRecorder(env, rerun)
    try:
        printing = _PrintingPolicy(make_policy(env, spec), to_stderr=json)
        result = run_episode(
            env if recorder is None else recorder.env,
            printing,
            episode_id=episode,
            seed=settings.seed,
            layouts=settings.layouts,
            spec=spec,
            videos=None if no_video else out,
            log=out / f"{episode_stem(widowx(env).task, episode)}.txt",
            metrics=settings.metrics,
        )
        if recorder is not None:
            recorder.keep(result)
    finally:
        if recorder is not None:
            recorder.drop()  # of an episode that was broken off
        env.close()
    return CommandResult(
        _ending(result, out, recorder), _plain(result), json, code=ALL_ERRORS if result.outcome is Outcome.ERROR else 0
    )


class _PrintingPolicy:
    """A policy whose every decision is printed when it is made: a large model may take minutes over the next one."""

    def __init__(self, policy: Policy, *, to_stderr: bool) -> None:
        self._policy = policy
        self._stream = sys.stderr if to_stderr else sys.stdout

    def reset(self, instruction: str, seed: int = 0) -> None:
        self._subtask = ""
        self._say("task", instruction)
        self._policy.reset(instruction, seed)

    def act(self, observation: dict[str, Any]) -> Decision | None:
        decision = self._policy.act(observation)
        if decision is None:
            self._say("done", "hold still to the end")
            return None
        if decision.subtask != self._subtask:
            self._subtask = decision.subtask
            self._say("subtask", decision.subtask)
        self._say("plan", decision.plan)
        self._say("says", decision.action)
        if decision.chunk is None:
            self._say("error", decision.error)
        else:
            self._say("moves", "; then ".join(describe(decision.chunk)))
        return decision

    def __getattr__(self, name: str) -> Any:
        """What else a policy may tell: `ended`, `judgement`, `provenance`."""
        return getattr(self._policy, name)

    def _say(self, label: str, text: str) -> None:
        self._stream.write(f"{label:>8}  {text}\n")
        self._stream.flush()


def _plain(result: EpisodeResult) -> object:
    import json

    return json.loads(result.to_json())


def _ending(result: EpisodeResult, out: Path, recorder: RerunRecorder | None) -> str:
    lines = [f"{result.task} episode {result.episode_id}: {_verdict(result)}"]
    lines += [f"Video: {out / Path(result.video).name}"] if result.video else []
    if recorder is not None and recorder.written:
        lines.append(f"Recording: {recorder.path} (open it with: rerun {shlex.quote(str(recorder.path))})")
    return "\n".join(["", *lines])


def _verdict(result: EpisodeResult) -> str:
    first = result.first_success_step
    when = f"first at step {first} of {result.steps}" if first is not None else f"never in {result.steps} steps"
    match result.outcome:
        case Outcome.SUCCESS:
            return f"success at the last step ({when})."
        case Outcome.FAILURE:
            done = [name for name in ("moved_correct_object", "grasped", "on_target") if getattr(result, name)]
            partial = f"; {', '.join(done).replace('_', ' ')}" if done else ""
            return f"no success at the last step ({when}{partial})."
        case Outcome.UNKNOWN:
            return f"unknown after {result.steps} steps: the backend does not know where the objects are."
        case _:
            return f"{result.outcome.value}: {result.reason}"
