"""Cycle latency at the true proportions of Gemma 3, in bfloat16: plain `generate` against this package's decoder."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from cycle_latency import WAYS, Cycle, Run, Way, run_ways

from gpu_parts.report import NO_GPU, Report, peak_memory
from vlm2vla_sim.policies.models.hf_loading import LoadedModel, default_device
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings
from vlm2vla_sim.policies.models.memory_estimate import KNOWN
from vlm2vla_sim.policies.models.random_model import TINY, make_random_model, make_tokenizer, size_config

PLAIN, OURS = WAYS[0], WAYS[-1]
BATCHES = {1: 3, 4: 2, 16: 1, 64: 1}
"""Environments that are served together -> timed cycles, after one that does not count."""
FIGURES = (
    *("cycle_seconds", "seconds", "cpu_seconds", "tokens_per_second", "tokens", "read_tokens"),
    *("speed_up", "equal_answers"),
)
"""Of a row. `seconds` and `cpu_seconds` are those of one environment; `speed_up` and `equal_answers` compare with plain
`generate`, whose answers may differ in bfloat16 because sums are rounded in another order."""
COMPARED = "there is no row of plain generate to compare with, or this is it"


def measure(report: Report, *, model: str, rehearse: bool) -> None:
    """A row for each batch and way. model: a name in `memory_estimate.KNOWN`."""
    batches = {1: 1, 2: 1} if rehearse else BATCHES
    served = make_model(report, model, rehearse=rehearse, max_batch=max(batches))
    for batch, cycles in batches.items():
        plain = measure_way(report, served, PLAIN, batch, cycles, plain=None)
        measure_way(report, served, OURS, batch, cycles, plain=plain)
    report.finish()


def make_model(report: Report, model: str, *, rehearse: bool, max_batch: int) -> HfModel:
    """The model, made in memory with random weights."""
    started = time.perf_counter()
    tokenizer = make_tokenizer()
    config: dict[str, Any] = size_config(TINY, tokenizer) if rehearse else KNOWN[model]
    made = LoadedModel(*make_random_model(config, tokenizer, device=default_device(), dtype="bfloat16"))
    parameters = sum(weight.numel() for weight in made.model.parameters())
    report.note(
        proportions="tiny" if rehearse else model,
        parameters=parameters,
        dtype="bfloat16",
        seconds_to_make=round(time.perf_counter() - started, 2),
    )
    return HfModel(HfSettings(f"random weights like {model}", max_batch=max_batch), loaded=made)


def measure_way(report: Report, model: HfModel, way: Way, batch: int, cycles: int, *, plain: Run | None) -> Run | None:
    """Add the row of one way; None if the memory did not suffice. plain: what plain `generate` did with this batch."""
    run, failure = None, ""
    with peak_memory() as peak:
        try:
            # generate keeps nothing from cycle to cycle: once it has run, it is warm.
            warm_up = int(way.fast or batch == 1)
            run = run_ways(model, Cycle(), batch, cycles=cycles, warm_up=warm_up, ways=(way,))[0]
        except torch.OutOfMemoryError:
            failure = "out of memory"
        model.decoder = None  # its caches are freed
    row: dict[str, Any] = {"way": way.name, "batch": batch, "cycles": cycles, **dict.fromkeys(FIGURES), **peak}
    reasons = dict.fromkeys(FIGURES, failure)
    if run is not None:
        row |= run.line(batch) | {"tokens": run.tokens, "cycle_seconds": round(statistics.median(run.walls), 4)}
        row["read_tokens"] = run.decoder.counts.read if run.decoder is not None else None
        reasons |= {"read_tokens": "generate does not count them", "speed_up": COMPARED, "equal_answers": COMPARED}
    if run is not None and plain is not None:
        equal = sum(one == other for one, other in zip(run.said, plain.said, strict=True))
        row["speed_up"] = round(statistics.median(plain.walls) / statistics.median(run.walls), 2)
        row["equal_answers"] = round(equal / len(run.said), 3)
    reasons["peak_memory_bytes"] = failure or NO_GPU
    report.add({name: reasons[name] for name, value in row.items() if value is None}, **row)
    return run
