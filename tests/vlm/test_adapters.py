"""An adapter is applied whole or not at all, wherever one is loaded; so is a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from vlm_lane import make_adapter, need_vlm

need_vlm()

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from vlm2vla_sim.analysis.questions import VqaQuestion, write_questions  # noqa: E402
from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.policies.models.hf_adapter import load_adapter, load_checkpoint  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import HfSettings, load_weights  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel  # noqa: E402
from vlm2vla_sim.policies.models.random_model import save_random_model  # noqa: E402

LAYERS = "base_model.model.model.language_model.layers"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def changed(adapter: Path, folder: Path, weights=None, **config) -> Path:
    """A copy of `adapter` whose weights went through the function `weights`, with other values in its config."""
    shutil.copytree(adapter, folder)
    if weights is not None:
        kept = weights(load_file(folder / WEIGHTS))
        save_file({name: value.contiguous() for name, value in kept.items()}, folder / WEIGHTS)
    values = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(values | config))
    return folder


def renamed(old: str, new: str):
    return lambda weights: {name.replace(old, new): value for name, value in weights.items()}


def without(part: str):
    return lambda weights: {name: value for name, value in weights.items() if part not in name}


def only(part: str):
    return lambda weights: {name: value for name, value in weights.items() if part in name}


def load(model: Path, adapter: Path):
    return load_adapter(load_weights(HfSettings(str(model), dtype="float32")), str(adapter), base=str(model))


# Keys.

PARTS = [
    pytest.param(
        renamed(".mlp.", ".feed_forward."),
        r"24 of the 42 weights in its file fit\. In the file but not in the model: 18 \(.*feed_forward.*15 more\)\. "
        r"Asked for by adapter_config\.json but not in the file: 18 .*calls? 'feed_forward' what the model calls 'mlp'",
        id="MLP layers renamed",
    ),
    pytest.param(without(".layers.2."), r"28 of the 28 .* not in the file: 14 \(.*layers\.2\.", id="no last layer"),
    pytest.param(only("q_proj"), r"6 of the 6 .* not in the file: 36 \(", id="only q_proj, of seven in the config"),
    pytest.param(
        renamed("model.language_model.layers", "model.layers"),
        r"0 of the 42 .*call 'model' what the model calls 'model\.language_model'",
        id="names of the language model alone",
    ),
    pytest.param(
        without("layers.1.mlp.up_proj.lora_B"),
        r"not in the file: 1 \(model\.language_model\.layers\.1\.mlp\.up_proj\.lora_B\.weight\)",
        id="half a pair",
    ),
    pytest.param(
        lambda weights: weights | {f"{LAYERS}.9.mlp.up_proj.lora_A.weight": torch.ones(4, 64)},
        r"42 of the 43 .*In the file but not in the model: 1 \(.*layers\.9",
        id="a layer too many",
    ),
    pytest.param(
        lambda weights: {n: v[:, :32] if n.endswith("0.mlp.up_proj.lora_A.weight") else v for n, v in weights.items()},
        r"Of another shape: 1 \(.*up_proj\.lora_A\.weight 4x32, not 4x64\)",
        id="another shape",
    ),
    pytest.param(
        lambda weights: {n: v * float("nan") if "0.mlp.up_proj.lora_B" in n else v for n, v in weights.items()},
        r"Not finite floating-point numbers: 1 \(",
        id="not a number",
    ),
    pytest.param(
        lambda weights: {n: (v * 100).to(torch.int8) for n, v in weights.items()},
        r"Not finite floating-point numbers: 42 \(",
        id="whole numbers",
    ),
    pytest.param(
        lambda weights: weights | {n.replace(".lora_A.", ".lora_A.default."): v + 1 for n, v in weights.items()},
        r"Keys for a weight that has another key as well: 21\.",
        id="two keys for one weight",
    ),
    pytest.param(
        lambda weights: weights | {"base_model.model.model.language_model.embed_tokens.weight": torch.zeros(2048, 64)},
        r"Replacing weights of the model itself.*: 1 \(model\.language_model\.embed_tokens\.weight\)",
        id="an embedding of its own",
    ),
    pytest.param(lambda weights: {}, r"0 of the 0 weights", id="empty"),
]  # fmt: skip


@pytest.mark.parametrize(("weights", "said"), PARTS)
def test_an_adapter_that_fits_in_part_is_refused_and_what_fits_is_told(
    tiny_folder, adapter_folder, tmp_path, weights, said
):
    with pytest.raises(SettingError, match=said):
        load(tiny_folder, changed(adapter_folder, tmp_path / "part", weights))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"r": 8}, r"Of another shape: 42 \(.*4x128, not 8x128"),
        ({"rank_pattern": {"q_proj": 2}}, r"Of another shape: 6 \(.*q_proj"),
        ({"target_modules": ["q_proj"]}, r"In the file but not in the model: 36 "),
        ({"target_modules": SEVEN}, r"not in the file: \d+ \(model\.vision_tower"),
        ({"layers_to_transform": [0], "layers_pattern": "layers", "target_modules": SEVEN}, r"not in the model: 28 "),
        ({"exclude_modules": ["o_proj"]}, r"In the file but not in the model: 6 \(.*o_proj"),
        ({"alpha_pattern": {"no_proj": 4}}, r"alpha_pattern keys did not match any targeted module and were ignored"),
        ({"rank_pattern": {"no_proj": 4}}, r"rank_pattern keys did not match any targeted module and were ignored"),
        ({"use_dora": True}, r"not in the file: 21 \(.*lora_magnitude_vector"),
        ({"bias": "all"}, r"not in the file: \d+ \(model\.vision_tower.*bias"),
        ({"modules_to_save": ["multi_modal_projector"]}, r"no key .*multi_modal_projector\.mm_"),
        ({"use_sorcery": True}, r"uses use_sorcery, which the installed peft does not know"),
        ({"peft_type": "PREFIX_TUNING"}, r"of the type PREFIX_TUNING, which adds tokens to the prompt"),
        ({"peft_type": "SORCERY"}, r"of the type 'SORCERY', which peft does not know"),
        ({"init_lora_weights": "pissa"}, r"init_lora_weights='pissa', which changes the base model"),
        ({"alora_invocation_tokens": [1, 2]}, r"uses alora_invocation_tokens"),
        (
            {"target_modules": r"language_model\.model\.layers\.\d+\.mlp\.up_proj"},
            r"not found in the base model.*Give an adapter",
        ),
    ],
)
def test_a_config_that_asks_for_more_or_for_something_else_is_refused(
    tiny_folder, adapter_folder, tmp_path, config, said
):
    with pytest.raises(SettingError, match=said):
        load(tiny_folder, changed(adapter_folder, tmp_path / "other", **config))


@pytest.mark.parametrize(
    ("weights", "config"),
    [
        pytest.param(only("q_proj"), {"target_modules": r".*language_model.*\.q_proj"}, id="trained on q_proj only"),
        pytest.param(
            only(".layers.0."), {"target_modules": r".*language_model.*layers\.0\..*_proj"}, id="trained on one layer"
        ),
        pytest.param(
            renamed("model.language_model.layers", "language_model.model.layers"), {}, id="names of transformers 4"
        ),
        pytest.param(renamed(".weight", ".default.weight"), {}, id="names in memory"),
        pytest.param(lambda weights: {n: v.bfloat16() for n, v in weights.items()}, {}, id="half precision"),
        pytest.param(None, {"use_sorcery": False, "sorcerers": []}, id="unknown options that are off"),
        pytest.param(None, {"lora_alpha": 64}, id="another scale"),
    ],
)
def test_an_adapter_that_is_complete_by_its_own_config_is_loaded_as_it_is_in_the_file(
    tiny_folder, adapter_folder, tmp_path, weights, config
):
    folder = changed(adapter_folder, tmp_path / "whole", weights, **config)
    given = load_file(folder / WEIGHTS)
    loaded = load(tiny_folder, folder)
    assert loaded.keys == len(given)
    present = {n.replace(".default", ""): v for n, v in loaded.model.named_parameters() if "default" in n.split(".")}
    assert len(present) == len(given)
    for name, value in given.items():
        place = name.replace("language_model.model.layers", "model.language_model.layers").replace(".default", "")
        assert torch.equal(present[place], value.float()), name


def test_an_embedding_that_is_the_models_own_changes_nothing_and_is_accepted(tiny_folder, adapter_folder, tmp_path):
    own = load_file(tiny_folder / "model.safetensors")["language_model.model.embed_tokens.weight"]
    name = "base_model.model.model.language_model.embed_tokens.weight"
    assert load(tiny_folder, changed(adapter_folder, tmp_path / "a", lambda w: w | {name: own})).keys == 43


def test_a_model_whose_projector_was_trained_as_well_sees_images_anew_with_the_adapter_on(
    tiny_folder, tmp_path, pictures
):
    """The image cache must not give the base model what the adapter's projector made, nor the other way round."""
    from vlm2vla_sim.policies.base import Question, Sampling

    folder = make_adapter(tiny_folder, tmp_path / "adapter", scale=0.0, modules_to_save=["multi_modal_projector"])
    weights = load_file(folder / WEIGHTS)
    projector = next(name for name in weights if name.endswith("mm_input_projection_weight"))
    weights[projector] = -weights[projector]
    weights["base_model.model.model.language_model.layers.0.mlp.up_proj.lora_B.weight"] += 1e-3  # passes the probe
    save_file(weights, folder / WEIGHTS)
    fast, plain = (
        HfModel(HfSettings(str(tiny_folder), str(folder), dtype="float32", fast=fast)) for fast in (True, False)
    )
    asked = [
        Question("plan", "How does it move?", (pictures[0],), sampling=Sampling(max_tokens=16), adapter=adapter)
        for adapter in (True, False, True)
    ]
    said = [fast.tokens(question) for question in asked]
    assert said == [plain.tokens(question) for question in asked]
    assert said[0] != said[1]


@pytest.mark.parametrize("length", [0, 7, 100, -1, -4096])
def test_a_file_that_is_cut_off_is_refused(tiny_folder, adapter_folder, tmp_path, length):
    folder = changed(adapter_folder, tmp_path / "cut")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:length])
    with pytest.raises(SettingError, match=r"adapter_model\.safetensors cannot be read: .*copy or download it again"):
        load(tiny_folder, folder)


def test_weights_that_are_a_pickle_are_refused(tiny_folder, adapter_folder, tmp_path):
    folder = changed(adapter_folder, tmp_path / "pickled")
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()
    with pytest.raises(SettingError, match=r"adapter_model\.bin is a pickle, which is a program; none is loaded"):
        load(tiny_folder, folder)
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with pytest.raises(SettingError, match="cannot be loaded from the folder"):
        load_weights(HfSettings(str(model), dtype="float32"))


def test_a_folder_without_weights_or_config_is_refused(tiny_folder, adapter_folder, tmp_path):
    folder = changed(adapter_folder, tmp_path / "a")
    (folder / WEIGHTS).unlink()
    with pytest.raises(SettingError, match=r"has no adapter_model\.safetensors"):
        load(tiny_folder, folder)
    (folder / CONFIG).write_text("{")
    with pytest.raises(SettingError, match=r"adapter_config\.json cannot be read"):
        load(tiny_folder, folder)
    with pytest.raises(SettingError, match=r"is a model; expected a LoRA adapter"):
        load(tiny_folder, tiny_folder)


# Every way in.


@pytest.fixture(scope="module")
def part(adapter_folder, tmp_path_factory) -> Path:
    """The adapter with renamed MLP layers, which peft applies in part with a warning."""
    return changed(adapter_folder, tmp_path_factory.mktemp("part") / "part", renamed(".mlp.", ".feed_forward."))


FITS = "24 of the 42 weights in its file fit"


def test_evaluation_and_a_model_server_refuse_it(tiny_folder, part, tmp_path, capsys):
    words = ["--model", str(tiny_folder), "--adapter", str(part)]
    run = ["evaluate", "--policy", "vlm", *words, "--tasks", "carrot_on_plate", "--episodes", "1", "--backend", "point"]
    assert main([*run, "--out", str(tmp_path / "run")]) != 0
    assert FITS in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(["serve-model", *words, "--port", "0"]) != 0
    assert FITS in capsys.readouterr().err


def test_vqa_refuses_it(tiny_folder, part, pictures, tmp_path, capsys):
    write_questions([VqaQuestion("colour", "Which?", ("red",), (pictures[0],))], tmp_path / "questions")
    words = ["vqa", "--model", str(tiny_folder), "--questions", str(tmp_path / "questions")]
    assert main([*words, "--adapter", str(part)]) != 0
    assert FITS in capsys.readouterr().err
    broken = incomplete(tiny_folder, tmp_path / "tuned")
    assert main([*words, "--tuned", str(broken)]) != 0
    assert "Weights that its files lack: 13 (" in capsys.readouterr().err


def test_log_probabilities_refuse_it(tiny_folder, part):
    from vlm2vla_sim.analysis.scorer import Scorer

    with pytest.raises(SettingError, match=FITS):
        Scorer(str(tiny_folder), str(part), dtype="float32")


# Models.


def incomplete(model: Path, folder: Path, weights=without("layers.2.")) -> Path:  # noqa: B008
    shutil.copytree(model, folder)
    kept = weights(load_file(folder / "model.safetensors"))
    save_file({k: v.contiguous() for k, v in kept.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (without("language_model.model.layers.2."), r"its files lack: 13 \(model\.language_model\.layers\.2\."),
        (lambda w: w | {"language_model.model.layers.3.x": torch.ones(2)}, r"does not have: 1 \(.*layers\.3"),
        (renamed(".mlp.", ".feed_forward."), r"lack: 21 .*not have: 21 .*'feed_forward' what the model calls 'mlp'"),
        (
            lambda w: {n: v[:3] if n.endswith("layers.1.mlp.up_proj.weight") else v for n, v in w.items()},
            r"Weights of another shape: 1 \(model\.language_model\.layers\.1\.mlp\.up_proj\.weight\)",
        ),
    ],
    ids=["a layer missing", "a weight too many", "renamed", "another shape"],
)  # fmt: skip
def test_a_model_that_is_not_whole_is_refused(tiny_folder, tmp_path, weights, said):
    folder = incomplete(tiny_folder, tmp_path / "model", weights)
    with pytest.raises(SettingError, match=said):
        load_weights(HfSettings(str(folder), dtype="float32"))


def test_a_language_model_that_is_not_whole_is_not_scored(tmp_path):
    import transformers

    from vlm2vla_sim.analysis.scorer import Scorer
    from vlm2vla_sim.policies.models.random_model import make_tokenizer

    config = transformers.LlamaConfig(
        vocab_size=2048, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    Scorer(str(tmp_path), dtype="float32")
    kept = without("layers.1.")(load_file(tmp_path / "model.safetensors"))
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(SettingError, match=r"not a whole LlamaForCausalLM\. Weights that its files lack: 9 "):
        Scorer(str(tmp_path), dtype="float32")


def test_a_model_file_that_is_cut_off_is_refused(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "cut")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(SettingError, match=r"transformers says: .*header.*\. Give a folder"):
        load_weights(HfSettings(str(folder), dtype="float32"))


# The base model of an adapter.


def recorded(adapter: Path, folder: Path, base: dict, config: dict | None = None, **record) -> Path:
    changed(adapter, folder, **(config or {}))
    (folder / "training.json").write_text(json.dumps({"base": base, **record}))
    return folder


def test_the_recorded_digest_of_the_base_decides_wherever_it_is(tiny_folder, adapter_folder, tmp_path):
    from vlm2vla_sim.policies.models.adapter_base import describe_base

    base = describe_base(str(tiny_folder), load_weights(HfSettings(str(tiny_folder), dtype="float32")))
    assert len(base["digest"]) == len(base["config_digest"]) == 64
    folder = recorded(adapter_folder, tmp_path / "adapter", base, {"base_model_name_or_path": "/gone"})
    moved = shutil.copytree(tiny_folder, tmp_path / "moved")
    assert load(moved, folder).base_checked == "digest"
    other = save_random_model(tmp_path / "other", seed=1)
    with pytest.raises(SettingError, match=r"other' has other weights \(digest \w{12}, not \w{12}\), according to"):
        load(other, folder)
    config = json.loads((moved / "config.json").read_text())
    config["text_config"]["rope_scaling"] = None
    config["text_config"]["sliding_window"] = 99
    (moved / "config.json").write_text(json.dumps(config))
    with pytest.raises(SettingError, match=r"has the same weights, but another config\.json"):
        load(moved, folder)


def test_an_adapter_of_an_earlier_version_is_compared_by_its_fingerprint(tiny_folder, adapter_folder, tmp_path):
    import transformers

    from vlm2vla_sim.policies.models.adapter_base import fingerprint

    base = {"name": "base", "fingerprint": fingerprint(load_weights(HfSettings(str(tiny_folder), dtype="float32")))}
    how = {"settings": {"dtype": "float32"}, "versions": {"transformers": transformers.__version__}}
    folder = recorded(adapter_folder, tmp_path / "adapter", base, **how)
    assert load(tiny_folder, folder).base_checked == "fingerprint"
    other = save_random_model(tmp_path / "other", seed=1)
    with pytest.raises(SettingError, match="has other weights"):
        load(other, folder)
    half = load_weights(HfSettings(str(tiny_folder), dtype="bfloat16"))
    assert load_adapter(half, str(folder), base=str(tiny_folder)).base_checked == "name", "rounded: not comparable"


def test_without_a_digest_names_and_configs_are_compared(tiny_folder, adapter_folder, tmp_path):
    import dataclasses

    from vlm2vla_sim.policies.models.random_model import TINY

    assert load(tiny_folder, adapter_folder).base_checked == "name"
    like = save_random_model(tmp_path / "like", seed=1)
    with pytest.raises(
        SettingError, match=r"like' has other weights \(digest \w{12}, not \w{12}\)\. .*base_model_name"
    ):
        load(like, adapter_folder)
    assert load(shutil.copytree(tiny_folder, tmp_path / "copy"), adapter_folder).base_checked == "digest"
    config_only = tmp_path / "config_only"
    config_only.mkdir()
    shutil.copy(tiny_folder / "config.json", config_only)
    deleted = changed(adapter_folder, tmp_path / "deleted", base_model_name_or_path=str(config_only))
    assert load(like, deleted).base_checked == "config"
    unknown = changed(adapter_folder, tmp_path / "a", base_model_name_or_path="somebody/gone")
    assert load(like, unknown).base_checked == "shapes"
    longer = save_random_model(tmp_path / "longer", dataclasses.replace(TINY, vocabulary=4096))
    with pytest.raises(SettingError, match=r"which is not like '.*longer': vocab_size 2048, not 4096"):
        load(longer, adapter_folder)


def test_a_record_that_is_broken_is_refused(tiny_folder, adapter_folder, tmp_path):
    folder = changed(adapter_folder, tmp_path / "a")
    (folder / "training.json").write_text('{"base": {"dig')
    with pytest.raises(SettingError, match=r"training\.json cannot be read"):
        load(tiny_folder, folder)


def test_a_checkpoint_of_another_shape_is_not_continued(tiny_folder, adapter_folder, part):
    tuned = load(tiny_folder, adapter_folder).model
    before = {name: value.clone() for name, value in tuned.named_parameters()}
    with pytest.raises(SettingError, match=FITS):
        load_checkpoint(tuned, part)
    assert all(torch.equal(before[name], value) for name, value in tuned.named_parameters()), "nothing is half loaded"
    load_checkpoint(tuned, adapter_folder)
