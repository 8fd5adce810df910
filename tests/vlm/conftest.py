"""Random models for the tests of this folder, made once."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from vlm_lane import make_adapter

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that looks for a model on the hub is a mistake
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A tiny Gemma 3, as `from_pretrained` reads it."""
    from vlm2vla_sim.policies.models.random_model import save_random_model

    return save_random_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def adapter_folder(tiny_folder, tmp_path_factory) -> Path:
    """A LoRA adapter for it that changes what it says."""
    return make_adapter(tiny_folder, tmp_path_factory.mktemp("adapter"), scale=0.5)


@pytest.fixture(scope="session")
def ending_folder(tiny_folder, tmp_path_factory) -> Path:
    """The tiny Gemma 3, ending its answers after some tokens: each single byte outside ASCII is an end token.

    A random model hardly ever says the one end token it has, so that all its answers are cut off.
    """
    from transformers import AutoTokenizer

    folder = shutil.copytree(tiny_folder, tmp_path_factory.mktemp("ending") / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = [token for token in range(len(tokenizer)) if tokenizer.decode([token]) == "\N{REPLACEMENT CHARACTER}"]
    assert len(ends) > 100
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"eos_token_id": [tokenizer.eos_token_id, *ends]}))
    return folder


@pytest.fixture(scope="session")
def ending_adapter(ending_folder, tmp_path_factory) -> Path:
    """A LoRA adapter for the model that ends its answers."""
    return make_adapter(ending_folder, tmp_path_factory.mktemp("ending-adapter"), scale=0.5)


@pytest.fixture
def pictures() -> list[np.ndarray]:
    """Six different (48, 64, 3) uint8 pictures."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(6)]
