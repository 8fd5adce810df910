"""`vlm2vla export --for vllm`: names of weights change, nothing else does; what vLLM cannot serve is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from vlm_lane import make_adapter, need_vlm

need_vlm()

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.language.formats import FORMATS, get_format  # noqa: E402
from vlm2vla_sim.language.prompts import action_prompt, plan_prompt, subtasks_prompt  # noqa: E402
from vlm2vla_sim.policies.mini import WEIGHTS  # noqa: E402
from vlm2vla_sim.policies.models.adapter_base import check_base, describe_base  # noqa: E402
from vlm2vla_sim.policies.models.digests import weights_digest  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import HfSettings, load_processor, load_weights  # noqa: E402
from vlm2vla_sim.policies.models.vllm_export import export_for_vllm  # noqa: E402


def same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def long_name(name: str) -> str:
    """The name in Google's checkpoints, which are those that vLLM reads."""
    return name.replace("vision_tower.", "vision_tower.vision_model.", 1) if name.startswith("vision_tower.") else name


@pytest.fixture(scope="module")
def exported(tiny_folder, tmp_path_factory) -> Path:
    made = export_for_vllm(tiny_folder, tmp_path_factory.mktemp("export") / "out")
    assert made.written
    assert made.renamed > 0
    return made.folder


def test_every_weight_has_its_bytes_under_the_name_that_vllm_reads(tiny_folder, exported):
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_folder, exported))
    assert sorted(after) == sorted(map(long_name, before))
    assert any(name.startswith("vision_tower.vision_model.embeddings.") for name in after)
    assert all(same_bytes(weight, after[long_name(name)]) for name, weight in before.items())
    copied = {path.name for path in tiny_folder.iterdir()} - {"model.safetensors"}
    assert all((tiny_folder / name).read_bytes() == (exported / name).read_bytes() for name in copied)
    record = json.loads((exported / "export.json").read_text())
    assert record["digest"] == weights_digest(exported)
    assert record["source"]["digest"] == weights_digest(tiny_folder)


def test_transformers_loads_the_same_model_from_it(tiny_folder, exported):
    """An adapter of the model that was exported belongs to the export as well, and to no other weights."""
    before, after = (load_weights(HfSettings(str(folder))) for folder in (tiny_folder, exported))
    assert all(same_bytes(weight, after.state_dict()[name]) for name, weight in before.state_dict().items())
    assert load_processor(str(exported)).tokenizer.get_vocab() == load_processor(str(tiny_folder)).tokenizer.get_vocab()


def test_an_adapter_of_the_original_belongs_to_the_export(tiny_folder, adapter_folder, exported, tmp_path):
    model = load_weights(HfSettings(str(exported)))
    adapter = shutil.copytree(adapter_folder, tmp_path / "adapter")
    record = {"base": describe_base(str(tiny_folder), model)}
    (adapter / "training.json").write_text(json.dumps(record))
    assert check_base(adapter, str(exported), model) == "digest"
    changed = shutil.copytree(exported, tmp_path / "changed")
    weights = load_file(changed / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, changed / "model.safetensors", {"format": "pt"})
    with pytest.raises(SettingError, match="other weights"):
        check_base(adapter, str(changed), model)


def test_shards_keep_their_files_their_dtype_and_their_index(tiny_folder, tmp_path):
    sharded = tmp_path / "sharded"
    model = load_weights(HfSettings(str(tiny_folder), dtype="bfloat16"))
    model.save_pretrained(sharded, max_shard_size="400KB")
    shutil.copy(tiny_folder / "tokenizer.json", sharded)
    (sharded / "pytorch_model.bin").write_bytes(b"a pickle")
    (sharded / "checkpoint-1").mkdir()
    made = export_for_vllm(sharded, tmp_path / "out")
    index = {
        where: json.loads((where / "model.safetensors.index.json").read_text()) for where in (sharded, made.folder)
    }
    assert index[made.folder]["metadata"] == index[sharded]["metadata"]
    places = index[sharded]["weight_map"]
    assert len(set(places.values())) > 1
    assert index[made.folder]["weight_map"] == {long_name(name): place for name, place in places.items()}
    for place in set(places.values()):
        before, after = load_file(sharded / place), load_file(made.folder / place)
        assert {weight.dtype for weight in after.values()} == {torch.bfloat16}
        assert [(long_name(n), w.tolist()) for n, w in before.items()] == [(n, w.tolist()) for n, w in after.items()]
    assert not (made.folder / "pytorch_model.bin").exists()
    assert json.loads((made.folder / "export.json").read_text())["digest"] == weights_digest(made.folder)


def test_a_tokenizer_without_runs_of_newlines_gets_them_and_no_text_has_other_tokens(tmp_path):
    made = export_for_vllm(WEIGHTS / "base", tmp_path / "out")
    assert made.tokens == ("\n\n", "\n\n\n", "\n\n\n\n")
    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (WEIGHTS / "base", made.folder))
    added = {token: after.get_vocab()[token] for token in made.tokens}
    assert after.get_vocab() == before.get_vocab() | added
    assert sorted(added.values()) == [len(before), len(before) + 1, len(before) + 2]
    texts = [
        subtasks_prompt("put carrot on plate"),
        plan_prompt("grasp it"),
        "a\n\nb",
        *("\n" * k for k in range(1, 9)),
    ]
    for name in FORMATS:
        action_format = get_format(name, symbols=tuple("zqxjkvbpyg") if name == "tokens" else None)
        texts.append(action_prompt("grasp the carrot", "move down", action_format))
    texts += [f"<start_of_turn>user\n\n\n<start_of_image>\n\n{text}<end_of_turn>\n" for text in texts]
    assert [after(text)["input_ids"] for text in texts] == [before(text)["input_ids"] for text in texts]


def test_what_vllm_takes_as_it_is_is_not_written_again(exported, adapter_folder, tmp_path, capsys):
    for folder, rank in ((exported, None), (adapter_folder, 8), (WEIGHTS / "adapter", 16)):
        assert main(["export", str(folder), "--for", "vllm", "--out", str(tmp_path / "out"), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["folder"], said["written"], said["max_lora_rank"]) == (str(folder), False, rank)
    assert not (tmp_path / "out").exists()


def broken(tiny_folder: Path, folder: Path, **changes) -> Path:
    """A copy of the model with `changes` in its config."""
    shutil.copytree(tiny_folder, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def without(name: str):
    return lambda folder: (folder / name).unlink()


def cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def unigram(folder: Path) -> None:
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text())
    described["model"] = {"type": "Unigram", "vocab": [["\n", 0.0]], "unk_id": 0}
    described["added_tokens"] = []
    path.write_text(json.dumps(described))


def full(folder: Path) -> None:
    """No row of the embedding is free for a token that is missing."""
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] != "\n\n"]
    described["model"]["vocab"]["the last"] = 2047
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("spoil", "changes", "said"),
    [
        (without("model.safetensors"), {}, "has no model.safetensors"),
        (cut_off, {}, "is not a whole safetensors file"),
        (without("tokenizer.json"), {}, "has no tokenizer.json"),
        (unigram, {}, "no token for 2 newlines.* a Unigram tokenizer"),
        (full, {}, "2048 rows, so that there is no room"),
        (lambda _: None, {"architectures": ["LlavaForConditionalGeneration"]}, "only the names of Gemma3"),
        (lambda _: None, {"quantization_config": {"bits": 4}}, "are quantized"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_and_nothing_is_written(tiny_folder, tmp_path, spoil, changes, said):
    folder = broken(tiny_folder, tmp_path / "model", **changes)
    spoil(folder)
    with pytest.raises(SettingError, match=said):
        export_for_vllm(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_is_not_empty_is_left_alone(tiny_folder, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["export", str(tiny_folder), "--for", "vllm", "--out", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modules_to_save": ["multi_modal_projector"]}, "whole layers as well.*multi_modal_projector"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "holds biases"),
        ({"init_lora_weights": "pissa"}, "changes the base model"),
        ({"peft_type": "LOHA"}, "its type is LOHA"),
    ],
)
def test_an_adapter_that_vllm_refuses_is_refused_with_what_to_do_instead(adapter_folder, tmp_path, change, said):
    adapter = shutil.copytree(adapter_folder, tmp_path / "adapter")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SettingError, match=f"{said}.*serve-model --adapter.*merge_and_unload"):
        export_for_vllm(adapter, tmp_path / "out")


def test_an_adapter_that_vllm_would_apply_in_part_is_refused(tiny_folder, adapter_folder, tmp_path):
    also_vision = make_adapter(tiny_folder, tmp_path / "vision", scale=0.1)
    weights = load_file(also_vision / "adapter_model.safetensors")
    place = "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj.lora_A.weight"
    save_file(weights | {place: torch.zeros(4, 32)}, also_vision / "adapter_model.safetensors")
    with pytest.raises(SettingError, match=r"1 \(.*vision_tower.*\) of its 43 weights are not .* leave them out"):
        export_for_vllm(also_vision, tmp_path / "out")
    large = {name: torch.zeros(600, 600) for name in weights}
    save_file(large, also_vision / "adapter_model.safetensors")
    with pytest.raises(SettingError, match="its rank is 600, and --max-lora-rank is at most 512"):
        export_for_vllm(also_vision, tmp_path / "out")
