"""The paper's ablation at the scale of the embedded model: how actions are written, what is trained, what is forgotten.

    python benchmarks/mini_study.py language     # one arm, from the folder of `make mini`
    python benchmarks/mini_study.py table        # all that are done

Every arm starts from the same base and sees the scenes of the same shards; how they differ stands in ARMS, steps follow
from the rows. Rates were not tuned arm by arm, so a difference is one between trainings, not yet between methods.
Every arm is trained once, so an interval tells what chance does to the episodes, not what it does to the training.
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
from vlm2vla_sim.evaluation.results import Rate, read_results
from vlm2vla_sim.evaluation.run_folder import RESULTS, Option, RunSettings
from vlm2vla_sim.evaluation.suite import all_tasks, run_suite
from vlm2vla_sim.mini.scenes.rendered_dataset import HELD_OUT


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    format: str = "vlm2vla"
    method: str = "lora"
    reasoning: bool = True
    rate: float = 1.5e-3
    rehearsed: float = 0.0
    """Share of the scenes that come with questions of the base's own training."""
    made: bool = False
    """Not trained here: the adapter that `make mini` leaves in the folder of work. It is told where its motions end,
    the others what was measured."""


ARMS = {
    "language": Arm(),
    "tokens": Arm(format="tokens"),
    "no-reasoning": Arm(reasoning=False),
    "full-tokens": Arm(format="tokens", method="full", rate=5e-4),
    "full-language": Arm(method="full", rate=5e-4),
    "rehearsed": Arm(rehearsed=0.25, rate=1e-3),
    "mini": Arm(made=True),
}
"""VLM2VLA, VLM2VLA-AT, VLM2VLA-NR; both kinds of words with every weight trained; with rehearsal; and `make mini`."""
TABLE = ("spoon_on_towel", "carrot_on_plate", "stack_cube")
PAINTED = ("spoon_on_towel", "carrot_on_plate", "eggplant_in_basket")
"""A green block that is painted is no green block any more."""
RELATION = "put the thing left of the plate on the plate"


def conditions(arm: Arm, policy_options: dict[str, Option]) -> Iterator[tuple[str, RunSettings]]:
    """Name and run of everything the arm is tested on: the published grid first, then what training never showed."""

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
    """Make and test one arm; what is there already is not made again.

    Args:
        arm: language, tokens, no-reasoning, full-tokens, full-language, rehearsed, mini; or table.
        work: the folder of `make mini`, of which the album and the base are used.
        first: number of the album's first shard to learn from.
        shards: how many.
        workers: processes that run episodes.
        only_train: stop after the training.
    """
    if arm == "table":
        done = [name for name in ARMS if (work / "study" / name / "exam").exists()]
        print("\n".join(table({name: work / "study" / name for name in done})))
        return
    out = work / "study" / arm
    out.mkdir(parents=True, exist_ok=True)
    train(ARMS[arm], work, out, first=first, shards=shards)
    if not only_train:
        test(ARMS[arm], work, out, workers=workers)


def train(arm: Arm, work: Path, out: Path, *, first: int, shards: int) -> None:
    """Rows, then an adapter or a model in `out / "model"`."""
    base, rows, model = str(work / "base"), out / "rows", out / "model"
    if arm.made and not model.exists():
        shutil.copytree(work / "adapter", model)
    if model.exists():
        return
    words = ["--format", arm.format, "--reasoning" if arm.reasoning else "--no-reasoning", "--model", base]
    words += ["--first", str(first), "--shards", str(shards), "--others", "0.5" if arm.reasoning else "1.0"]
    words += ["--rehearsed", str(arm.rehearsed)]
    _once(rows, [*_mini("lessons"), str(work / "album"), "--out", str(rows), *words])
    how = ["--preset", "small", "--method", arm.method, "--learning-rate", str(arm.rate)]
    train_it = ["train", str(rows), "--model", base, *how, "--resume", "--out", str(model)]
    subprocess.run([*_vlm2vla(), *train_it], check=True)


def test(arm: Arm, work: Path, out: Path, *, workers: int) -> None:
    """Episodes under all conditions, then the exam."""
    base, model, full = str(work / "base"), str(out / "model"), arm.method == "full"
    options: dict[str, Option] = {"model": model, "adapter": ""} if full else {"model": base, "adapter": model}
    options |= {"reasoning": arm.reasoning, "commanded": arm.made}
    for name, settings in conditions(arm, options):
        folder = out / name
        run_suite(settings, out=folder, video=False, resume=(folder / "settings.json").exists(), workers=workers)
        if name == "grid" and not solved(folder).k:
            break  # what solves nothing that it was trained for is not tried on what is harder
    _once(work / "exam", [*_mini("questions"), str(work / "album"), "--out", str(work / "exam")])
    tuned = ["--tuned" if full else "--adapter", model]
    asked = ["vqa", "--model", base, *tuned, "--questions", str(work / "exam"), "--out", str(out / "exam")]
    _once(out / "exam", [*_vlm2vla(), *asked])


def table(arms: dict[str, Path]) -> Iterator[str]:
    """Lines of Markdown: an arm in each column; success in every condition, then what was retained."""

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
    """Success at the last step; of the relation only where its instruction is true; 0 of 0 where nothing was run."""
    results = read_results(run / RESULTS) if (run / RESULTS).exists() else []
    if run.name == "relation":
        results = [one for one in results if _is_left(one.task, one.seed)]
    return Rate(sum(one.success_at_end for one in results), len(results))


def _retention(out: Path) -> dict[str, str]:
    """Category -> retention with its interval, from the exam's report."""
    kept = json.loads((out / "exam" / "retention.json").read_text(encoding="utf-8"))["retention"]
    return {one["category"]: _percent(one["retention"]) for one in kept}


def _percent(interval: dict[str, float] | None) -> str:
    if interval is None:
        return "-"
    return f"{interval['value']:.0%} ({interval['low']:.0%} to {interval['high']:.0%})"


def _is_left(task: str, seed: int) -> bool:
    """Whether the thing of a random layout is left of the plate: only there is the relation's instruction true."""
    layout = get_task(task).random_layout(np_random(seed)[0])
    return bool(np.subtract(layout.source_xy, layout.target_xy)[1] > 0)


def _once(made: Path, words: list[str]) -> None:
    if not made.exists():
        subprocess.run(words, check=True)


def _mini(step: str) -> list[str]:
    return [sys.executable, "-m", "vlm2vla_sim.mini", step]


def _vlm2vla() -> list[str]:
    return [sys.executable, "-c", "import sys; from vlm2vla_sim.cli.main import main; sys.exit(main())"]


if __name__ == "__main__":
    tyro.cli(main)
