"""LoRA of families with layer names of their own: the loss falls, the record says what has an adapter, it acts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from labelled_fakes import make_labelled
from vlm_lane import need_train

need_train()

from policies.families import save_family  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from vlm2vla_sim.data.examples.folder import read_examples, write_examples  # noqa: E402
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings  # noqa: E402
from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.training import lora, memory  # noqa: E402
from vlm2vla_sim.training.settings import TrainSettings, preset  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
STEPS = 20


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """Four rows of short answers."""
    folder = tmp_path_factory.mktemp("families") / "rows"
    made = ExampleMaker(ExampleSettings(get_format("vlm2vla"), stages=("verify",))).make([make_labelled(0)])
    write_examples(list(made)[:4], folder)
    return folder


def settings(model: Path) -> TrainSettings:
    given = {"batch": 2, "per_device": 2, "rank": 4, "learning_rate": 5e-3, "epochs": STEPS / 2, "max_tokens": 4096}
    return preset("small", str(model), **given)


@pytest.mark.parametrize(("name", "left_out"), [("qwen3.5", "linear_attn.conv1d"), ("lfm2-vl", "conv.conv")])
def test_twenty_steps_lower_the_loss_and_the_adapter_acts(name, left_out, rows, tmp_path):
    model, out, told = save_family(name, tmp_path / "model"), tmp_path / "adapter", []
    result = lora.train(settings(model), rows, out, report=told.append)
    assert result.steps == STEPS
    losses = [json.loads(line)["loss"] for line in (out / "losses.jsonl").read_text().splitlines()]
    assert result.final_loss < losses[0] - 0.5
    record = json.loads((out / "training.json").read_text())["lora"]
    assert record["left_out"] == {f"layers.*.{left_out}": "1 Conv1d"}
    (sentence,) = [line for line in told if line.startswith("LoRA changes ")]
    assert f"LoRA changes {sum(record['layers'].values())} linear layers" in sentence
    assert f"Left out: {left_out} (1 Conv1d)." in sentence
    assert told.index(sentence) < next(k for k, line in enumerate(told) if line.startswith("step"))
    weights = load_file(out / "adapter_model.safetensors")
    assert sum(weight.numel() for weight in weights.values()) == memory.estimate(settings(model)).trained
    assert len(weights) == 2 * sum(record["layers"].values())
    example = next(iter(read_examples(rows)))
    tuned = HfModel(HfSettings(str(model), dtype="float32", adapter=str(out)))
    asked = [
        Question("verify", example.prompt, example.images, None, Sampling(max_tokens=6), adapter=on) for on in (1, 0)
    ]
    assert tuned.tokens(asked[0]) != tuned.tokens(asked[1])
    assert tuned.tokens(asked[1]) == HfModel(HfSettings(str(model), dtype="float32")).tokens(asked[1])


def test_a_family_that_trl_cannot_train_is_refused_before_the_first_step(rows, tmp_path):
    model = save_family("paligemma2", tmp_path / "model")
    with pytest.raises(SettingError, match="TRL cannot make a training batch with the PaliGemmaProcessor") as caught:
        lora.train(settings(model), rows, tmp_path / "adapter")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "adapter.work").exists()
