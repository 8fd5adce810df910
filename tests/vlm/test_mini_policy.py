"""The policy "mini" is "vlm" with other defaults: it runs with any small model's folder, and says when it has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from vlm_lane import make_adapter, need_vlm

need_vlm()

from vlm2vla_sim.errors import SettingError  # noqa: E402 - what is below needs the extra
from vlm2vla_sim.mini.model import MiniSize, make_model, make_processor, make_tokenizer  # noqa: E402
from vlm2vla_sim.mini.vocabulary import texts  # noqa: E402
from vlm2vla_sim.policies.mini import MiniOptions  # noqa: E402
from vlm2vla_sim.run_folder import RunSettings  # noqa: E402
from vlm2vla_sim.suite import run_suite  # noqa: E402

SMALL = MiniSize(hidden=64, layers=1, heads=2, feed_forward=64, vision_hidden=64, vision_layers=1)


def test_it_runs_the_loop_with_a_model_and_an_adapter_of_the_minis_kind(tmp_path):
    processor = make_processor(make_tokenizer(texts()), SMALL)
    for part in (make_model(processor.tokenizer, SMALL), processor):
        part.save_pretrained(tmp_path / "base")
    make_adapter(tmp_path / "base", tmp_path / "adapter", scale=0.02)
    options = {"model": str(tmp_path / "base"), "adapter": str(tmp_path / "adapter"), "reasoning": False}
    settings = RunSettings("mini", ("carrot_on_plate",), episodes=1, policy_options=options)
    (result,) = run_suite(settings, out=tmp_path / "run", video=False).results
    assert result.outcome.value in ("success", "failure"), result.reason
    said = [decision["action"] for decision in result.decisions]
    assert said
    assert all(text.startswith("[[") for text in said), "held to the grammar, whatever it means"


def test_without_its_weights_it_says_how_to_make_them(monkeypatch):
    monkeypatch.setattr("vlm2vla_sim.policies.mini.WEIGHTS", Path("nowhere"))
    with pytest.raises(SettingError, match="make mini"):
        MiniOptions(model=str(Path("nowhere") / "base"))
