"""The count from the config is the count of the model that transformers builds from it."""

from __future__ import annotations

import json
import re

import pytest
from vlm_lane import need_vlm

need_vlm()

from policies.families import make_family, save_family  # noqa: E402

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.models.lora_targets import language_layers, target_pattern  # noqa: E402
from vlm2vla_sim.policies.models.memory_estimate import LORA_TARGETS, Memory, estimate_model  # noqa: E402
from vlm2vla_sim.policies.models.meta_estimate import estimate_family  # noqa: E402


def test_parameters_and_adapter_targets_are_those_of_the_model_itself(tiny_folder):
    model = HfModel(HfSettings(str(tiny_folder), dtype="float32")).model
    needs = estimate_model(str(tiny_folder), Memory(0, 0))
    counted = {True: 0, False: 0}
    for name, weight in model.named_parameters():
        counted["vision" in name or "multi_modal" in name] += 0 if ".head." in name else weight.numel()
    assert counted == {True: needs.vision, False: needs.language}
    hit = [name for name, _ in model.named_modules() if re.fullmatch(LORA_TARGETS, name)]
    assert len(hit) == needs.lora_layers
    assert not any("vision" in name for name in hit)


@pytest.mark.parametrize("name", ["gemma4", "qwen3.5", "smolvlm", "glm4v", "lfm2-vl"])
def test_another_family_is_counted_by_transformers(name, tmp_path, capsys):
    model = save_family(name, tmp_path) and make_family(name).model
    needs = estimate_family(tmp_path, Memory(0, 0))
    assert needs.parameters == sum(weight.numel() for weight in model.parameters())
    vision = sum(
        w.numel() for key, w in model.named_parameters() if not re.search("language_model|text_model|lm_head", key)
    )
    assert needs.vision == vision
    layers = language_layers(model)
    assert needs.lora_layers == len(layers)
    assert needs.to_json()["lora_targets"] == target_pattern(model)
    kept = 2 * sum(layer.out_features for key, layer in layers.items() if key.endswith((".k_proj", ".v_proj")))
    assert needs.cache_per_token == kept
    assert main(["doctor", "--model", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lora"] == needs.lora
