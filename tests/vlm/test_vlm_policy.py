"""`evaluate --policy vlm --model … --adapter …`, with a tiny random model: everything but the sense."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from vlm_lane import need_vlm

need_vlm()

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.evaluation.settings import RunSettings  # noqa: E402
from vlm2vla_sim.evaluation.setup import find_format  # noqa: E402
from vlm2vla_sim.evaluation.suite import check_settings  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies import PolicyContext, load_policy  # noqa: E402
from vlm2vla_sim.policies.models.action_symbols import find_symbols, read_symbols, save_symbols  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.spec import PolicySpec  # noqa: E402


def evaluate(folder, *more: str) -> int:
    words = ["evaluate", "--policy", "vlm", "--backend", "point", "--tasks", "carrot_on_plate", "--episodes", "2"]
    return main([*words, "--image-size", "32", "32", "--no-video", "--out", str(folder), *more])


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("sampling", ["greedy", "paper"])
def test_a_run_with_model_and_adapter_leaves_every_stages_words_tokens_and_seconds(
    ending_folder, ending_adapter, tmp_path, sampling
):
    options = ["--policy-options", f"sampling={sampling}", "verifier=base", "dtype=float32"]
    out = tmp_path / "run"
    assert evaluate(out, "--model", str(ending_folder), "--adapter", str(ending_adapter), *options) == 0
    settings = json.loads((out / "settings.json").read_text())
    assert settings["policy_options"]["adapter"] == str(ending_adapter)
    results = lines(out)
    assert [result["outcome"] for result in results] == ["failure", "failure"]
    stages = [stage for result in results for decision in result["decisions"] for stage in decision["stages"]]
    assert not any(stage["error"] for stage in stages if stage["name"] == "action"), "the grammar was on"
    # Greedily, a random model says nothing, or repeats one word until it is cut off.
    expected = {"subtasks", "plan", "action"} if sampling == "paper" else {"subtasks"}
    assert expected <= {stage["name"] for stage in stages}
    assert all({"text", "tokens", "seconds", "error"} <= stage.keys() for stage in stages)
    assert all(stage["tokens"] > 0 for stage in stages if stage["text"])
    assert {stage["finish"] for stage in stages} <= {"stop", "length"}
    assert all(stage["error"].startswith("The answer was cut off") for stage in stages if stage["finish"] == "length")
    assert sum(result["truncations"] for result in results) == sum(stage["finish"] == "length" for stage in stages)


def test_without_reasoning_and_constraint_every_unreadable_answer_is_counted(tiny_folder, tmp_path):
    options = [
        "--policy-options",
        "reasoning=false",
        "constrained=false",
        "resample=1",
        "free_tokens=16",
        "dtype=float32",
    ]
    assert evaluate(tmp_path / "run", "--model", str(tiny_folder), *options) == 0
    for result in lines(tmp_path / "run"):
        assert result["parse_failures"] == sum(d["parse_failures"] for d in result["decisions"]) > 0
        for decision in result["decisions"]:
            unread = [s for s in decision["stages"] if s["error"]]
            assert decision["parse_failures"] == len(unread)
            assert [s["name"] for s in decision["stages"]] == ["action"] * len(decision["stages"])


def test_the_format_tokens_takes_its_symbols_from_the_adapters_folder(tiny_folder, adapter_folder, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes((adapter_folder / name).read_bytes())
    given = ["--model", str(tiny_folder), "--adapter", str(folder), "--format", "tokens"]
    given += ["--policy-options", "reasoning=false", "dtype=float32"]
    assert evaluate(tmp_path / "without", *given) == 1
    model = HfModel(HfSettings(str(tiny_folder), dtype="float32"))
    symbols = find_symbols(model)
    assert len(set(symbols)) == 10
    save_symbols(symbols, folder)
    assert read_symbols(str(folder)) == symbols
    assert evaluate(tmp_path / "with", *given) == 0
    full = PolicySpec("vlm", action_format="tokens", options={"model": str(folder)})  # all its weights were trained
    tuned = find_format(full)
    assert tuned == get_format("tokens", symbols=symbols)
    grammar = tuned.grammar()
    said = [decision["action"] for result in lines(tmp_path / "with") for decision in result["decisions"]]
    assert said
    assert all(re.fullmatch(grammar.regex, text) for text in said)


def test_the_ten_symbols_are_less_likely_than_nearly_all_tokens(tiny_folder):
    from vlm2vla_sim.policies.models.action_symbols import _default_questions

    model = HfModel(HfSettings(str(tiny_folder), dtype="float32"))
    scores = sum(model.first_scores(question) for question in _default_questions())
    known = len(model.processor.tokenizer)
    for symbol in find_symbols(model):
        (token,) = model.processor.tokenizer(symbol, add_special_tokens=False)["input_ids"]
        assert (scores[:known] < scores[token]).mean() < 0.25, (
            "tokens that are only a part of something are passed over"
        )


def test_it_means_what_it_says_in_every_format_and_follows_its_seed(tiny_folder):
    """What tests/test_policy_contract.py holds the other policies to."""
    for name in ("vlm2vla", "prose", "integers"):
        options = {"model": str(tiny_folder), "dtype": "float32", "reasoning": False}
        policy = load_policy("vlm", PolicyContext("carrot_on_plate", 60, get_format(name), options=options))
        said = []
        for seed in (5, 5, 6):
            policy.reset("put carrot on plate", seed)
            decision = policy.act({"pixels": {"primary": np.full((48, 64, 3), 90, np.uint8)}})
            np.testing.assert_array_equal(decision.chunk.deltas, get_format(name).read(decision.action).deltas)
            said.append(decision.action)
        assert said[0] == said[1] != said[2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs a model"),
        ({"model": "m", "sampling": "hot"}, "No sampling named 'hot'"),
        ({"model": "m", "verifier": "me"}, "No verifier named 'me'"),
        ({"model": "m", "verifier": "server"}, "verifier_server"),
        ({"model": "m", "max_attempts": "many"}, "expected a int"),
        ({"model": "m", "adaptor": "x"}, "Did you mean 'adapter'"),
    ],
)
def test_options_that_make_no_sense_are_told_before_the_run_starts(options, said):
    with pytest.raises(ValueError, match=said):
        check_settings(RunSettings(policy="vlm", policy_options=options))


def test_a_policy_without_options_refuses_them():
    with pytest.raises(ValueError, match="takes none"):
        check_settings(RunSettings(policy="hold", policy_options={"model": "m"}))


def test_without_an_adapter_the_format_tokens_says_where_its_symbols_come_from():
    with pytest.raises(SettingError, match="--adapter"):
        check_settings(RunSettings(policy="vlm", action_format="tokens", policy_options={"model": "m"}))
