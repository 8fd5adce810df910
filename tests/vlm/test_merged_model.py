"""A merged model answers what the base model with its adapter does, and needs no peft."""

from __future__ import annotations

import json

import pytest
from vlm_lane import need_vlm

need_vlm()

import torch  # noqa: E402
from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: E402

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.policies.base import Question  # noqa: E402
from vlm2vla_sim.policies.models.hf_adapter import load_adapter  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import load_weights  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402


def test_it_answers_as_base_and_adapter_together(tiny_folder, adapter_folder, pictures, tmp_path, capsys):
    out = tmp_path / "merged"
    assert (
        main(["export", str(adapter_folder), "--for", "transformers", "--model", str(tiny_folder), "--out", str(out)])
        == 0
    )
    assert "21 layers, float32" in capsys.readouterr().out
    record = json.loads((out / "merged.json").read_text())
    assert len(record["base"]["digest"]) == len(record["adapter"]["digest"]) == 64
    adapted = HfModel(HfSettings(str(tiny_folder), str(adapter_folder), dtype="float32"))
    merged = HfModel(HfSettings(str(out), dtype="float32"))
    questions = [Question("plan", f"move {k}", (picture,)) for k, picture in enumerate(pictures[:3])]
    inputs = adapted.inputs(questions)
    with torch.no_grad():
        one, two = (model.model(**inputs).logits for model in (adapted, merged))
        base = load_weights(HfSettings(str(tiny_folder), dtype="float32"))(**inputs).logits
    torch.testing.assert_close(two, one, atol=2e-3, rtol=1e-3)
    assert float((base - one).abs().max()) > 0.5, "the adapter says something else than the base"
    # Any transformers user loads it.
    model = AutoModelForImageTextToText.from_pretrained(out)
    AutoProcessor.from_pretrained(out)
    assert not any("lora" in name for name, _ in model.named_parameters())
    # It is no longer the base of the adapter.
    with pytest.raises(SettingError, match="other weights"):
        load_adapter(model, str(adapter_folder), base=str(out))


def test_what_cannot_be_merged_is_refused(tiny_folder, adapter_folder, tmp_path, capsys):
    words = ["export", str(tiny_folder), "--for", "transformers", "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "is a model; expected a LoRA adapter" in capsys.readouterr().err
    assert main(["export", str(adapter_folder), "--for", "vllm", "--model", "m", "--out", str(tmp_path / "out")]) == 1
    assert "are for an adapter that is merged" in capsys.readouterr().err
