"""Lets the tests of this folder skip, saying why, where the extra [vlm] is not installed.

Where VLM2VLA_REQUIRE holds the word "vlm" they fail instead, so that a machine that should run them cannot be green
without.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

PACKAGES = ("torch", "transformers", "peft", "llguidance")


def need_vlm() -> None:
    """Call it before anything of the extra is imported."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}: pip install 'vlm2vla_sim[vlm]'"
    if "vlm" in os.environ.get("VLM2VLA_REQUIRE", "").replace(",", " ").split():
        pytest.fail(f"VLM2VLA_REQUIRE asks for the vlm tests, and they cannot run: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def make_adapter(model_folder: Path, folder: Path, *, scale: float) -> Path:
    """A LoRA adapter for the model in `model_folder`; a scale of 0 leaves it untrained."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(model_folder, dtype="float32")
    # The language model only: plain names would also hit the vision tower.
    targets = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=targets))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, 0.0, scale)
    model.save_pretrained(folder)
    return folder
