"""Times one cycle (plan, action, verdict) on a model that is decoded with caches, against three plain `generate` calls.

The tokens are the same in every line of the table, and the script checks that they are; what differs is what was
computed to get them. Weights are random: the time of a step does not depend on what they say.

    python benchmarks/cycle_latency.py --cycles 3
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import action_prompt, plan_prompt, verify_prompt
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.hf_decode import Counts, Decoder, Optimizations
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings
from vlm2vla_sim.policies.models.random_model import LIKE_4B, LIKE_12B, TINY, save_random_model
from vlm2vla_sim.policies.verifier import ANSWER_GRAMMAR
from vlm2vla_sim.types import Stage

SUBTASK, FOLLOWING = "grasp the carrot", "put the carrot on the plate"
PLAN = "move down and slightly forward, then close the gripper"
"""What the action prompt holds, instead of the letters that a random model plans with."""

SIZES = {"4b": LIKE_4B, "12b": LIKE_12B, "tiny": TINY}
"""The last one answers in milliseconds and is for trying this script."""


ALL = Optimizations()


@dataclass(frozen=True)
class Way:
    """One line of the table."""

    name: str
    fast: bool
    optimizations: Optimizations = ALL


WAYS = (
    Way("three plain generate calls", fast=False),
    Way("own loop, no optimization", fast=True, optimizations=Optimizations(images=False, prefix=False, forced=False)),
    Way("+ images encoded once", fast=True, optimizations=Optimizations(images=True, prefix=False, forced=False)),
    Way("+ shared prefix kept", fast=True, optimizations=Optimizations(images=True, prefix=True, forced=False)),
    Way("+ forced tokens appended", fast=True),
)


@dataclass
class Run:
    """What one way took so far."""

    way: Way
    decoder: Decoder | None
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    tokens: int = 0

    def __post_init__(self) -> None:
        if self.decoder is not None:
            self.decoder.optimizations = self.way.optimizations

    def note(self, wall: float, cpu: float, said: list[Stage], *, counts: bool) -> None:
        """Keep what a cycle took; the first one, which warms up, does not count."""
        if counts:
            self.walls.append(wall)
            self.cpus.append(cpu)
            self.said += [stage.text for stage in said]
            self.tokens += sum(stage.tokens or 0 for stage in said)
        elif self.decoder is not None:
            self.decoder.counts = Counts()

    def line(self, batch: int) -> dict[str, object]:
        """The figures: medians of the cycles, for each of the `batch` environments."""
        seconds, cpu = (float(np.median(times)) / batch for times in (self.walls, self.cpus))
        return {
            "way": self.way.name,
            "batch": batch,
            "seconds": round(seconds, 4),
            "cpu_seconds": round(cpu, 4),
            "tokens_per_second": round(self.tokens / sum(self.walls), 1),
        }


def main() -> None:
    """Run every way over the same cycles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=3, help="timed cycles; one more comes before them, untimed")
    parser.add_argument("--format", default="vlm2vla")
    parser.add_argument("--plan-tokens", type=int, default=16, help="tokens of a plan at most")
    parser.add_argument("--model", default="", help="a folder or hub name instead of the random model")
    parser.add_argument("--like", choices=list(SIZES), default="4b", help="which real model's proportions it has")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="environments that are served together")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        name = options.model or str(save_random_model(Path(folder), SIZES[options.like]))
        model = HfModel(HfSettings(name, dtype=options.dtype, max_batch=max(options.batch)))
    millions = sum(weight.numel() for weight in model.model.parameters()) / 1e6
    print(f"{millions:.0f} M parameters, {options.dtype}, {model.model.device}, {options.threads} threads")
    cycle = Cycle(options.format, options.plan_tokens)
    lines = [line for batch in options.batch for line in measure(model, cycle, batch, cycles=options.cycles)]
    if options.json:
        print(json.dumps({"benchmark": "cycle_latency", "parameters_m": round(millions, 1), "lines": lines}))


def measure(model: HfModel, cycle: Cycle, batch: int, *, cycles: int) -> list[dict[str, object]]:
    """The table for one batch size. AssertionError when two ways differ in a token."""
    runs = run_ways(model, cycle, batch, cycles=cycles)
    print(f"batch {batch}")
    print(f"{'':28} {'s/cycle/env':>11} {'CPU s':>7} {'speed-up':>8} {'images':>7} {'read':>6} {'steps':>6}")
    lines = []
    for run in runs:
        assert run.said == runs[0].said, f"{run.way.name} says {run.said}, but {WAYS[0].name} said {runs[0].said}"
        faster = float(np.median(runs[0].walls) / np.median(run.walls))
        computed = ("", "", "")
        if run.decoder is not None:
            counts = run.decoder.counts
            computed = tuple(str(round(n / cycles)) for n in (counts.images, counts.read, counts.steps))
        line = run.line(batch)
        print(
            f"{run.way.name:28} {line['seconds']:11.3f} {line['cpu_seconds']:7.3f} {faster:7.2f}x "
            + "{:>7} {:>6} {:>6}".format(*computed)
        )
        lines.append({**line, "speed_up": round(faster, 2)})
    return lines


def run_ways(
    model: HfModel, cycle: Cycle, batch: int, *, cycles: int, warm_up: int = 1, ways: Sequence[Way] = WAYS
) -> list[Run]:
    """Run the same `cycles` cycles in each of `ways`, after `warm_up` (0 or 1) that does not count.

    The ways take turns, cycle by cycle, so that another program on the machine slows all of them alike.
    """
    runs = [Run(way, model.new_decoder() if way.fast else None) for way in ways]
    for number in range(1 - warm_up, 1 + cycles):
        for run in runs:
            model.decoder = run.decoder
            wall, cpu = time.perf_counter(), time.process_time()
            said = cycle.run(model, batch, number=number)
            run.note(time.perf_counter() - wall, time.process_time() - cpu, said, counts=number > 0)
    return runs


@dataclass(frozen=True)
class Cycle:
    """The questions of a cycle."""

    format: str = "vlm2vla"
    plan_tokens: int = 16

    def run(self, model: HfModel, batch: int, *, number: int) -> list[Stage]:
        """Plan, action and verdict, for each of `batch` environments; the image after is the next cycle's before."""
        action_format = get_format(self.format)
        pairs = [(picture(env, number), picture(env, number + 1)) for env in range(batch)]
        plan = Question("plan", plan_prompt(SUBTASK), sampling=Sampling(max_tokens=self.plan_tokens))
        action = Question(
            "action", action_prompt(SUBTASK, PLAN, action_format), grammar=action_format.grammar(),
            sampling=Sampling(max_tokens=96),
        )  # fmt: skip
        verdict = Question("verify", verify_prompt(SUBTASK, FOLLOWING), grammar=ANSWER_GRAMMAR)
        said: list[Stage] = []
        for question in (plan, action):
            said += model.answer([replace(question, images=pair[:1]) for pair in pairs])
        return said + model.answer([replace(verdict, images=pair) for pair in pairs])


def picture(env: int, number: int) -> np.ndarray:
    """(480, 640, 3) uint8: what environment `env` shows before cycle `number`."""
    return np.random.default_rng([env, number]).integers(0, 256, (480, 640, 3), np.uint8)


if __name__ == "__main__":
    main()
