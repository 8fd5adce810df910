"""Digests say which weights were used: equal for equal files wherever they are, different for any other."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.models.digests import config_digest, processor_digest, weights_digest
from vlm2vla_sim.policies.models.hub import local_folder


def model(folder, weights: bytes = b"weights", **config):
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text(json.dumps({"hidden_size": 8, **config}))
    return folder


def test_the_digest_of_one_file_is_what_sha256sum_prints(tmp_path):
    assert weights_digest(model(tmp_path / "a")) == hashlib.sha256(b"weights").hexdigest()
    assert weights_digest(model(tmp_path / "b")) == weights_digest(tmp_path / "a"), "a moved copy is the same"
    assert weights_digest(model(tmp_path / "c", b"other")) != weights_digest(tmp_path / "a")


def test_shards_are_digested_together_each_by_its_name(tmp_path):
    for name, swapped in (("a", False), ("b", True)):
        folder = tmp_path / name
        folder.mkdir()
        shards = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"x": shards[0], "y": shards[1]}})
        )
        for shard, content in zip(shards, (b"2", b"1") if swapped else (b"1", b"2"), strict=True):
            (folder / shard).write_bytes(content)
    lines = "".join(f"{hashlib.sha256(b).hexdigest()}  {s}\n" for s, b in zip(shards, (b"1", b"2"), strict=True))
    assert weights_digest(tmp_path / "a") == hashlib.sha256(lines.encode()).hexdigest()
    assert weights_digest(tmp_path / "b") != weights_digest(tmp_path / "a")
    (tmp_path / "a" / shards[1]).unlink()
    assert weights_digest(tmp_path / "a") is None, "half of a model has no digest"


def test_a_file_that_was_replaced_under_its_path_is_read_again(tmp_path):
    folder = model(tmp_path / "a")
    before = weights_digest(folder)
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert weights_digest(folder) == hashlib.sha256(b"WEIGHTS").hexdigest() != before


def test_in_a_hub_cache_the_name_of_the_blob_is_the_digest(tmp_path):
    digest = hashlib.sha256(b"large").hexdigest()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / digest).write_bytes(b"not read")
    snapshot = tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(tmp_path / "blobs" / digest)
    assert weights_digest(snapshot) == digest


def test_the_config_counts_but_not_who_wrote_it(tmp_path):
    first = config_digest(model(tmp_path / "a", transformers_version="4.49", text={"_name_or_path": "x", "layers": 2}))
    same = config_digest(model(tmp_path / "b", text={"layers": 2, "_name_or_path": "y"}, transformers_version="5.23"))
    other = config_digest(model(tmp_path / "c", text={"layers": 3}))
    assert first == same != other


def test_an_adapters_scale_is_part_of_its_config_digest(tmp_path):
    digests = []
    for name, values in (
        ("a", {"lora_alpha": 8, "base_model_name_or_path": "here"}),
        ("b", {"lora_alpha": 8, "base_model_name_or_path": "there", "peft_version": "0.21"}),
        ("c", {"lora_alpha": 16}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(values))
        (tmp_path / name / "adapter_model.safetensors").write_bytes(b"lora")
        digests.append(config_digest(tmp_path / name))
        assert weights_digest(tmp_path / name) == hashlib.sha256(b"lora").hexdigest()
    assert digests[0] == digests[1] != digests[2]


def test_the_chat_template_is_part_of_the_processors_digest_and_a_readme_is_not(tmp_path):
    folder = model(tmp_path / "a")
    assert processor_digest(folder) is None
    (folder / "chat_template.jinja").write_text("{{ one }}")
    one = processor_digest(folder)
    (folder / "README.md").write_text("hello")
    assert processor_digest(folder) == one
    (folder / "chat_template.jinja").write_text("{{ another }}")
    assert processor_digest(folder) not in (None, one)


def test_what_is_not_known_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert local_folder(str(tmp_path / "nothing")) is None
    assert weights_digest(None) is None
    assert config_digest(None) is None
    assert weights_digest(tmp_path) is None
    assert config_digest(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_cannot_be_read_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SettingError, match=r"config\.json .*again\."):
        config_digest(tmp_path)
