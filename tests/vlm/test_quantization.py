"""QLoRA with the real bitsandbytes, which `make test-vlm` keeps out of the environment of the other tests."""

from __future__ import annotations

import json

from labelled_fakes import make_labelled
from lane import need
from vlm_lane import need_train

need_train()

need("quantization", "bitsandbytes")

from vlm2vla_sim.data.examples.folder import write_examples  # noqa: E402
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import loading_arguments  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.training.lora import train  # noqa: E402
from vlm2vla_sim.training.settings import preset  # noqa: E402


def test_an_adapter_learns_on_a_quantized_base_and_is_evaluated_on_it(tiny_folder, tmp_path):
    rows = tmp_path / "rows"
    write_examples(ExampleMaker(ExampleSettings(get_format("vlm2vla"))).make(map(make_labelled, range(2))), rows)
    recipe = {"batch": 8, "per_device": 8, "learning_rate": 2e-2, "save_every": 2, "epochs": 2}
    settings = preset("small", str(tiny_folder), quantization="4bit", held_out=0.5, **recipe)
    done = train(settings, rows, tmp_path / "out")
    told = [json.loads(line)["loss"] for line in (tmp_path / "out" / "losses.jsonl").read_text().splitlines()]
    assert len(told) == done.steps == 6, "through evaluations, after which bitsandbytes might give no gradients"
    assert told[-1] < told[0] - 0.3, "it learns"
    model = HfModel(HfSettings(str(tiny_folder), str(tmp_path / "out"), dtype="float32", quantization="4bit"))
    layers = [type(module).__name__ for name, module in model.model.named_modules() if name.endswith("base_layer")]
    assert set(layers) == {"Linear4bit"}
    assert model.provenance()["base_checked"] == "digest"


def test_a_quantized_model_is_placed_by_transformers():
    arguments = loading_arguments(HfSettings("m", dtype="bfloat16", quantization="4bit"))
    assert arguments["quantization_config"].load_in_4bit
    assert arguments["device_map"] == "auto"
    assert arguments["dtype"] == "bfloat16"
