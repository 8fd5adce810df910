"""What an evaluation costs: time, GPU hours and cores, computed from the model's size and from measured figures.

    python benchmarks/cost_model.py --model google/gemma-3-12b-it --gpus 1 8 64
    python benchmarks/cost_model.py --model google/gemma-3-4b-it --backend simpler --batch 32 --as-json

Every input says where it is from: measured, a datasheet, counted, or assumed. Everything else is computed; nothing here
was measured on a GPU (`gpu_suite.sh` does that). The formulas are in `docs/howto/plan_an_evaluation.md`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

import tyro

from vlm2vla_sim.policies.models.memory_estimate import KNOWN, Memory, MemoryEstimate, estimate_model


@dataclass(frozen=True)
class Gpu:
    """What a GPU can do by its datasheet."""

    name: str
    flops: float
    """[FLOP/s] in bfloat16, dense."""
    bandwidth: float
    """[bytes/s]"""
    memory: int
    """[bytes]"""


GPUS = {
    "a100": Gpu("A100 80 GB SXM", 312e12, 2.039e12, 80 * 10**9),
    "h100": Gpu("H100 80 GB SXM", 989e12, 3.35e12, 80 * 10**9),
    "h200": Gpu("H200 SXM", 989e12, 4.8e12, 141 * 10**9),
}


@dataclass(frozen=True)
class Work:
    """One episode: what the model is asked, and what the simulator does."""

    cycles: float = 2.6
    """Cycles (plan, action, verification) of an episode. `mini`, 24 episodes: 2.58."""
    steps: float = 75.0
    """Control steps of an episode: 60, 60, 60 and 120 in SIMPLER's four tasks."""
    subtask_tokens: float = 15.0
    plan_tokens: float = 60.0
    action_tokens: float = 49.0
    verify_tokens: float = 1.0
    """Tokens of an answer. `mini`, 24 episodes: 14.8, 60.5, 49.2 and 1.0."""
    forced: float = 0.6
    """Share of an action's tokens that the grammar forces, which cost no step (`cycle_latency.py`: 17 of 28)."""
    text_tokens: float = 400.0
    image_tokens: float = 512.0
    """Prompt tokens that are computed in a cycle: text, and two images of 256 (`cycle_latency.py`: 401 and two)."""
    images: float = 1.0
    """Images that are encoded in a cycle: the one after is the next one before (`cycle_latency.py`)."""
    context: float = 700.0
    """Tokens of a row that a step reads from the attention cache."""


@dataclass(frozen=True)
class Simulator:
    """CPU seconds of a backend, one thread."""

    step: float
    """Of a control step without an image."""
    image: float


SIMULATORS = {
    "mujoco": Simulator(step=1 / 306.7, image=1 / 94.0 - 1 / 306.7),
    "simpler": Simulator(step=1 / 71.8, image=1 / 20.7 - 1 / 71.8),
}
"""`env_speed.py`, 640x480, two cores."""


@dataclass(frozen=True)
class Efficiency:
    """What a program reaches of a datasheet, and what a machine adds."""

    compute: float = 0.4
    """Share of the FLOP/s in prompts and images."""
    bandwidth: float = 0.6
    """Share of the bandwidth in a step."""
    layer_seconds: float = 0.0002
    """The least time that a layer takes in a step: about 25 kernels are started, one after another."""
    image_cpu_seconds: float = 0.028
    """To scale an image of 640x480 to 896x896 for the vision tower, one thread."""
    start_seconds: float = 60.0
    """Until the first question: processes start, 24 GB are read."""


@dataclass(frozen=True)
class Cost:
    """An evaluation on `gpus` GPUs with `batch` answers in progress on each."""

    gpus: int
    batch: int
    step_seconds: float
    cycle_seconds: float
    """A cycle, while `batch` of them are in progress on a GPU."""
    cycles_per_second: float
    """Of a GPU."""
    tokens_per_second: float
    """Answer tokens of a GPU."""
    concurrency: int
    """Episodes in flight for each GPU, so that `batch` answers are in progress."""
    cores: float
    """For the simulators and images of a GPU."""
    memory_bytes: int
    fits: bool
    wall_seconds: float
    gpu_hours: float
    core_hours: float


def step_seconds(estimate: MemoryEstimate, layers: int, gpu: Gpu, batch: int, work: Work, how: Efficiency) -> float:
    """A pass through the language model for a token of each row: weights and caches are read once.

    The slowest of reading, arithmetic (2 FLOP for each weight and row) and starting kernels.
    """
    bytes_read = 2 * estimate.language + batch * work.context * estimate.cache_per_token
    arithmetic = 2 * estimate.language * batch / (gpu.flops * how.compute)
    return max(bytes_read / (gpu.bandwidth * how.bandwidth), arithmetic, layers * how.layer_seconds)


def read_seconds(estimate: MemoryEstimate, vision: dict[str, int], gpu: Gpu, work: Work, how: Efficiency) -> float:
    """The prompt tokens and images of one cycle; attention over a prompt is left out: it is a few per cent."""
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    # 2 FLOP for each weight and patch; scores and weighted sums, 2 FLOP each, between all pairs of patches.
    image = 2 * estimate.vision * patches + 4 * patches**2 * vision["hidden_size"] * vision["num_hidden_layers"]
    text = 2 * estimate.language * (work.text_tokens + work.image_tokens)
    return (text + work.images * image) / (gpu.flops * how.compute)


def cost(
    model: str,
    gpu: Gpu,
    gpus: int,
    *,
    episodes: int,
    batch: int,
    simulator: Simulator,
    work: Work = Work(),
    how: Efficiency = Efficiency(),
) -> Cost:
    """The cost of `episodes` episodes. model: a name in `memory_estimate.KNOWN`."""
    estimate, config = estimate_model(model, Memory(0, gpu.memory)), KNOWN[model]
    batch = max(1, min(batch, episodes // gpus))
    layers = config["text_config"]["num_hidden_layers"]
    written = work.subtask_tokens / work.cycles + work.plan_tokens + work.action_tokens + work.verify_tokens
    steps = written - work.forced * work.action_tokens
    step = step_seconds(estimate, layers, gpu, batch, work, how)
    cycle = steps * step + batch * read_seconds(estimate, config["vision_config"], gpu, work, how)
    rate = batch / cycle
    simulated = work.steps / work.cycles * simulator.step + work.images * simulator.image
    cpu = simulated + work.images * how.image_cpu_seconds
    busy = min(gpus, episodes)
    running = episodes * work.cycles / (rate * busy)
    # At the end fewer and fewer episodes are in progress, until the last one has ended.
    last = work.cycles * (steps * step_seconds(estimate, layers, gpu, 1, work, how) + cpu)
    wall = how.start_seconds + max(running, last)
    memory = estimate.total(16, batch)  # of its 2,048 tokens, half are prompts that are kept
    return Cost(
        gpus=gpus,
        batch=batch,
        step_seconds=step,
        cycle_seconds=cycle,
        cycles_per_second=rate,
        tokens_per_second=rate * written,
        concurrency=min(math.ceil(batch + rate * simulated), math.ceil(episodes / gpus)),
        cores=rate * cpu,
        memory_bytes=memory,
        fits=memory <= gpu.memory,
        wall_seconds=wall,
        gpu_hours=wall * gpus / 3600,
        core_hours=episodes * work.cycles * cpu / 3600,
    )


def inputs(gpu: Gpu, simulator: Simulator, work: Work, how: Efficiency) -> list[tuple[str, str, str]]:
    """(name, value, where it is from)."""
    mini = "measured with `mini` on the twin, 24 episodes"
    random = "measured with a random model, `cycle_latency.py`"
    speed = "measured, `env_speed.py`, two cores"
    given = {name: value != getattr(Work, name) for name, value in asdict(work).items()}
    return [
        ("cycles an episode", f"{work.cycles:g}", "given" if given["cycles"] else mini),
        ("control steps an episode", f"{work.steps:g}", "counted, SIMPLER's four tasks"),
        (
            "answer tokens: subtasks, plan, action, verdict",
            f"{work.subtask_tokens:g}, {work.plan_tokens:g}, {work.action_tokens:g}, {work.verify_tokens:g}",
            mini,
        ),
        ("of an action's tokens, forced by the grammar", f"{work.forced:.0%}", f"{random}: 17 of 28"),
        ("prompt tokens computed a cycle: text, images", f"{work.text_tokens:g}, {work.image_tokens:g}",
         random),
        ("images encoded a cycle", f"{work.images:g}", "measured, `cycle_latency.py`"),
        ("tokens of a row in the attention cache", f"{work.context:g}", "assumed"),
        ("simulator, CPU s a step without an image", f"{simulator.step:.4f}", speed),
        ("simulator, CPU s an image", f"{simulator.image:.4f}", speed),
        ("scaling an image, CPU s", f"{how.image_cpu_seconds:g}", "measured, one thread"),
        ("GPU, bfloat16 FLOP/s and bytes/s", f"{gpu.flops:.3g}, {gpu.bandwidth:.3g}", f"datasheet, {gpu.name}"),
        ("share of them that is reached", f"{how.compute:.0%}, {how.bandwidth:.0%}", "assumed"),
        ("least time of a layer in a step [s]", f"{how.layer_seconds:g}", "assumed"),
        ("start [s]", f"{how.start_seconds:g}", "assumed"),
    ]  # fmt: skip


def table(model: str, gpu: Gpu, simulator: Simulator, costs: list[Cost], work: Work, how: Efficiency) -> str:
    """Both tables in Markdown: the inputs, then the costs."""
    lines = ["| input | value | from |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in inputs(gpu, simulator, work, how)]
    lines += ["", "| computed | " + " | ".join(f"{one.gpus} GPU{'s' * (one.gpus > 1)}" for one in costs) + " |"]
    lines += ["|---|" + "---|" * len(costs)]
    shown = {
        "answers in progress on each GPU": lambda c: f"{c.batch}",
        "episodes in flight for each GPU, to keep it busy": lambda c: f"{c.concurrency}",
        "CPU cores for each GPU": lambda c: f"{c.cores:.1f}",
        "s a step (one token of every answer)": lambda c: f"{c.step_seconds:.4f}",
        "s a cycle": lambda c: f"{c.cycle_seconds:.2f}",
        "answer tokens per s of a GPU": lambda c: f"{c.tokens_per_second:.0f}",
        "memory of a GPU [GB]": lambda c: f"{c.memory_bytes / 1e9:.0f}" + ("" if c.fits else ", does not fit"),
        "wall time [min]": lambda c: f"{c.wall_seconds / 60:.1f}",
        "GPU hours": lambda c: f"{c.gpu_hours:.2f}",
        "CPU core hours": lambda c: f"{c.core_hours:.2f}",
    }
    lines += [f"| {name} | {' | '.join(show(one) for one in costs)} |" for name, show in shown.items()]
    return "\n".join([f"`{model}` on {gpu.name}:", "", *lines]) + "\n"


def main(
    *,
    model: str = "google/gemma-3-12b-it",
    gpu: Literal["a100", "h100", "h200"] = "h100",
    gpus: tuple[int, ...] = (1, 8, 64),
    episodes: int = 96,
    seeds: int = 3,
    backend: Literal["mujoco", "simpler"] = "mujoco",
    batch: int = 32,
    cycles: float = Work.cycles,
    as_json: bool = False,
) -> None:
    """Print the inputs and the cost for each number of GPUs, in Markdown.

    Args:
        model: google/gemma-3-4b-it or google/gemma-3-12b-it.
        gpu: Kind of GPU.
        gpus: Numbers of GPUs.
        episodes: Episodes of a run.
        seeds: Runs.
        backend: Simulator.
        batch: Answers in progress on each GPU, at most.
        cycles: Cycles of an episode.
        as_json: Print inputs and costs as one line of JSON.
    """
    if min(*gpus, episodes, seeds, batch, 1) < 1 or not cycles > 0 or model not in KNOWN:
        raise SystemExit(f"Numbers are 1 or more, and the model is one of {', '.join(KNOWN)}.")
    work, how = replace(Work(), cycles=cycles), Efficiency()
    place, simulator = GPUS[gpu], SIMULATORS[backend]
    costs = [
        cost(model, place, n, episodes=episodes * seeds, batch=batch, simulator=simulator, work=work, how=how)
        for n in gpus
    ]
    if as_json:
        about = {"model": model, "gpu": asdict(place), "simulator": asdict(simulator), "work": asdict(work)}
        costs_json = [asdict(one) for one in costs]
        print(json.dumps({"benchmark": "cost_model", **about, "efficiency": asdict(how), "costs": costs_json}))
        return
    print(table(model, place, simulator, costs, work, how), end="")


if __name__ == "__main__":
    tyro.cli(main)
