"""`vlm2vla evaluate`: tasks x episodes, a table of rates, a folder that holds everything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from vlm2vla_sim.commands import Answer, read_options, read_policy_options
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.results import format_table
from vlm2vla_sim.run_folder import RunSettings, default_folder
from vlm2vla_sim.suite import EPISODE_TIMEOUT, SuiteRun, all_tasks, check_settings, run_suite
from vlm2vla_sim.types import EpisodeResult, Outcome

ALL_BROKE = 3


def evaluate(
    *,
    policy: str = "scripted",
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="all|NAME...")] = ("all",),
    episodes: int = 24,
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
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    no_video: bool = False,
    resume: bool = False,
    workers: int = 1,
    isolate: bool = False,
    episode_timeout: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = EPISODE_TIMEOUT,
    json: bool = False,
) -> Answer:
    """Run episodes of some or all tasks and print success rates with their 95 % intervals.

    Results, settings, a summary and one video per episode are left in a folder; nothing in it is ever overwritten.
    A run that was stopped, by Ctrl-C, a crash or a full disk, is continued by the same command with --out DIR --resume.
    The exit status is 0 whatever the rates, and 3 when every episode broke.

    Args:
        policy: A policy by name (scripted, hold, random, ...), or your own as package.module:factory.
        tasks: "all", or one or more names (see `vlm2vla tasks`).
        episodes: Episodes of every task: 0 to this number less one. SIMPLER's grid has 24.
        backend: What simulates the robot, or is it: mujoco, simpler, ...
        backend_options: What only this backend takes, for example profile=maniskill3 with simpler.
        model: With the policy vlm, the model: a folder, or a name such as google/gemma-3-12b-it.
        adapter: With the policy vlm, its LoRA adapter: a folder or a name.
        policy_options: What else only this policy takes, for example verifier=truth sampling=greedy with vlm.
        format_: How the policy writes its actions: vlm2vla, prose, integers, ...
        layouts: "grid" for SIMPLER's episodes, "random" for layouts drawn from the seed.
        seed: Of random layouts and of the policy.
        noise: How far off, in cm, a policy that takes noise should see the objects.
        image_size: Height and width of the picture in pixels.
        quality: "fast", or "high" with cast shadows.
        out: Folder to write to; by default runs/<date>_<time>-<policy>-<backend>.
        no_video: Leave the videos out.
        resume: Continue the run in the folder --out instead of refusing to touch it.
        workers: Processes that run episodes at the same time.
        isolate: Run episodes in a worker process even when there is only one, so that a native crash costs one episode.
        episode_timeout: Seconds after which an episode in a worker process is given up and tried once more.
        json: Print the summary as one line of JSON instead of the table.
    """
    if resume and out is None:
        raise SettingError("--resume needs the folder of the run to continue: add --out DIR.")
    settings = check_settings(
        RunSettings(
            policy=policy,
            tasks=all_tasks() if tasks == ("all",) else tasks,
            episodes=episodes,
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
    folder = default_folder(settings) if out is None else out
    run = run_suite(
        settings,
        out=folder,
        video=not no_video,
        resume=resume,
        workers=workers,
        isolate=isolate or None,
        episode_timeout=episode_timeout,
        on_result=_tell_trouble,
    )
    overall = run.summary.overall
    broke = overall.n == 0 and overall.n_error > 0
    values = {"folder": str(run.folder), **run.summary.to_json()}
    return Answer(f"{format_table(run.summary)}\n\n{_paths(run)}", values, json, code=ALL_BROKE if broke else 0)


def _tell_trouble(result: EpisodeResult) -> None:
    if result.outcome in (Outcome.ERROR, Outcome.ABORTED):
        line = f"{result.task} episode {result.episode_id}: {result.outcome.value}: {result.reason}"
        tqdm.write(line, file=sys.stderr)


def _paths(run: SuiteRun) -> str:
    videos = sum(bool(result.video) for result in run.results)
    lines = [f"Results  {run.folder / 'results.jsonl'}", f"Summary  {run.folder / 'summary.json'}"]
    return "\n".join([*lines, *([f"Videos   {run.folder / 'videos'} ({videos})"] if videos else [])])
