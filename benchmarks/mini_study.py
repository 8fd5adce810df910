"""The paper's ablation at the scale of the embedded model: how actions are written, what is trained, what is forgotten.

    python benchmarks/mini_study.py language --work build/mini     # one arm
    python benchmarks/mini_study.py table --work build/mini        # all that are done

Every arm starts from the same base and sees the same scenes in the same order; how they differ stands in ARMS alone.
"""

from __future__ import annotations

import json
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
from vlm2vla_sim.mini.album import HELD_OUT
from vlm2vla_sim.results import Rate, read_results
from vlm2vla_sim.run_folder import RESULTS, Option, RunSettings
from vlm2vla_sim.suite import all_tasks, run_suite


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    format: str = "vlm2vla"
    method: str = "lora"
    reasoning: bool = True


ARMS = {
    "language": Arm(),
    "tokens": Arm(format="tokens"),
    "no-reasoning": Arm(reasoning=False),
    "full-tokens": Arm(format="tokens", method="full"),
    "full-language": Arm(method="full"),
}
"""VLM2VLA, VLM2VLA-AT, VLM2VLA-NR, and both kinds of words with every weight trained."""
TABLE = ("spoon_on_towel", "carrot_on_plate", "stack_cube")
PAINTED = ("spoon_on_towel", "carrot_on_plate", "eggplant_in_basket")
"""A green block that is painted is no green block any more."""
RELATION = "put the thing left of the plate on the plate"


def conditions(arm: Arm, policy_options: dict[str, Option]) -> Iterator[tuple[str, RunSettings]]:
    """Name and run of everything the arm is tested on."""

    def run(tasks: tuple[str, ...], **changed: object) -> RunSettings:
        settings = {"episodes": 12, "layouts": "random", "seed": HELD_OUT, **changed}
        return RunSettings(
            "mini",
            tasks,
            action_format=arm.format,
            policy_options=policy_options,
            **settings,  # type: ignore[arg-type]
        )

    yield "grid", run(all_tasks(), episodes=24, layouts="grid")
    yield "positions", run(all_tasks())
    yield "colours", run(PAINTED, backend_options={"source_colour": "magenta"})
    yield "distractors", run(TABLE, backend_options={"distractors": 2})
    for language in ("es", "zh", "hi"):
        yield f"in {language}", run(all_tasks(), language=language)
    yield "relation", run(("carrot_on_plate",), episodes=48, instruction=RELATION)


def main(arm: Annotated[str, tyro.conf.Positional], *, work: Path = Path("build/mini"), workers: int = 2) -> None:
    """Make and test one arm; what is there already is not made again.

    Args:
        arm: language, tokens, no-reasoning, full-tokens, full-language; or table.
        work: the folder of `make mini`.
        workers: processes that run episodes.
    """
    if arm == "table":
        for name in ARMS:
            if (work / "study" / name / "exam" / "retention.json").exists():
                print(row(name, work / "study" / name))
        return
    make(ARMS[arm], work, work / "study" / arm, workers=workers)
    print(row(arm, work / "study" / arm))


def make(arm: Arm, work: Path, out: Path, *, workers: int) -> None:
    """Rows, training, episodes, exam."""
    out.mkdir(parents=True, exist_ok=True)
    base, model = str(work / "base"), out / "model"
    words = ["--format", arm.format, *([] if arm.reasoning else ["--no-reasoning"]), "--model", base]
    _once(out / "rows", [*_mini("lessons"), str(work / "album"), "--out", str(out / "rows"), *words])
    train = [
        "train",
        str(out / "rows"),
        "--model",
        base,
        "--out",
        str(model),
        "--preset",
        "small",
        "--method",
        arm.method,
    ]
    _once(model, [*_vlm2vla(), *train, "--resume"])
    full = arm.method == "full"
    options: dict[str, Option] = (
        {"model": str(model), "adapter": ""} if full else {"model": base, "adapter": str(model)}
    )
    options["reasoning"] = arm.reasoning
    for name, settings in conditions(arm, options):
        folder = out / name
        run_suite(settings, out=folder, video=False, resume=(folder / "settings.json").exists(), workers=workers)
    _once(work / "exam", [*_mini("questions"), str(work / "album"), "--out", str(work / "exam")])
    tuned = ["--tuned" if full else "--adapter", str(model)]
    asked = ["vqa", "--model", base, *tuned, "--questions", str(work / "exam"), "--out", str(out / "exam")]
    _once(out / "exam", [*_vlm2vla(), *asked])


def row(name: str, out: Path) -> str:
    """Success in every condition, then what was retained."""
    cells = []
    for folder in sorted(path.parent for path in out.glob(f"*/{RESULTS}")):
        results = read_results(folder / RESULTS)
        if folder.name == "relation":
            results = [one for one in results if _is_left(one.task, one.seed)]
        solved = Rate(sum(one.outcome.value == "success" for one in results), len(results))
        cells.append(f"{folder.name} {solved}")
    kept = json.loads((out / "exam" / "retention.json").read_text(encoding="utf-8"))["retention"]
    return "\n  ".join([name, *cells, f"exam {json.dumps(kept)}"])


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
    return [sys.executable, "-c", "import sys; from vlm2vla_sim.cli import main; sys.exit(main())"]


if __name__ == "__main__":
    tyro.cli(main)
