"""Times one cycle (plan, action, verdict) on a Gemma-3-architecture model, against three plain `generate` calls.

The tokens are the same in every line of the table, and the script checks that they are; what differs is what was
computed to get them. Weights are random: the time of a step does not depend on what they say.

    python benchmarks/cycle_latency.py --cycles 3
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import action_prompt, plan_prompt, verify_prompt
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.hf_decode import Counts, Tricks
from vlm2vla_sim.policies.hf_model import HfModel, HfSettings
from vlm2vla_sim.policies.hf_random import LIKE_4B, LIKE_12B, TINY, save_random_model
from vlm2vla_sim.policies.verifier import VERDICTS

SUBTASK, FOLLOWING = "grasp the carrot", "put the carrot on the plate"
PLAN = "move down and slightly forward, then close the gripper"
"""What the action prompt holds, instead of the letters that a random model plans with."""

SIZES = {"4b": LIKE_4B, "12b": LIKE_12B, "tiny": TINY}
"""The last one answers in milliseconds and is for trying this script."""


@dataclass(frozen=True)
class Way:
    """One line of the table."""

    name: str
    fast: bool
    tricks: Tricks = Tricks()


WAYS = (
    Way("three plain generate calls", fast=False),
    Way("own loop, no trick", fast=True, tricks=Tricks(images=False, prefix=False, forced=False)),
    Way("+ images encoded once", fast=True, tricks=Tricks(images=True, prefix=False, forced=False)),
    Way("+ shared prefix kept", fast=True, tricks=Tricks(images=True, prefix=True, forced=False)),
    Way("+ forced tokens appended", fast=True),
)


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
    lines = [line for batch in options.batch for line in measure(model, options, batch)]
    if options.json:
        print(json.dumps({"benchmark": "cycle_latency", "parameters_m": round(millions, 1), "lines": lines}))


def measure(model: HfModel, options: argparse.Namespace, batch: int) -> list[dict[str, object]]:
    """The table for one batch size. AssertionError when two ways differ in a token."""
    decoder, lines = model.decoder, []
    assert decoder is not None
    print(f"batch {batch}\n{'':28} {'s/cycle/env':>11} {'CPU s':>7} {'speed-up':>8} {'images':>7} {'read':>6} {'steps':>6}  answers")
    first: list[str] = []
    for way in WAYS:
        model.decoder = decoder if way.fast else None
        decoder.tricks = way.tricks
        decoder.forget()
        said: list[str] = []
        run_cycle(model, options, batch, number=0, said=[])
        decoder.counts = Counts()
        started, cpu = time.perf_counter(), time.process_time()
        for number in range(1, options.cycles + 1):
            run_cycle(model, options, batch, number=number, said=said)
        seconds = (time.perf_counter() - started) / options.cycles / batch
        cpu = (time.process_time() - cpu) / options.cycles / batch
        first = first or said
        assert said == first, f"{way.name} says {said}, but {WAYS[0].name} said {first}"
        counts = decoder.counts
        line: dict[str, object] = {"way": way.name, "batch": batch, "seconds": round(seconds, 4), "cpu_seconds": round(cpu, 4)}
        lines.append(line)
        speed_up = float(str(lines[0]["seconds"])) / seconds
        line["speed_up"] = round(speed_up, 2)
        line["speed_up_cpu"] = round(float(str(lines[0]["cpu_seconds"])) / cpu, 2)
        computed = [round(n / options.cycles) for n in (counts.images, counts.read, counts.steps)]
        computed = computed if way.fast else ["", "", ""]
        print(
            f"{way.name:28} {seconds:11.3f} {cpu:7.3f} {speed_up:7.2f}x {computed[0]:>7} {computed[1]:>6} {computed[2]:>6}  equal",
            flush=True,
        )
    model.decoder = decoder
    return lines


def run_cycle(model: HfModel, options: argparse.Namespace, batch: int, *, number: int, said: list[str]) -> None:
    """Plan, action and verdict, for each of `batch` environments; the picture after is the next cycle's before."""
    action_format = get_format(options.format)
    pairs = [(picture(env, number), picture(env, number + 1)) for env in range(batch)]
    plan = Question("plan", plan_prompt(SUBTASK), sampling=Sampling(max_tokens=options.plan_tokens))
    action = Question(
        "action", action_prompt(SUBTASK, PLAN, action_format), grammar=action_format.grammar(),
        sampling=Sampling(max_tokens=96),
    )  # fmt: skip
    verdict = Question("verify", verify_prompt(SUBTASK, FOLLOWING), grammar=VERDICTS)
    for question in (plan, action):
        said += [s.text for s in model.answer([replace(question, images=pair[:1]) for pair in pairs])]
    said += [s.text for s in model.answer([replace(verdict, images=pair) for pair in pairs])]


def picture(env: int, number: int) -> np.ndarray:
    """(480, 640, 3) uint8: what environment `env` shows before cycle `number`."""
    return np.random.default_rng([env, number]).integers(0, 256, (480, 640, 3), np.uint8)


if __name__ == "__main__":
    main()
