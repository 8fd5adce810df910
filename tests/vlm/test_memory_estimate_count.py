"""The count from the config is the count of the model that transformers builds from it."""

from __future__ import annotations

import re

from vlm_lane import need_vlm

need_vlm()

from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.models.memory_estimate import LORA_TARGETS, Memory, estimate_model  # noqa: E402


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
