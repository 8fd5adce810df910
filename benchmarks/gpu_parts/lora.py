"""Steps of LoRA training at 4B proportions, and their peak memory beside the estimate of `vlm2vla train`.

A bare loop instead of TRL's trainer: the same prompts, adapter, precision and checkpointing, every row padded to the
longest that the recipe allows.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from gpu_parts.report import NO_GPU, Report, peak_memory
from vlm2vla_sim.data.episode import Example
from vlm2vla_sim.data.examples.maker import to_chat
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import action_prompt
from vlm2vla_sim.policies.models.hf_adapter import peft_reads_old_attribute
from vlm2vla_sim.policies.models.hf_loading import default_device
from vlm2vla_sim.policies.models.memory_estimate import KNOWN, LORA_TARGETS
from vlm2vla_sim.policies.models.random_model import (
    TINY,
    make_random_model,
    make_tokenizer,
    save_random_model,
    size_config,
)
from vlm2vla_sim.training.memory import estimate
from vlm2vla_sim.training.settings import TrainSettings

MODEL = "google/gemma-3-4b-it"
ROWS = {1: 8, 2: 6, 4: 4, 8: 3}
"""Rows of a forward pass -> timed steps, after two that do not count."""
WARM_UP = 2
FIGURES = ("step_seconds", "rows_per_second", "tokens_per_second", "loss")
IGNORED = -100
"""The label of a token that is not learned."""


def measure(report: Report, *, rehearse: bool) -> None:
    """A row for each number of rows in a forward pass."""
    torch.manual_seed(0)
    model, processor = make_model(rehearse=rehearse)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=TrainSettings.learning_rate, weight_decay=0.0)
    report.note(
        proportions="tiny" if rehearse else MODEL,
        parameters=sum(weight.numel() for weight in model.parameters()),
        trained=sum(weight.numel() for weight in trained),
        max_tokens=TrainSettings.max_tokens,
        dtype="bfloat16",
        checkpointing=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        name = str(save_random_model(Path(folder))) if rehearse else MODEL
        estimates = {rows: estimate(TrainSettings(name, batch=rows, per_device=rows)) for rows in ROWS}
    for rows, steps in ({1: 1, 2: 1} if rehearse else ROWS).items():
        row: dict[str, Any] = {"rows": rows, "steps": steps, "estimated_bytes": estimates[rows].total}
        row |= dict.fromkeys(FIGURES)
        failure = ""
        with peak_memory() as peak:
            try:
                row |= run_steps(model, processor, optimizer, rows, steps)
            except torch.OutOfMemoryError:
                failure = "out of memory"
                optimizer.zero_grad(set_to_none=True)
        row |= peak
        report.add({name: failure or NO_GPU for name, value in row.items() if value is None}, **row)
    report.finish()


def make_model(*, rehearse: bool) -> tuple[Any, Any]:
    """The model with a new adapter, ready to be trained, and its processor."""
    tokenizer = make_tokenizer()
    config: dict[str, Any] = size_config(TINY, tokenizer) if rehearse else KNOWN[MODEL]
    base, processor = make_random_model(config, tokenizer, device=default_device(), dtype="bfloat16")
    base.config.use_cache = False
    lora = LoraConfig(
        r=TrainSettings.rank, lora_alpha=TrainSettings.alpha, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
    )
    with peft_reads_old_attribute():
        model = get_peft_model(base, lora)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train(), processor


def run_steps(model: Any, processor: Any, optimizer: Any, rows: int, steps: int) -> dict[str, object]:
    """The figures of `steps` steps of `rows` rows each."""
    device = next(model.parameters()).device
    batches = [make_batch(processor, examples(rows, seed=number), device) for number in range(2)]
    loss, started = torch.zeros(()), 0.0
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            _wait()
            started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            loss = model(**batches[number % 2]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    _wait()
    seconds = (time.perf_counter() - started) / steps
    return {
        "step_seconds": round(seconds, 4),
        "rows_per_second": round(rows / seconds, 2),
        "tokens_per_second": round(rows * TrainSettings.max_tokens / seconds, 1),
        "loss": round(float(loss.detach()), 3),
    }


def examples(count: int, *, seed: int) -> list[Example]:
    """`count` questions for an action, each about an image of noise."""
    rng, action_format = np.random.default_rng(seed), get_format("vlm2vla")
    prompt = action_prompt("grasp the carrot", "move down, then close the gripper", action_format)
    made = []
    for _ in range(count):
        deltas = np.concatenate([rng.integers(-5, 6, (2, 3)) / 100, np.zeros((2, 3)), np.ones((2, 1))], axis=1)
        image = rng.integers(0, 256, (480, 640, 3), np.uint8)
        made.append(Example("action", (image,), prompt, action_format.write(deltas)))
    return made


def make_batch(processor: Any, rows: Sequence[Example], device: torch.device) -> dict[str, torch.Tensor]:
    """The inputs and labels of `rows`, padded on the left to the longest row of the recipe; answers are learned."""
    chats = [to_chat(row) for row in rows]
    whole = [processor.apply_chat_template(chat["prompt"] + chat["completion"], tokenize=False) for chat in chats]
    asked = [processor.apply_chat_template(c["prompt"], tokenize=False, add_generation_prompt=True) for c in chats]
    inputs = processor(
        images=[chat["images"] for chat in chats],
        text=whole,
        add_special_tokens=False,
        padding="max_length",
        max_length=TrainSettings.max_tokens,
        return_tensors="pt",
    )
    labels = torch.full_like(inputs["input_ids"], IGNORED)
    for number, (text, prompt) in enumerate(zip(whole, asked, strict=True)):
        learned = len(processor.tokenizer(text[len(prompt) :], add_special_tokens=False)["input_ids"])
        labels[number, -learned:] = inputs["input_ids"][number, -learned:]
    batch = {name: value.to(device) for name, value in inputs.items()}
    return batch | {"labels": labels.to(device)}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
