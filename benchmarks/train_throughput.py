"""Rows per second of `vlm2vla train` beside a bare TRL script, on the same rows, model and settings.

They train in threads of this process that take turns after every step, so that other work on the machine slows all of
them. What is measured is the CPU time of each step but the first, with everything that is done between two steps; the
batches are the same ones in the same order. The bare script does what TRL's documentation shows: SFTTrainer with the
rows as chats, LoRA by peft, the same arguments. Packed rows are measured beside them.

    python benchmarks/train_throughput.py --rows 96
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
BARE, OURS, PACKED = WAYS = ("bare TRL", "vlm2vla train", "vlm2vla train --packing")
GIVEN: dict[str, Any] = {"batch": 8, "per_device": 4, "learning_rate": 1e-3, "save_every": 1000}


def main() -> None:
    """Train in turns, and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = save_random_model(root / "model", SMALL)
        write_examples(make_rows(options.rows), root / "rows")
        turns = Turns(WAYS)
        clocks = {name: Clock(name, turns) for name in WAYS}
        with ThreadPoolExecutor(len(WAYS)) as pool:
            runs = [pool.submit(run, name, model, root, clock) for name, clock in clocks.items()]
            for one in runs:
                one.result()
    seconds = {name: clock.seconds[1:] for name, clock in clocks.items()}
    rates = {name: GIVEN["batch"] / statistics.median(values) for name, values in seconds.items()}
    ratios = {name: sum(seconds[BARE]) / sum(values) for name, values in seconds.items()}
    for name in WAYS:
        rate = f"{rates[name]:7.2f} rows per CPU-second (median step)"
        print(f"{name:<25} {rate}, {ratios[name]:.3f} of bare TRL (all steps)")
    if options.json:
        print(json.dumps({"benchmark": "train_throughput", "seconds": seconds, "ratios": ratios}))
    if ratios[OURS] < 0.95:
        sys.exit("vlm2vla train is slower than 0.95 of the bare script.")


def run(name: str, model: Path, root: Path, clock: Clock) -> None:
    """One of the trainings, in its thread."""
    clock.turns.wait(name)
    try:
        clock.begin()
        if name == BARE:
            bare(model, root / "rows", root / name, clock)
        else:
            train(model, root / "rows", root / name, clock, packing=name == PACKED)
    finally:
        clock.turns.leave(name)


class Turns:
    """Lets one thread go on at a time, each in its turn."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._now, self._changed = list(names), 0, threading.Condition()

    def wait(self, name: str) -> None:
        """Until it is the turn of `name`."""
        with self._changed:
            self._changed.wait_for(lambda: self._names[self._now % len(self._names)] == name)

    def next(self) -> None:
        """The turn goes to the next one."""
        with self._changed:
            self._now = (self._now + 1) % len(self._names)
            self._changed.notify_all()

    def leave(self, name: str) -> None:
        """`name` has ended, in its turn."""
        with self._changed:
            self._names.remove(name)
            self._now = self._now % max(1, len(self._names))
            self._changed.notify_all()


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
    """CPU seconds of each step of one training, from the end of the one before."""

    def __init__(self, name: str, turns: Turns) -> None:
        self.name, self.turns, self.seconds, self._began = name, turns, [], 0.0

    def begin(self) -> None:
        """The time counts from here."""
        self._began = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step has ended: the others do theirs."""
        self.seconds.append(time.process_time() - self._began)
        self.turns.next()
        self.turns.wait(self.name)
        self.begin()


def train(model: Path, rows: Path, out: Path, clock: Clock, *, packing: bool) -> None:
    """`vlm2vla train`, with a clock that its trainer is given."""
    make = lora.make_trainer

    def with_clock(*arguments: Any, **options: Any) -> Any:
        lora.make_trainer = make
        trainer, base = make(*arguments, **options)
        trainer.add_callback(clock)
        return trainer, base

    lora.make_trainer = with_clock
    lora.train(preset("small", str(model), **GIVEN, packing=packing), rows, out)


def bare(model: Path, rows: Path, out: Path, clock: Clock) -> None:
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
            seed=settings.seed,  # the same batches
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


if __name__ == "__main__":
    main()
