"""The paper's ablation at the scale of the embedded model: action format, trained weights, forgetting.

    python benchmarks/mini_study.py language     # one arm, from the folder of `make mini`
    python benchmarks/mini_study.py table        # every finished arm

Every arm starts from the same base and uses the same shards of scenes; ARMS has the differences. Learning rates were
not tuned per arm, so that a difference is one between trainings, not yet between methods. Every arm is trained once:
an interval covers the variance of the episodes, not that of the training.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from gymnasium.utils.seeding import np_random

from vlm2vla_sim.envs.tasks import get_task
from vlm2vla_sim.evaluation.rates import Rate
from vlm2vla_sim.evaluation.results import read_results
from vlm2vla_sim.evaluation.run_folder import RESULTS
from vlm2vla_sim.evaluation.settings import Option, RunSettings
from vlm2vla_sim.evaluation.suite import all_tasks, run_suite
from vlm2vla_sim.mini.scenes.rendered_dataset import HELD_OUT


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    format: str = "vlm2vla"
    method: str = "lora"
    reasoning: bool = True
    rate: float = 1.5e-3
    rehearsal: float = 0.0
    """Share of the scenes that also come with questions of the base's pretraining."""
    ready: bool = False
    """Whether it is not trained here but the adapter of `make mini`. Its prompts have the commanded state, those of the
    other arms the measured one."""


ARMS = {
    "language": Arm(),
    "tokens": Arm(format="tokens"),
    "no-reasoning": Arm(reasoning=False),
    "full-tokens": Arm(format="tokens", method="full", rate=5e-4),
    "full-language": Arm(method="full", rate=5e-4),
    "rehearsed": Arm(rehearsal=0.25, rate=1e-3),
    "mini": Arm(ready=True),
}
"""VLM2VLA, VLM2VLA-AT, VLM2VLA-NR; both formats with every weight trained; with rehearsal; and `make mini`."""
TABLE = ("spoon_on_towel", "carrot_on_plate", "stack_cube")
PAINTED = ("spoon_on_towel", "carrot_on_plate", "eggplant_in_basket")
"""Tasks whose object can be painted without changing its name, unlike the green block."""
RELATION = "put the thing left of the plate on the plate"


def conditions(arm: Arm, policy_options: dict[str, Option]) -> Iterator[tuple[str, RunSettings]]:
    """Name and settings of each test: first the published grid, then conditions that training does not have."""

    def run(tasks: tuple[str, ...], episodes: int, **changed: object) -> RunSettings:
        settings = {"layouts": "random", "seed": HELD_OUT, **changed}
        return RunSettings(
            "mini",
            tasks,
            action_format=arm.format,
            policy_options=policy_options,
            episodes=episodes,
            **settings,  # type: ignore[arg-type]
        )

    yield "grid", run(all_tasks(), 24, layouts="grid")
    yield "positions", run(all_tasks(), 8)
    yield "colours", run(PAINTED, 8, backend_options={"source_colour": "magenta"})
    yield "distractors", run(TABLE, 8, backend_options={"distractors": 2})
    for language in ("es", "zh", "hi"):
        yield language, run(all_tasks(), 3, language=language)
    yield "relation", run(("carrot_on_plate",), 24, instruction=RELATION)


def main(
    arm: Annotated[str, tyro.conf.Positional],
    *,
    work: Path = Path("build/mini"),
    first: int = 0,
    shards: int = 4,
    workers: int = 2,
    only_train: bool = False,
) -> None:
    """Train and test one arm; finished parts are not repeated.

    Args:
        arm: language, tokens, no-reasoning, full-tokens, full-language, rehearsed, mini; or table.
        work: Folder of `make mini`, whose rendered dataset and base model are used.
        first: Number of the first shard to train on.
        shards: Number of shards.
        workers: Number of processes that run episodes.
        only_train: Stop after the training.
    """
    if arm == "table":
        done = [name for name in ARMS if (work / "study" / name / "retention").exists()]
        print("\n".join(table({name: work / "study" / name for name in done})))
        return
    out = work / "study" / arm
    out.mkdir(parents=True, exist_ok=True)
    train(ARMS[arm], work, out, first=first, shards=shards)
    if not only_train:
        test(ARMS[arm], work, out, workers=workers)


def train(arm: Arm, work: Path, out: Path, *, first: int, shards: int) -> None:
    """Write the rows, then train an adapter or a model in `out / "model"`."""
    base, rows, model = str(work / "base"), out / "rows", out / "model"
    if arm.ready and not model.exists():
        shutil.copytree(work / "adapter", model)
    if model.exists():
        return
    flags = ["--format", arm.format, "--reasoning" if arm.reasoning else "--no-reasoning", "--model", base]
    flags += ["--first", str(first), "--shards", str(shards), "--easy-share", "0.5" if arm.reasoning else "1.0"]
    flags += ["--rehearsal-share", str(arm.rehearsal)]
    _once(rows, [*_mini("labels"), str(work / "scenes"), "--out", str(rows), *flags])
    method = ["--preset", "small", "--method", arm.method, "--learning-rate", str(arm.rate)]
    command = ["train", str(rows), "--model", base, *method, "--resume", "--out", str(model)]
    subprocess.run([*_vlm2vla(), *command], check=True)


def test(arm: Arm, work: Path, out: Path, *, workers: int) -> None:
    """Run episodes under all conditions, then the held-out evaluation."""
    base, model, full = str(work / "base"), str(out / "model"), arm.method == "full"
    options: dict[str, Option] = {"model": model, "adapter": ""} if full else {"model": base, "adapter": model}
    options |= {"reasoning": arm.reasoning, "commanded_state": arm.ready}
    for name, settings in conditions(arm, options):
        folder = out / name
        run_suite(settings, out=folder, video=False, resume=(folder / "settings.json").exists(), workers=workers)
        if name == "grid" and not solved(folder).k:
            break  # an arm that solves nothing on the grid is not tested further
    _once(work / "questions", [*_mini("questions"), str(work / "scenes"), "--out", str(work / "questions")])
    tuned = ["--tuned" if full else "--adapter", model]
    vqa = ["vqa", "--model", base, *tuned, "--questions", str(work / "questions"), "--out", str(out / "retention")]
    _once(out / "retention", [*_vlm2vla(), *vqa])


def table(arms: dict[str, Path]) -> Iterator[str]:
    """Lines of a Markdown table with a column per arm: success in every condition, then retention per category."""

    def line(*cells: str) -> str:
        return f"| {' | '.join(cells)} |"

    yield line("", *arms)
    yield line(*["---"] * (len(arms) + 1))
    for name, _ in conditions(ARMS["language"], {}):
        yield line(name, *(str(solved(out / name)) for out in arms.values()))
    found = {name: _retention(out) for name, out in arms.items()}
    for category in next(iter(found.values()), {}):
        yield line(category, *(found[name].get(category, "-") for name in arms))


def solved(run: Path) -> Rate:
    """Success at the end of the episode; 0 of 0 without a run. Of "relation", only layouts that it applies to."""
    results = read_results(run / RESULTS) if (run / RESULTS).exists() else []
    if run.name == "relation":
        results = [one for one in results if _is_left(one.task, one.seed)]
    return Rate(sum(bool(one.success_at_end) for one in results), len(results))


def _retention(out: Path) -> dict[str, str]:
    """Category -> retention with its interval, from the report of `vlm2vla vqa`."""
    kept = json.loads((out / "retention" / "retention.json").read_text(encoding="utf-8"))["retention"]
    return {one["category"]: _percent(one["retention"]) for one in kept}


def _percent(interval: dict[str, float] | None) -> str:
    if interval is None or interval["low"] is None:
        return "-"
    return f"{interval['value']:.0%} ({interval['low']:.0%} to {interval['high']:.0%})"


def _is_left(task: str, seed: int) -> bool:
    """Whether the object is left of the plate in a random layout, as RELATION says."""
    layout = get_task(task).random_layout(np_random(seed)[0])
    return bool(np.subtract(layout.source_xy, layout.target_xy)[1] > 0)


def _once(result: Path, command: list[str]) -> None:
    """Run `command` unless its result exists."""
    if not result.exists():
        subprocess.run(command, check=True)


def _mini(step: str) -> list[str]:
    return [sys.executable, "-m", "vlm2vla_sim.mini", step]


def _vlm2vla() -> list[str]:
    return [sys.executable, "-m", "vlm2vla_sim"]


if __name__ == "__main__":
    tyro.cli(main)
