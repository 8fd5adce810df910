"""Rows per second of `vlm2vla train` beside a bare TRL script, on the same rows, model and settings.

They train in this process, in turns, several times; each round begins with another one. What is measured is CPU time
between the end of the first step and the end of the last, with everything that is done in between. The bare script does
what TRL's documentation shows: SFTTrainer with the rows as chats, LoRA by peft, the same arguments. Packed rows are
measured beside them.

    python benchmarks/train_throughput.py --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import datasets
import numpy as np
import torch
import transformers
from peft import LoraConfig
from PIL import Image
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from vlm2vla_sim.data.episode import Example
from vlm2vla_sim.data.examples.folder import read_rows, write_examples
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import action_prompt, verify_prompt
from vlm2vla_sim.policies.models.memory_estimate import LORA_TARGETS
from vlm2vla_sim.policies.models.random_model import Size, save_random_model
from vlm2vla_sim.training import lora
from vlm2vla_sim.training.settings import preset

SMALL = Size(
    layers=4, hidden=128, heads=4, feed_forward=512, vision_layers=2, vision_hidden=64, image_side=112,
    image_tokens=16, vocabulary=2048,
)  # fmt: skip
"""Large enough that computing, not bookkeeping, takes the time; small enough for a laptop."""
GIVEN: dict[str, Any] = {"batch": 8, "per_device": 4, "learning_rate": 1e-3, "save_every": 1000}


def main() -> None:
    """Train in turns, and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    rates: dict[str, list[float]] = {"bare TRL": [], "vlm2vla train": [], "vlm2vla train --packing": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = save_random_model(root / "model", SMALL)
        write_examples(make_rows(options.rows), root / "rows")
        ways: dict[str, Callable[[Path], tuple[int, float]]] = {
            "bare TRL": lambda out: bare(model, root / "rows", out),
            "vlm2vla train": lambda out: ours(model, root / "rows", out, packing=False),
            "vlm2vla train --packing": lambda out: ours(model, root / "rows", out, packing=True),
        }
        for number in range(options.rounds):
            order = list(ways)[number % 3 :] + list(ways)[: number % 3]
            for name in order:
                steps, seconds = ways[name](root / f"{name} {number}")
                rates[name].append(steps * GIVEN["batch"] / seconds)
                print(f"round {number}, {name}: {rates[name][-1]:.2f} rows/s", file=sys.stderr)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {
        name: statistics.median(one / base for one, base in zip(rates[name], rates["bare TRL"], strict=True))
        for name in rates
    }
    for name in rates:
        print(f"{name:<25} {middle[name]:7.2f} rows per CPU-second, {ratios[name]:.3f} of bare TRL (median of rounds)")
    if options.json:
        print(json.dumps({"benchmark": "train_throughput", "rates": rates, "ratios": ratios}))
    if ratios["vlm2vla train"] < 0.95:
        sys.exit("vlm2vla train is slower than 0.95 of the bare script.")


def make_rows(count: int) -> list[Example]:
    """Rows of noise: every other one a short question about two images, the rest actions."""
    rng = np.random.default_rng(0)
    how = get_format("vlm2vla")
    rows = []
    for number in range(count):
        pictures = tuple(rng.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(1 + number % 2))
        if number % 2:
            rows.append(Example("verify", pictures, verify_prompt("grasp it", "lift it"), "RETRY"))
        else:
            deltas = np.array([[*rng.integers(-12, 13, 3) / 100, 0, 0, 0, rng.integers(2)] for _ in range(3)])
            rows.append(Example("action", pictures, action_prompt("grasp it", "go", how), how.write(deltas)))
    return rows


class Clock(transformers.TrainerCallback):
    """CPU seconds from the end of the first step to the end of the last one: other work does not lengthen them."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step has ended."""
        self.marks.append(time.process_time())

    def told(self) -> tuple[int, float]:
        """Steps, and how long they took."""
        return len(self.marks) - 1, self.marks[-1] - self.marks[0]


def ours(model: Path, rows: Path, out: Path, *, packing: bool) -> tuple[int, float]:
    """`vlm2vla train`, with a clock that its trainer is given."""
    clock = Clock()
    make = lora.make_trainer

    def with_clock(*arguments: Any, **options: Any) -> Any:
        trainer, base = make(*arguments, **options)
        trainer.add_callback(clock)
        return trainer, base

    lora.make_trainer = with_clock
    try:
        lora.train(preset("small", str(model), **GIVEN, packing=packing), rows, out)
    finally:
        lora.make_trainer = make
    return clock.told()


def bare(model: Path, rows: Path, out: Path) -> tuple[int, float]:
    """A script as TRL's documentation has it."""
    settings = preset("small", str(model), **GIVEN)

    def chat(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        images = [[Image.open(rows / name).convert("RGB") for name in names] for names in batch["images"]]
        prompts = [
            [{"role": "user", "content": [*({"type": "image"} for _ in names), {"type": "text", "text": text}]}]
            for names, text in zip(batch["images"], batch["prompt"], strict=True)
        ]
        answers = [[{"role": "assistant", "content": [{"type": "text", "text": text}]}] for text in batch["completion"]]
        return {"images": images, "prompt": prompts, "completion": answers}

    table = datasets.Dataset.from_list([dict(row) for row in read_rows(rows)]).with_transform(chat)
    clock = Clock()
    trainer = SFTTrainer(
        model=transformers.AutoModelForImageTextToText.from_pretrained(model, dtype="float32"),
        args=SFTConfig(
            output_dir=str(out),
            per_device_train_batch_size=settings.per_device,
            gradient_accumulation_steps=settings.batch // settings.per_device,
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            gradient_checkpointing=False,
            bf16=False,
            max_length=None,
            remove_unused_columns=False,
            save_strategy="no",
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=table,
        processing_class=transformers.AutoProcessor.from_pretrained(model),
        peft_config=LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return clock.told()


if __name__ == "__main__":
    main()
