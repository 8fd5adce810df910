"""A training in a process that a test can kill; imported by a process that has the heavy packages loaded already."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from vlm2vla_sim.training.lora import train
from vlm2vla_sim.training.settings import preset


def run(model: str, data: str, out: str, *, resume: bool) -> None:
    """Train a tiny model; each step is a checkpoint."""
    torch.set_num_threads(1)
    settings = preset("small", model, batch=4, per_device=2, learning_rate=2e-3, save_every=1)
    train(settings, Path(data), Path(out), resume=resume)
