"""Answer tokens per second of a Gemma-3-architecture model, by the number of questions in progress.

    python benchmarks/decode_speed.py --like 4b --concurrency 1 8

Each question is about an image of its own. Encoding images and reading prompts is arithmetic that a batch does not
save; it is timed apart from decoding, in which a step reads the weights once for all answers. Weights are random: the
time of a step does not depend on what they say. The rows take turns, so that another program slows all of them alike.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from vlm2vla_sim.language.prompts import plan_prompt
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings
from vlm2vla_sim.policies.models.random_model import LIKE_4B, LIKE_12B, TINY, save_random_model

SIZES = {"4b": LIKE_4B, "12b": LIKE_12B, "tiny": TINY}


@dataclass
class Row:
    """What one concurrency took so far."""

    concurrency: int
    questions: int = 0
    tokens: int = 0
    reading: float = 0.0
    """[s] for images, prompts and the first token of each answer."""
    decoding: float = 0.0
    """[s] for all further tokens."""

    @property
    def rate(self) -> float:
        """Tokens after the first one of each answer, per second of decoding."""
        return (self.tokens - self.questions) / self.decoding

    @property
    def whole_rate(self) -> float:
        """Tokens per second, reading included."""
        return self.tokens / (self.reading + self.decoding)

    def ask(self, model: HfModel, tokens: int, turn: int) -> None:
        """Have questions answered together, from empty caches."""
        rng = np.random.default_rng(turn)
        images = [rng.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(self.concurrency)]
        how, prompt = Sampling(max_tokens=tokens), plan_prompt("grasp the carrot")
        model.give_up()
        started = time.perf_counter()
        answers = [model.begin(Question("plan", prompt, (image,), sampling=how)) for image in images]
        model.advance()
        read = time.perf_counter()
        while not all(answer.done for answer in answers):
            model.advance()
        self.reading += read - started
        self.decoding += time.perf_counter() - read
        self.questions += len(answers)
        self.tokens += sum(answer.stage().tokens or 0 for answer in answers)

    def to_json(self) -> dict[str, float]:
        """The fields and both rates."""
        return {**asdict(self), "tokens_per_second": self.rate, "tokens_per_second_with_reading": self.whole_rate}


def main(
    *,
    like: Literal["4b", "12b", "tiny"] = "4b",
    concurrency: tuple[int, ...] = (1, 8),
    tokens: int = 64,
    rounds: int = 2,
    threads: int = 0,
    dtype: str = "float32",
    as_json: bool = False,
) -> None:
    """Print a table, a row for each concurrency.

    Args:
        like: Which real model's proportions the model has; `tiny` is for trying this script.
        concurrency: Questions in progress.
        tokens: Of an answer, at most.
        rounds: How often each row is measured, after a first time that does not count.
        threads: torch's threads; 0 for its own setting.
        dtype: Of the weights.
        as_json: Print the rows as one line of JSON.
    """
    if threads:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        name = str(save_random_model(Path(folder), SIZES[like]))
        model = HfModel(HfSettings(name, dtype=dtype, max_batch=max(concurrency)))
    millions = sum(weight.numel() for weight in model.model.parameters()) / 1e6
    Row(1).ask(model, tokens, 0)  # warms up
    rows = [Row(number) for number in concurrency]
    for turn in range(1, rounds + 1):
        for row in rows:
            row.ask(model, tokens, turn)
    if as_json:
        lines = [row.to_json() for row in rows]
        print(json.dumps({"benchmark": "decode_speed", "parameters_m": round(millions), "rows": lines}))
        return
    print(f"{millions:.0f} M parameters, {dtype}, {model.model.device}, {torch.get_num_threads()} threads")
    print("concurrency  s to read a question  tokens per second after that  ratio  reading included  ratio")
    for row in rows:
        print(
            f"{row.concurrency:11d}  {row.reading / row.questions:20.2f}  {row.rate:28.1f}  "
            f"{row.rate / rows[0].rate:5.2f}  {row.whole_rate:16.1f}  {row.whole_rate / rows[0].whole_rate:5.2f}"
        )


if __name__ == "__main__":
    tyro.cli(main)
