"""Questions per minute and tokens per second of a chat server, by the number of requests in flight.

    vlm2vla serve-model --model google/gemma-3-4b-it --requests 32
    python benchmarks/chat_throughput.py --server http://127.0.0.1:8000/v1 --concurrency 1 8 32

Any OpenAI-style server will do. A question is a plan, as `vlm2vla evaluate` asks for one: an image of its own and the
prompt, without a grammar. Rows of one call are made one after another, with the same questions. The tokens are those
that the server reports.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tyro

from vlm2vla_sim.language.prompts import plan_prompt
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.chat_api import ChatModel, ServerSettings

INSTRUCTIONS = ("grasp the carrot", "move above the plate", "open the gripper", "lift the spoon")


def make_questions(count: int, *, max_tokens: int, image_size: tuple[int, int], adapter: bool) -> list[Question]:
    """Questions with different images and prompts. image_size: height and width in pixels."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (image_size[0] // 16, image_size[1] // 16, 3), np.uint8) for _ in range(count)]
    images = [image.repeat(16, axis=0).repeat(16, axis=1) for image in coarse]  # noise would not be compressed at all
    return [
        Question(
            "plan",
            plan_prompt(INSTRUCTIONS[number % len(INSTRUCTIONS)]),
            (image,),
            sampling=Sampling(max_tokens=max_tokens),
            seed=number,
            adapter=adapter,
        )
        for number, image in enumerate(images)
    ]


def measure(settings: ServerSettings, questions: Sequence[Question]) -> dict[str, Any]:
    """One row: all questions, as many in flight as the settings say."""
    model = ChatModel(settings)
    started = time.perf_counter()
    stages = model.answer(questions)
    seconds = time.perf_counter() - started
    tokens = [stage.tokens for stage in stages]
    known = [count for count in tokens if count is not None]
    return {
        "concurrency": settings.concurrency,
        "questions": len(stages),
        "seconds": round(seconds, 2),
        "questions_per_minute": round(60 * len(stages) / seconds, 1),
        "tokens": sum(known) if len(known) == len(tokens) else None,
        "tokens_per_second": round(sum(known) / seconds, 1) if len(known) == len(tokens) else None,
        "median_seconds": round(statistics.median(stage.seconds for stage in stages), 2),
        "retries": sum(stage.retries for stage in stages),
    }


def main(
    *,
    server: str = "http://127.0.0.1:8000/v1",
    model: str = "base",
    adapter: str = "",
    concurrency: tuple[int, ...] = (1, 8, 32),
    questions: int = 64,
    max_tokens: int = 64,
    image_size: tuple[int, int] = (480, 640),
    as_json: bool = False,
) -> None:
    """Print a table, a row for each concurrency.

    Args:
        server: The server's address, with /v1.
        model: The base model's name there.
        adapter: The adapter's name there; asked in place of the base model if it is given.
        concurrency: Requests in flight.
        questions: Of each row.
        max_tokens: The most tokens of an answer.
        image_size: Height and width of an image in pixels.
        as_json: Print the rows as one line of JSON.
    """
    asked = make_questions(questions, max_tokens=max_tokens, image_size=image_size, adapter=bool(adapter))
    rows = []
    for number in concurrency:
        settings = ServerSettings(server, model, adapter, concurrency=number, timeout=600.0)
        if not rows:
            ChatModel(settings).answer(asked[:1])  # the first answer of a server may take longer
        rows.append(measure(settings, asked))
    if as_json:
        print(json.dumps(rows))
        return
    print("concurrency  questions/min  tokens/s  median s  ratio  retries")
    for row in rows:
        ratio = row["questions_per_minute"] / rows[0]["questions_per_minute"]
        speed = "-" if row["tokens_per_second"] is None else f"{row['tokens_per_second']:.1f}"
        print(
            f"{row['concurrency']:11d}  {row['questions_per_minute']:13.1f}  {speed:>8}  {row['median_seconds']:8.2f}  "
            f"{ratio:5.2f}  {row['retries']:7d}"
        )


if __name__ == "__main__":
    tyro.cli(main)
