"""What a model cannot do is said in one sentence while it is loaded, not in an episode."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from vlm_lane import need_vlm

need_vlm()

import torch  # noqa: E402
from policies.families import family_tokenizer, make_family, save_family  # noqa: E402

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import LoadedModel, compile_feed_forward, load_processor  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.models.hf_processor import NoVideo, needed_package  # noqa: E402
from vlm2vla_sim.policies.models.model_checks import check_kind  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_family("qwen3-vl", tmp_path_factory.mktemp("model"))


def refused(loaded: LoadedModel) -> str:
    """The sentence with which it is refused."""
    with pytest.raises(SettingError) as caught:
        HfModel(HfSettings("mine"), loaded=loaded)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_processor_without_a_chat_template_is_refused(folder, tmp_path):
    bare = save_family("paligemma2", tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(SettingError, match=r"has no chat template.*put a chat_template\.jinja beside the weights"):
        load_processor(str(bare))
    made = make_family("qwen3-vl")
    made.processor.chat_template = None
    assert "has no chat template" in refused(made)


def test_a_folder_with_a_tokenizer_alone_is_refused(tmp_path):
    family_tokenizer("qwen3-vl").save_pretrained(tmp_path)
    with pytest.raises(SettingError, match="which has no image processor"):
        load_processor(str(tmp_path))


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for m in messages %}{{ m['content'][0]['text'] }}{% endfor %}", "cannot make a prompt of an image"),
        ("{% for m in messages %}{{ raise_exception('text only') }}{% endfor %}", "cannot make a prompt of an image"),
    ],
)
def test_a_chat_template_that_writes_no_image_is_refused(template, told):
    made = make_family("qwen3-vl")
    made.processor.chat_template = template
    assert told in refused(made)


def test_a_processor_of_another_family_is_refused():
    model, other = make_family("qwen2.5-vl"), make_family("gemma3")
    assert "contain no image" in refused(LoadedModel(model.model, other.processor))


def test_a_processor_whose_image_has_another_size_is_refused():
    made = make_family("llava-onevision")
    made.processor.num_image_tokens = 9
    assert "cannot answer a question about an image" in refused(made)


def test_a_model_with_an_encoder_and_a_decoder_is_refused():
    made = make_family("qwen3-vl")
    made.model.config.is_encoder_decoder = True
    assert "an encoder and a decoder" in refused(made)


def test_a_config_without_an_image_token_is_refused():
    model, processor = SimpleNamespace(config=SimpleNamespace()), make_family("qwen3-vl").processor
    with pytest.raises(SettingError, match="names no image_token_id"):
        check_kind(model, processor, "mine")


def test_the_settings_of_the_video_part_are_kept(folder, tmp_path):
    place = folder / "processor_config.json"
    saved = json.loads(place.read_text())
    place.write_text(json.dumps(saved | {"video_processor": {"fps": 3, "video_processor_type": "Q"}}))
    try:
        processor = load_processor(str(folder))
    finally:
        place.write_text(json.dumps(saved))
    assert isinstance(processor.video_processor, NoVideo)
    processor.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "processor_config.json").read_text())["video_processor"]["fps"] == 3
    with pytest.raises(SettingError, match="reads images only"):
        processor.video_processor([])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # of torch, at its first compilation
def test_a_family_whose_layers_cannot_be_compiled_says_so():
    model = make_family("lfm2-vl").model
    compile_feed_forward(model)  # they are called feed_forward
    model.get_decoder().layers = torch.nn.ModuleList()
    with pytest.raises(SettingError, match="no feed-forward layers that could be compiled"):
        compile_feed_forward(model)


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("\nBaseVideoProcessor requires the Torchvision library but it was not found", "torchvision"),
        ("/a/b requires `torchvision` to be installed. Please install it", "torchvision"),
        ("None could be imported. Missing optional dependencies: torchvision. Please", "torchvision"),
        ("Package `num2words` is required to run SmolVLM processor.", "num2words"),
        ("8-bit requires bitsandbytes: `pip install -U bitsandbytes>=0.46.1`", "bitsandbytes"),
    ],
)
def test_the_package_is_found_in_what_transformers_says(text, package):
    assert needed_package(ImportError(text)) == package
