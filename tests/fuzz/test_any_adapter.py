"""Adapters with random changes: loaded exactly as they are in the file, or refused in a sentence.

What has to happen is decided here a second time, from the names alone: an adapter is complete if its keys, by any name
that peft and transformers know, are the two weights of every layer that its config targets, once each, of the right
shape and made of finite numbers.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fuzz_lane import cases
from hypothesis import given
from hypothesis import strategies as st
from lane import need

need("vlm", "torch", "transformers", "peft", "safetensors")

import torch  # noqa: E402
from safetensors.torch import load_file, save  # noqa: E402

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.policies.models.hf_adapter import load_adapter, peft_reads_old_attribute  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import HfSettings, load_weights  # noqa: E402
from vlm2vla_sim.policies.models.memory_estimate import LORA_TARGETS  # noqa: E402
from vlm2vla_sim.policies.models.random_model import Size, save_random_model  # noqa: E402

SIZE = Size(
    layers=2, hidden=16, heads=2, feed_forward=32, vision_layers=1, vision_hidden=16, image_side=28, image_tokens=4,
    vocabulary=2048,
)  # fmt: skip
SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PREFIX = "base_model.model."
RANK = 4

counted: Counter[str] = Counter()
"""How many cases ended which way."""


class World:
    """The model, its linear layers and an adapter for it with 28 weights."""

    def __init__(self, folder: Path) -> None:
        from peft import LoraConfig, get_peft_model

        self.folder = save_random_model(folder / "model", SIZE)
        self.model = load_weights(HfSettings(str(self.folder), dtype="float32"))
        linear = {n: m for n, m in self.model.named_modules() if isinstance(m, torch.nn.Linear)}
        self.layers = {name: (module.in_features, module.out_features) for name, module in linear.items()}
        with peft_reads_old_attribute():
            tuned = get_peft_model(copy.deepcopy(self.model), LoraConfig(r=RANK, target_modules=LORA_TARGETS))
        tuned.save_pretrained(folder / "adapter")
        torch.manual_seed(3)
        saved = load_file(folder / "adapter" / "adapter_model.safetensors")
        self.weights = {name: torch.randn(value.shape) for name, value in saved.items()}
        self.config: dict[str, Any] = json.loads((folder / "adapter" / "adapter_config.json").read_text())
        self.broken = folder / "changed"
        self.broken.mkdir()
        assert len(self.weights) == 28


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    torch.set_num_threads(1)
    return World(tmp_path_factory.mktemp("adapters"))


# Changes: each is drawn as (name, values) and applied to weights, config and file.

SOME = st.integers(1, 2**28 - 1)
"""A set of keys, as the bits of a number; keys are sorted."""
CHANGES = st.one_of(
    st.tuples(st.just("names"), st.sampled_from(["transformers 4", "in memory", "no prefix"])),
    st.tuples(
        st.just("rename"),
        st.sampled_from(
            [(".mlp.", ".feed_forward."), ("self_attn", "attention"), ("gate_proj", "w1"), ("q_proj", "k_proj"),
             ("layers.1.", "layers.2."), ("layers.0.", "layers.00."), ("lora_A", "lora_a"), ("lora_B", "lora_A"),
             ("model.language_model", "model"), ("language_model", "text_model"), ("base_model", "module.base_model"),
             ("lora_A.weight", "lora_A.other.weight"), ("language_model.layers", "vision_tower.encoder.layers")]
        ),
        SOME,
    ),
    st.tuples(st.just("omit"), SOME),
    st.tuples(st.just("keep"), st.sampled_from(["q_proj", "self_attn", "layers.0.", "lora_B", "language_model"])),
    st.tuples(st.just("repeat"), st.sampled_from(["transformers 4", "in memory"]), SOME),
    st.tuples(
        st.just("add"),
        st.sampled_from(
            ["layers.9.mlp.up_proj.lora_A.weight", "lm_head.lora_A.weight", "embed_tokens.weight", "note", "norm"]
        ),
    ),
    st.tuples(st.just("shape"), st.sampled_from(["turn", "cut", "pad", "flat", "empty"]), SOME),
    st.tuples(
        st.just("dtype"), st.sampled_from(["float16", "bfloat16", "float64", "int8", "int64", "bool"]), SOME
    ),
    st.tuples(st.just("number"), st.sampled_from([float("nan"), float("inf"), 1e300, 0.0, -2.5]), SOME),
    st.tuples(st.just("length"), st.floats(0, 0.999)),
    st.tuples(
        st.just("config"),
        st.sampled_from(
            [{"r": 8}, {"r": 2}, {"lora_alpha": 3}, {"rank_pattern": {"up_proj": 8}}, {"use_rslora": True},
             {"target_modules": list(SEVEN)}, {"target_modules": ["q_proj"]}, {"target_modules": ["w1"]},
             {"target_modules": r".*language_model.*\.q_proj"}, {"target_modules": r".*layers\.0\..*self_attn.*_proj"},
             {"target_modules": r".*language_model\.layers\.0\..*_proj"}, {"exclude_modules": ["up_proj"]},
             {"target_modules": "all-linear"}, {"use_dora": True}, {"bias": "all"}, {"bias": "lora_only"},
             {"modules_to_save": ["embed_tokens"]}, {"sorcery": 1}, {"sorcery": None}, {"peft_type": "LOHA"},
             {"peft_type": "PROMPT_TUNING"}, {"peft_type": None}, {"layer_replication": [[0, 1]]},
             {"init_lora_weights": "pissa"}, {"init_lora_weights": "gaussian"}, {"lora_dropout": 0.5},
             {"base_model_name_or_path": "somebody/else"}, {"alpha_pattern": {"up_proj": 4}}]
        ),
    ),
)  # fmt: skip


HARMLESS = st.one_of(
    st.tuples(st.just("names"), st.sampled_from(["transformers 4", "in memory", "no prefix"])),
    st.tuples(st.just("dtype"), st.sampled_from(["float16", "bfloat16", "float64"]), SOME),
    st.tuples(st.just("number"), st.sampled_from([0.0, -2.5]), SOME),
    st.tuples(st.just("config"), st.sampled_from([{"lora_alpha": 3}, {"use_rslora": True}, {"sorcery": None}])),
)
"""Those of the changes that leave an adapter complete, so that many of the cases are."""


def chosen(weights: dict[str, torch.Tensor], bits: int) -> list[str]:
    return [name for k, name in enumerate(sorted(weights)) if bits >> (k % 28) & 1]


def by_other_name(name: str, kind: str) -> str:
    if kind == "transformers 4":
        return name.replace("model.language_model.layers", "language_model.model.layers")
    if kind == "in memory":
        return re.sub(r"(?<!\.default)\.weight$", ".default.weight", name)
    return name.removeprefix(PREFIX)


def reshaped(value: torch.Tensor, how: str) -> torch.Tensor:
    if how == "turn":
        return value.T if value.ndim == 2 else value
    if how == "cut":
        return value[1:]
    if how == "pad":
        return torch.cat([value, value[:1]])
    return value.flatten() if how == "flat" else value[:0]


def apply(change: tuple, weights: dict[str, torch.Tensor], config: dict[str, Any]) -> dict[str, torch.Tensor]:
    kind, *values = change
    if kind == "names":
        return {by_other_name(name, values[0]): value for name, value in weights.items()}
    if kind == "rename":
        (old, new), names = values[0], chosen(weights, values[1])
        return {name.replace(old, new, 1) if name in names else name: value for name, value in weights.items()}
    if kind == "omit":
        return {name: value for name, value in weights.items() if name not in chosen(weights, values[0])}
    if kind == "keep":
        return {name: value for name, value in weights.items() if values[0] in name}
    if kind == "repeat":
        return {by_other_name(name, values[0]): weights[name] + 1 for name in chosen(weights, values[1])} | weights
    if kind == "add":
        return weights | {f"{PREFIX}model.language_model.{values[0]}": torch.ones(4, 16)}
    if kind == "config":
        config.update(values[0])
        return weights
    if kind == "length":
        return weights
    change_one = {
        "shape": lambda value: reshaped(value, values[0]),
        "dtype": lambda value: value.to(getattr(torch, values[0])),
        "number": lambda value: value.double() * 0 + values[0] if values[0] == 1e300 else value * 0 + values[0],
    }[kind]
    names = chosen(weights, values[1])
    return {name: change_one(value) if name in names else value for name, value in weights.items()}


# What has to happen.


def place_of(name: str) -> str:
    """The name of a weight in the model, whichever of the known names the file has for it."""
    name = name.removeprefix(PREFIX).replace("language_model.model.layers", "model.language_model.layers")
    return re.sub(r"\.default\.weight$", ".weight", name)


def targeted(world: World, config: dict[str, Any]) -> dict[str, tuple[tuple[int, int], int]]:
    """Layer -> (sizes, rank) of every layer that the config targets; empty for a config that cannot be used."""
    if config["peft_type"] != "LORA" or config.get("sorcery") or config["init_lora_weights"] == "pissa":
        return {}
    if config["use_dora"] or config["bias"] == "all" or config["modules_to_save"] or config["layer_replication"]:
        return {}  # each needs weights that no change here adds
    wanted, without = config["target_modules"], config["exclude_modules"] or ()
    found = {}
    for name, sizes in world.layers.items():
        if isinstance(wanted, str):
            hit = name != "lm_head" if wanted == "all-linear" else re.fullmatch(wanted, name) is not None
        else:
            hit = name.rpartition(".")[2] in wanted
        if hit and name.rpartition(".")[2] not in without:
            rank = next((r for end, r in config["rank_pattern"].items() if name.endswith(end)), config["r"])
            found[name] = (sizes, rank)
    if config["bias"] == "lora_only" and any("vision_tower" in name for name in found):
        return {}  # the language model's layers have no bias
    patterns = (*config["rank_pattern"], *config["alpha_pattern"])
    return found if all(any(name.endswith(end) for name in found) for end in patterns) else {}


def complete(world: World, weights: dict[str, torch.Tensor], config: dict[str, Any]) -> bool:
    expected = {}
    for layer, ((inner, outer), rank) in targeted(world, config).items():
        expected[f"{layer}.lora_A.weight"] = (rank, inner)
        expected[f"{layer}.lora_B.weight"] = (outer, rank)
    places = [place_of(name) for name in weights]
    return (
        bool(expected)
        and len(set(places)) == len(places)
        and {place: tuple(value.shape) for place, value in zip(places, weights.values(), strict=True)} == expected
        and all(v.is_floating_point() and bool(v.float().isfinite().all()) for v in weights.values())
    )


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # of merging, which is not done here
@given(st.one_of(st.lists(CHANGES, max_size=3), st.lists(HARMLESS, max_size=3)))
@cases(500)
def test_an_adapter_is_loaded_as_it_is_in_the_file_or_refused(world, changes):
    weights, config = dict(world.weights), dict(world.config)
    share = 1.0
    for change in changes:
        weights = apply(change, weights, config)
        share = min(share, change[1]) if change[0] == "length" else share
    data = save({name: value.contiguous() for name, value in weights.items()})
    data = data[: int(share * len(data))]
    (world.broken / "adapter_model.safetensors").write_bytes(data)
    (world.broken / "adapter_config.json").write_text(json.dumps(config))
    right = share == 1 and complete(world, weights, config)
    loaded, refusal = None, ""
    try:
        loaded = load_adapter(copy.deepcopy(world.model), str(world.broken), base=str(world.folder))
    except SettingError as error:
        refusal = str(error)
    counted["refused" if loaded is None else "loaded"] += 1
    if loaded is None:
        assert not right, f"complete, and refused: {refusal}"
        assert re.fullmatch(r"[A-Z/].{30,}[.)]", refusal, re.DOTALL), f"not a sentence: {refusal}"
        return
    assert right, "accepted, but not complete"
    held = {place_of(n): v for n, v in loaded.model.named_parameters() if "default" in n.split(".")}
    given_here = {place_of(name): value.float() for name, value in weights.items()}
    assert held.keys() == given_here.keys()
    assert loaded.keys == len(weights)
    for name, value in given_here.items():
        assert torch.equal(held[name], value), name


def test_both_ends_were_reached_many_times():
    """So that the test above tests something."""
    assert counted["loaded"] > 40, counted
    assert counted["refused"] > 100, counted
