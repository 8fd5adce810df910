"""The tiny random models that the servers serve: the same tokenizer and chat template, which has a switch to think."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

from vlm2vla_sim.policies.models import random_model

TURN = "<start_of_turn>model\n"
EMPTY = "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"


def chat_template() -> str:
    """Gemma's, with the switch of Qwen3's: without thinking, a prompt ends in an empty reasoning."""
    head, turn, tail = random_model.CHAT_TEMPLATE.rpartition(TURN)
    return head + turn + EMPTY + tail


def save_transformers(folder: Path) -> Path:
    """A tiny Gemma 3 as transformers and, exported, vLLM read it, and in `adapter` a LoRA adapter of it."""
    from peft import LoraConfig, get_peft_model

    tokenizer = random_model.make_tokenizer()
    tokenizer.add_tokens(["<think>", "</think>"])
    size = dataclasses.replace(random_model.TINY, heads=2)  # of 32 numbers, the least that vLLM takes on a CPU
    config = random_model.size_config(size, tokenizer)
    model, processor = random_model.make_random_model(config, tokenizer)
    processor.chat_template = chat_template()
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    targets = r".*language_model.*\.(q_proj|o_proj|gate_proj)"
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = str(folder)
    adapted.save_pretrained(folder / "adapter")
    return folder


def save_gguf(folder: Path, python: str, tokenizer: Path) -> Path:
    """A tiny Llama with a picture encoder and an adapter, as GGUF files. python: an interpreter with gguf."""
    folder.mkdir(parents=True, exist_ok=True)
    template = folder / "template.jinja"
    template.write_text(chat_template())
    script = Path(__file__).with_name("gguf_model.py")
    subprocess.run([python, str(script), str(folder), str(tokenizer), str(template)], check=True)
    return folder
