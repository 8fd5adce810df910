"""Which PEFT adapters vLLM takes. It refuses some, and applies others in part without a word.

vllm@0.32.0 lora/peft_helper.py, lora/lora_model.py: the config is checked, and of a weight's name only the last part.
A layer whose whole name is not the model's stays without its weights.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.models.adapter_fit import list_keys
from vlm2vla_sim.policies.models.digests import ADAPTER_CONFIG, read_object, weight_files
from vlm2vla_sim.policies.models.safetensors_copy import METADATA, read_header

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values of --max-lora-rank."""
_LAYER = re.compile(
    r"base_model\.model\.(model\.language_model|language_model\.model)\.layers\.\d+\."
    r"(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.lora_[AB]\.weight"
)
"""A weight of a language model's linear layer, by its name in transformers 4.52 and later, or earlier."""
PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Values of `init_lora_weights` that leave the base model as it is."""
INSTEAD = (
    "Serve it with `vlm2vla serve-model --adapter`, or merge it into its base model with peft (merge_and_unload, "
    "save_pretrained) and export that."
)


def check_adapter(folder: Path) -> int:
    """The value of --max-lora-rank with which vLLM takes the adapter in `folder`; SettingError if it does not."""
    config = read_object(folder / ADAPTER_CONFIG)
    if reason := _refused(config):
        raise SettingError(f"vLLM does not take the adapter {folder}: {reason}. {INSTEAD}")
    files = weight_files(folder)
    if len(files) != 1 or files[0].suffix != ".safetensors":
        raise SettingError(
            f"The folder {folder} has no adapter_model.safetensors. Save it with peft's save_pretrained."
        )
    header = {name: about for name, about in read_header(files[0]).items() if name != METADATA}
    if others := [name for name in sorted(header) if not _LAYER.fullmatch(name)]:
        raise SettingError(
            f"vLLM does not take the adapter {folder}: {list_keys(others)} of its {len(header)} weights are not of a "
            f"linear layer of the language model; vLLM would leave them out without a word. {INSTEAD}"
        )
    if not header:
        raise SettingError(f"The adapter {folder} has no weights. Save it with peft's save_pretrained.")
    rank = max(about["shape"][0] for name, about in header.items() if name.endswith("lora_A.weight"))
    fitting = next((allowed for allowed in RANKS if allowed >= rank), None)
    if fitting is None:
        raise SettingError(
            f"vLLM does not take the adapter {folder}: its rank is {rank}, and --max-lora-rank is at most {RANKS[-1]}. "
            f"{INSTEAD}"
        )
    return fitting


def _refused(config: dict[str, Any]) -> str:
    """Why vLLM refuses an adapter with this config; empty if it does not."""
    if config.get("peft_type") != "LORA":
        return f"its type is {config.get('peft_type')}, and vLLM knows LORA only"
    if trained := config.get("modules_to_save"):
        return f"it holds whole layers as well (modules_to_save: {', '.join(map(str, trained))})"
    if config.get("bias", "none") != "none":
        return f"it holds biases (bias: {config['bias']})"
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower() not in PLAIN_STARTS:
        return f"it was begun with init_lora_weights={start!r}, which changes the base model"
    for name, what in (
        ("use_dora", "DoRA"),
        ("lora_bias", "a bias in its LoRA layers"),
        ("alora_invocation_tokens", "Activated LoRA"),
        ("layer_replication", "replicated layers"),
        ("use_bdlora", "block-diagonal LoRA"),
        ("use_qalora", "QALoRA"),
    ):
        if config.get(name):
            return f"it uses {what} ({name})"
    return ""
