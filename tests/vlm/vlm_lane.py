"""What the tests of this folder need: the packages of the extra [vlm], and an adapter that was never trained."""

from __future__ import annotations

from pathlib import Path

from lane import need

PACKAGES = ("torch", "transformers", "peft", "llguidance")


def need_vlm() -> None:
    """Call it before anything of the extra is imported."""
    need("vlm", *PACKAGES)


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
