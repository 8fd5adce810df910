"""`vlm2vla rollout`: one episode, with every word the policy says, and a video."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from vlm2vla_sim.commands import Answer, read_options, read_policy_options
from vlm2vla_sim.episodes import make_env
from vlm2vla_sim.language.formats import describe
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.rollout import run_episode
from vlm2vla_sim.run_folder import RunSettings
from vlm2vla_sim.subject import Subject, make_policy
from vlm2vla_sim.suite import check_settings
from vlm2vla_sim.types import Decision, EpisodeResult, Outcome

BROKE = 3


def rollout(
    task: Annotated[str, tyro.conf.Positional] = "carrot_on_plate",
    *,
    policy: str = "scripted",
    episode: int = 0,
    backend: str = "mujoco",
    backend_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = (),
    model: str = "",
    adapter: str = "",
    policy_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = (),
    format_: Annotated[str, tyro.conf.arg(name="format")] = "vlm2vla",
    layouts: str = "grid",
    seed: int = 0,
    noise: Annotated[float, tyro.conf.arg(metavar="CM")] = 0.0,
    image_size: Annotated[tuple[int, int], tyro.conf.arg(metavar="HEIGHT WIDTH")] = (480, 640),
    quality: str = "fast",
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/rollouts"),
    no_video: bool = False,
    json: bool = False,
) -> Answer:
    """Run one episode, print what the policy says as it says it, and leave a video.

    Args:
        task: Name of the task (see `vlm2vla tasks`).
        policy: A policy by name (scripted, hold, random, ...), or your own as package.module:factory.
        episode: SIMPLER's episode, 0 to 23.
        backend: What simulates the robot, or is it: mujoco, simpler, ...
        backend_options: What only this backend takes, for example profile=maniskill3 with simpler.
        model: With the policy vlm, the model: a folder, or a name such as google/gemma-3-12b-it.
        adapter: With the policy vlm, its LoRA adapter: a folder or a name.
        policy_options: What else only this policy takes, for example verifier=truth sampling=greedy with vlm.
        format_: How the policy writes its actions: vlm2vla, prose, integers, ...
        layouts: "grid" for SIMPLER's episode, "random" for a layout drawn from the seed.
        seed: Of a random layout and of the policy.
        noise: How far off, in cm, a policy that takes noise should see the objects.
        image_size: Height and width of the picture in pixels.
        quality: "fast", or "high" with cast shadows.
        out: Folder for the video; a video in it is never overwritten.
        no_video: Leave the video out.
        json: Print the result as one line of JSON; what the policy says goes to standard error.
    """
    settings = check_settings(
        RunSettings(
            policy=policy,
            tasks=(task,),
            episodes=1,
            backend=backend,
            action_format=format_,
            layouts=layouts,
            seed=seed,
            noise_cm=noise,
            image_size=image_size,
            quality=quality,
            backend_options=read_options(backend_options),
            policy_options=read_policy_options(policy_options, model=model, adapter=adapter),
        )
    )
    subject = Subject(policy, format_, noise, settings.policy_options)
    env = make_env(settings, task)
    try:
        speaker = _Aloud(make_policy(env, subject), to_stderr=json)
        result = run_episode(
            env,
            speaker,
            episode_id=episode,
            seed=seed,
            layouts=layouts,
            subject=subject,
            videos=None if no_video else out,
            log=out / f"ep{episode:04d}_{settings.tasks[0]}.txt",
        )
    finally:
        env.close()
    return Answer(_ending(result, out), _plain(result), json, code=BROKE if result.outcome is Outcome.ERROR else 0)


class _Aloud:
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

    def _say(self, label: str, text: str) -> None:
        self._stream.write(f"{label:>8}  {text}\n")
        self._stream.flush()


def _plain(result: EpisodeResult) -> object:
    import json

    return json.loads(result.to_json())


def _ending(result: EpisodeResult, out: Path) -> str:
    lines = [f"{result.task} episode {result.episode_id}: {_verdict(result)}"]
    lines += [f"Video: {out / Path(result.video).name}"] if result.video else []
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
        case _:
            return f"{result.outcome.value}: {result.reason}"
