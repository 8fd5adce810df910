"""What a model needs, counted from its config, agrees with the model itself."""

from __future__ import annotations

import json

import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.models.memory_estimate import KNOWN, Memory, estimate_model

GIB = 2**30


@pytest.mark.parametrize(
    ("model", "parameters", "lora"),
    # The published checkpoints' own sizes (their safetensors index: 2 bytes a parameter), and PEFT's count at rank 16.
    [("google/gemma-3-4b-it", 4.300e9, 29.8e6), ("google/gemma-3-12b-it", 12.187e9, 65.5e6)],
)
def test_the_real_models_are_counted_right(model, parameters, lora):
    needs = estimate_model(model, Memory(0, 0))
    assert needs.parameters == pytest.approx(parameters, rel=1e-3)
    assert needs.lora == pytest.approx(lora, rel=2e-3)


def test_a_12b_fits_an_80_gb_gpu_in_bfloat16_and_a_24_gb_one_only_in_fewer_bits():
    large = estimate_model("google/gemma-3-12b-it", Memory(64 * GIB, 80 * GIB))
    small = estimate_model("google/gemma-3-12b-it", Memory(20 * GIB, 24 * GIB))
    assert [large.fits(bits) for bits in (16, 8, 4)] == ["GPU", "GPU", "GPU"]
    assert [small.fits(bits) for bits in (16, 8, 4)] == ["no", "GPU", "GPU"]
    assert estimate_model("google/gemma-3-12b-it", Memory(64 * GIB, 0)).fits(16) == "RAM"


def test_doctor_says_it_in_words_and_in_json(capsys):
    assert main(["doctor", "--model", "google/gemma-3-12b-it"]) == 0
    out = capsys.readouterr().out
    assert "12.19 G parameters" in out
    assert "Adapter targets: .*language_model" in out
    assert main(["doctor", "--model", "google/gemma-3-4b-it", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fits"].keys() == {"bfloat16", "8bit", "4bit"}


def test_another_model_is_read_from_its_folder_and_what_is_none_is_told(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", **KNOWN["google/gemma-3-4b-it"]}))
    assert estimate_model(str(tmp_path), Memory(0, 0)).lora_layers == 34 * 7
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(SettingError, match="'llava'"):
        estimate_model(str(tmp_path), Memory(0, 0))
    with pytest.raises(SettingError, match="google/gemma-3-4b-it"):
        estimate_model(str(tmp_path / "nothing"), Memory(0, 0))
