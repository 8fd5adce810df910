"""An adapter reaches every linear layer of a decoder, whatever the family calls them, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from vlm_lane import need_vlm

need_vlm()

import torch  # noqa: E402
import transformers  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from policies.families import FAMILIES, make_family  # noqa: E402
from policies.family_models import TEXT  # noqa: E402

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.models.hf_adapter import peft_reads_old_attribute  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.models.lora_targets import language_layers, lora_account, target_pattern  # noqa: E402
from vlm2vla_sim.policies.models.memory_estimate import LORA_TARGETS  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
# Written by hand: the linear layers of the tiny decoders, two layers each, Gemma 4 four.
BLOCK = {f"layers.*.{name}": 2 for name in (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)}  # fmt: skip
GATED = {
    f"layers.*.linear_attn.{name}": 1 for name in ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")
}
OTHERS = {
    "gemma4": {
        **{kind: 2 if "k_proj" in kind or "v_proj" in kind else 4 for kind in BLOCK},
        "layers.*.per_layer_input_gate": 4, "layers.*.per_layer_projection": 4, "per_layer_model_projection": 1,
    },
    "qwen3.5": {**{kind: 1 if "self_attn" in kind else 2 for kind in BLOCK}, **GATED},
    "glm4v": {
        **{kind: 2 for kind in BLOCK if "gate" not in kind and "up" not in kind}, "layers.*.mlp.gate_up_proj": 2,
    },
    "lfm2-vl": {
        "layers.*.conv.in_proj": 1, "layers.*.conv.out_proj": 1,
        **{f"layers.*.self_attn.{name}": 1 for name in ("q_proj", "k_proj", "v_proj", "out_proj")},
        **{f"layers.*.feed_forward.{name}": 2 for name in ("w1", "w2", "w3")},
    },
}  # fmt: skip
LEFT_OUT = {"qwen3.5": {"layers.*.linear_attn.conv1d": "1 Conv1d"}, "lfm2-vl": {"layers.*.conv.conv": "1 Conv1d"}}


def tuned(model, folder: Path, *, scale: float = 0.5) -> Path:
    """An adapter on the layers that training would choose, with random weights, in `folder`."""
    config = LoraConfig(r=4, lora_alpha=8, target_modules=target_pattern(model), task_type="CAUSAL_LM")
    with torch.random.fork_rng(), peft_reads_old_attribute():
        torch.manual_seed(1)
        made = get_peft_model(model, config)
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, 0.0, scale)
    made.save_pretrained(folder)
    account, changed = lora_account(made), {name for name, _ in made.named_parameters() if "lora_" in name}
    made.unload()
    assert all("vision" not in name and "visual" not in name and "lm_head" not in name for name in changed)
    assert len(changed) == 2 * sum(account.layers.values())
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_an_adapter_has_every_linear_layer_acts_and_can_be_turned_off(name, tmp_path, pictures):
    model = make_family(name).model
    with peft_reads_old_attribute():
        account = lora_account(
            get_peft_model(make_family(name).model, LoraConfig(target_modules=target_pattern(model)))
        )
    assert account.layers == OTHERS.get(name, BLOCK)
    assert account.left_out == LEFT_OUT.get(name, {})
    assert all(kind.rpartition("*.")[2] in account.text() for kind in (*account.layers, *account.left_out))
    asked = Question("action", "Go.", (pictures[0],), sampling=Sampling(max_tokens=8))
    said = HfModel(HfSettings(name), loaded=make_family(name)).tokens(asked)
    adapter = tuned(model, tmp_path)
    loaded = HfModel(HfSettings(name, adapter=str(adapter)), loaded=make_family(name))
    assert loaded.tokens(asked) != said
    off = Question("action", "Go.", (pictures[0],), sampling=Sampling(max_tokens=8), adapter=False)
    assert loaded.tokens(off) == said
    assert loaded.answer([off, asked])[0].text == loaded.answer([off])[0].text


def test_gemma_3_keeps_the_pattern_of_earlier_adapters():
    assert target_pattern(make_family("gemma3").model) == LORA_TARGETS


def test_the_pattern_of_another_family_is_the_decoders_layers_by_name():
    model = make_family("lfm2-vl").model
    pattern = target_pattern(model)
    hit = {name for name, _ in model.named_modules() if re.fullmatch(pattern, name)}
    assert hit == set(language_layers(model))
    assert pattern.startswith(r"model\.language_model\.layers\.\d+\.(")


def test_the_experts_of_a_mixture_are_left_out_and_counted():
    text = {**TEXT, "num_hidden_layers": 2, "vocab_size": 64, "num_experts": 4, "num_experts_per_tok": 2,
            "moe_intermediate_size": 24, "head_dim": 8}  # fmt: skip
    model = transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**text))
    with peft_reads_old_attribute():
        made = get_peft_model(model, LoraConfig(target_modules=target_pattern(model)))
    account = lora_account(made)
    assert account.layers == {kind: number for kind, number in BLOCK.items() if "self_attn" in kind}
    assert account.left_out["layers.*.mlp.experts.gate_up_proj"] == "2 4x48x32"
    assert "Left out: " in account.text()


def test_a_model_without_a_decoder_has_nothing_to_adapt():
    with pytest.raises(SettingError, match="No language model with linear layers was found in a Linear"):
        language_layers(torch.nn.Linear(2, 2))
