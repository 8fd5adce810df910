"""The model in this process says the same whichever way it is decoded, and never what the grammar forbids."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from vlm_lane import make_adapter, need_vlm

need_vlm()

import torch  # noqa: E402

from vlm2vla_sim.errors import SettingError  # noqa: E402
from vlm2vla_sim.language.formats import FORMATS, get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.models.hf_decode import Optimizations  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import LoadedModel, loading_arguments  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.models.random_model import (  # noqa: E402
    TINY,
    make_random_model,
    make_tokenizer,
    save_random_model,
    size_config,
)
from vlm2vla_sim.policies.verifier import ANSWER_GRAMMAR  # noqa: E402

SYMBOLS = tuple("zqxjkvbpyg")
LONG = Sampling(max_tokens=120)


def format_called(name: str):
    return get_format(name, symbols=SYMBOLS if name == "tokens" else None)


@pytest.fixture(scope="module")
def fast(tiny_folder) -> HfModel:
    return HfModel(HfSettings(str(tiny_folder), dtype="float32"))


@pytest.fixture(scope="module")
def plain(tiny_folder) -> HfModel:
    """Three plain `generate` calls of transformers: what everything else has to equal."""
    return HfModel(HfSettings(str(tiny_folder), dtype="float32", fast=False))


@pytest.fixture(scope="module")
def adapted(tiny_folder, adapter_folder) -> HfModel:
    return HfModel(HfSettings(str(tiny_folder), str(adapter_folder), dtype="float32"))


@pytest.fixture(autouse=True)
def _forget(request):
    """No test profits from what another one left behind."""
    yield
    for name in {"fast", "adapted"} & set(request.fixturenames):
        model = request.getfixturevalue(name)
        model.decoder.clear()
        model.decoder.optimizations = Optimizations()
        model.decoder.counts = dataclasses.replace(type(model.decoder.counts)())


def cycle(before: np.ndarray, after: np.ndarray, name: str = "vlm2vla", subtask: str = "grasp it") -> list[Question]:
    """The questions of one cycle: plan, action, verdict."""
    start = f"The picture shows a robot arm. Its subtask: {subtask}\n"
    return [
        Question("plan", f"{start}How does it move?", (before,), sampling=Sampling(max_tokens=24)),
        Question(
            "action", f"{start}Write the motion.", (before,), grammar=format_called(name).grammar(), sampling=LONG
        ),
        Question("verify", f"Is it done? {subtask}", (before, after), grammar=ANSWER_GRAMMAR, sampling=LONG),
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_three_cycles_with_everything_reused_are_token_equal_to_plain_generate_calls(fast, plain, pictures, name):
    questions = [q for k in range(3) for q in cycle(pictures[k], pictures[k + 1], name)]
    assert [fast.tokens(q) for q in questions] == [plain.tokens(q) for q in questions]
    assert fast.decoder.counts.reused > 0
    assert fast.decoder.counts.forced > 0
    assert fast.decoder.counts.images == 4, "each picture goes through the vision tower once"


@pytest.mark.parametrize("trick", ["images", "prefix", "forced"])
def test_each_trick_alone_changes_no_token_either(fast, plain, pictures, trick):
    fast.decoder.optimizations = Optimizations(**{name: name == trick for name in ("images", "prefix", "forced")})
    questions = [q for k in range(2) for q in cycle(pictures[k], pictures[k + 1])]
    assert [fast.tokens(q) for q in questions] == [plain.tokens(q) for q in questions]
    counts = fast.decoder.counts
    assert (counts.reused > 0, counts.forced > 0) == (trick == "prefix", trick == "forced")


def test_what_is_said_depends_on_the_picture_so_that_a_stale_cache_would_be_noticed(plain, pictures):
    said = {tuple(plain.tokens(cycle(picture, picture)[0])) for picture in pictures}
    assert len(said) >= 4


@pytest.mark.parametrize("name", FORMATS)
def test_a_batch_of_unlike_questions_says_what_each_says_alone(fast, plain, pictures, name):
    questions = [
        q for k in range(3) for q in cycle(pictures[k], pictures[k + 1], name, subtask="grasp it " + "now " * 5 * k)
    ]
    alone = [fast.answer([q])[0].text for q in questions]
    fast.decoder.clear()
    assert [stage.text for stage in fast.answer(questions)] == alone
    assert [stage.text for stage in plain.answer(questions)] == alone


def test_stages_asked_in_batches_reuse_the_prefix_and_stay_equal_to_single(fast, plain, pictures):
    cycles = [cycle(pictures[k], pictures[k + 1], subtask="grasp it " + "now " * 5 * k) for k in range(3)]
    for stage in range(3):
        together = [stage.text for stage in fast.answer([c[stage] for c in cycles])]
        assert together == [plain.answer([c[stage]])[0].text for c in cycles]
    assert fast.decoder.counts.reused >= 3 * 2 * TINY.image_tokens


def test_a_batch_that_outgrows_the_sliding_window_is_still_equal_to_single(tmp_path, pictures):
    folder = save_random_model(tmp_path / "narrow", dataclasses.replace(TINY, sliding_window=60))
    fast, plain = (HfModel(HfSettings(str(folder), dtype="float32", fast=fast)) for fast in (True, False))
    questions = [
        Question("action", "Write it." + " now" * 9 * k, (pictures[k],), format_called("integers").grammar(), LONG)
        for k in range(3)
    ]
    for _ in range(2):
        assert [s.text for s in fast.answer(questions)] == [plain.answer([q])[0].text for q in questions]
    assert max(len(fast.tokens(q)) + len(fast.prompts.encode(q).ids) for q in questions) > 60


def test_the_prompt_is_the_same_in_tokens_as_the_processors_own(fast, pictures):
    for question in cycle(pictures[0], pictures[1]):
        made = fast.processor.apply_chat_template(
            fast.prompts.messages(question), tokenize=True, add_generation_prompt=True, return_dict=True
        )
        assert list(fast.prompts.encode(question).ids) == list(np.ravel(made["input_ids"]))


def test_the_adapter_off_is_the_base_model_and_on_it_is_not(adapted, fast, pictures):
    questions = cycle(pictures[0], pictures[1]) + cycle(pictures[1], pictures[2])
    base = [fast.tokens(question) for question in questions]
    on = [adapted.tokens(question) for question in questions]
    off = [adapted.tokens(dataclasses.replace(question, adapter=False)) for question in questions]
    assert off == base, "also right after the same question was asked with the adapter on"
    assert on != base
    assert [adapted.tokens(question) for question in questions] == on


def test_the_adapter_is_decoded_the_same_fast_and_plain(adapted, tiny_folder, adapter_folder, pictures):
    plain = HfModel(HfSettings(str(tiny_folder), str(adapter_folder), dtype="float32", fast=False))
    mixed = [dataclasses.replace(q, adapter=k % 2 == 0) for k, q in enumerate(cycle(pictures[0], pictures[1]) * 2)]
    assert [s.text for s in adapted.answer(mixed)] == [plain.answer([q])[0].text for q in mixed]


@pytest.mark.parametrize("name", FORMATS)
def test_under_the_grammar_every_sampled_answer_can_be_read(fast, pictures, name):
    action_format = format_called(name)
    hot = Sampling(temperature=1.5, max_tokens=2048)
    questions = [
        Question("action", "Write the motion.", (pictures[seed % 6],), action_format.grammar(), hot, seed)
        for seed in range(24)
    ]
    texts = [stage.text for stage in fast.answer(questions)]
    for text in texts:
        assert re.fullmatch(action_format.grammar().regex, text)
        action_format.read(text)
    assert len(set(texts)) > 12


def test_without_the_grammar_a_random_model_is_not_readable(fast, pictures):
    """So the test above tests something."""
    free = Question("action", "Write the motion.", (pictures[0],), sampling=Sampling(max_tokens=60))
    assert not re.fullmatch(format_called("vlm2vla").grammar().regex, fast.answer([free])[0].text)


def test_sampling_follows_its_seed_alone_and_in_a_batch(fast, pictures):
    def ask(seed: int) -> Question:
        how = Sampling(temperature=1.0, top_p=0.95, max_tokens=20)
        return Question("plan", "How does it move?", (pictures[0],), sampling=how, seed=seed)

    alone = [fast.answer([ask(seed)])[0].text for seed in (1, 2, 3, 1)]
    assert alone[0] == alone[3]
    assert len(set(alone)) == 3
    assert [stage.text for stage in fast.answer([ask(seed) for seed in (1, 2, 3, 1)])] == alone


def test_top_p_draws_only_from_the_likeliest(fast, pictures):
    greedy = Question("plan", "How does it move?", (pictures[0],), sampling=Sampling(max_tokens=10))
    narrow = dataclasses.replace(greedy, sampling=Sampling(temperature=1.0, top_p=1e-6, max_tokens=10), seed=7)
    assert fast.tokens(narrow) == fast.tokens(greedy)


def test_max_tokens_is_kept_also_where_the_grammar_forces_more(fast, plain, pictures):
    grammar = format_called("prose").grammar()
    for most in range(1, 9):
        question = Question("action", "Go.", (pictures[0],), grammar, Sampling(max_tokens=most))
        assert len(fast.tokens(question)) <= most
        assert fast.tokens(question) == plain.tokens(question)


def test_an_answer_says_which_stage_how_many_tokens_and_how_long(fast, pictures):
    (stage,) = fast.answer(cycle(pictures[0], pictures[1])[1:2])
    assert stage.name == "action"
    assert stage.tokens > 5
    assert stage.seconds > 0


def test_a_question_without_a_picture_is_answered_too(fast, plain):
    question = Question("vqa", "What is two plus two?", sampling=Sampling(max_tokens=8))
    assert fast.tokens(question) == plain.tokens(question)


@pytest.mark.parametrize("picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_a_picture_that_is_none_is_refused(fast, picture):
    with pytest.raises(SettingError, match="expected \\(height, width, 3\\) uint8"):
        fast.answer([Question("plan", "Go.", (picture,))])


def test_a_prompt_that_smuggles_in_an_image_mark_is_refused(fast, pictures):
    with pytest.raises(SettingError, match="<start_of_image>"):
        fast.answer([Question("plan", "see <start_of_image>", (pictures[0],))])


def test_an_untrained_adapter_is_refused_because_it_changes_nothing(tiny_folder, tmp_path):
    with pytest.raises(SettingError, match="does not change the scores"):
        HfModel(HfSettings(str(tiny_folder), str(make_adapter(tiny_folder, tmp_path, scale=0.0)), dtype="float32"))


def test_an_adapter_for_other_layers_is_refused(tiny_folder, adapter_folder, tmp_path):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((adapter_folder / name).read_bytes())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["no_such_layer"]}))
    with pytest.raises(SettingError, match="no_such_layer"):
        HfModel(HfSettings(str(tiny_folder), str(tmp_path), dtype="float32"))


def test_a_model_says_which_weights_it_has(adapted, fast, tiny_folder, adapter_folder):
    said = adapted.provenance()
    weights = hashlib.sha256((adapter_folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert said["adapter_digest"] == weights
    assert said["model_digest"] == hashlib.sha256((tiny_folder / "model.safetensors").read_bytes()).hexdigest()
    assert len(said["config_digest"]) == len(said["processor_digest"]) == len(said["adapter_config_digest"]) == 64
    alone = fast.provenance()
    assert alone["model_digest"] == said["model_digest"]
    assert not any("adapter" in key for key in alone)


def test_a_model_that_is_not_there_is_told_in_a_sentence(tmp_path):
    with pytest.raises(SettingError, match="is not a folder, and it cannot be a name on the hub"):
        HfModel(HfSettings(str(tmp_path / "nothing")))


def test_a_device_map_is_passed_through():
    assert loading_arguments(HfSettings("m", device_map="cuda:1"))["device_map"] == "cuda:1"


@pytest.mark.parametrize("wrong", [{"dtype": "float31"}, {"quantization": "3bit"}, {"max_batch": 0}, {"model": ""}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"\w"):
        HfSettings(**({"model": "m"} | wrong))


def test_half_precision_answers_under_the_grammar_too(tiny_folder, pictures):
    model = HfModel(HfSettings(str(tiny_folder), dtype="bfloat16"))
    assert next(model.model.parameters()).dtype == torch.bfloat16
    action_format = format_called("vlm2vla")
    question = Question("action", "Go.", (pictures[0],), action_format.grammar(), LONG)
    action_format.read(model.answer([question])[0].text)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler: apt-get install g++")
@pytest.mark.filterwarnings("default")  # the compiler warns about itself
def test_compiled_it_says_the_same(fast, tiny_folder, pictures):
    compiled = HfModel(HfSettings(str(tiny_folder), dtype="float32", compile=True))
    questions = cycle(pictures[0], pictures[1])
    assert [compiled.tokens(q) for q in questions] == [fast.tokens(q) for q in questions]


def test_a_model_in_memory_answers_like_the_same_one_from_a_folder(plain):
    """`save_random_model` writes what `make_random_model` makes."""
    tokenizer = make_tokenizer()
    made = LoadedModel(*make_random_model(size_config(TINY, tokenizer), tokenizer))
    model = HfModel(HfSettings("random weights"), loaded=made)
    question = Question("plan", "Describe the motion.", (np.full((48, 64, 3), 90, np.uint8),), sampling=LONG)
    assert model.tokens(question) == plain.tokens(question)
    assert model.provenance()["model"] == "random weights"
    assert model.provenance()["model_digest"] is None


@pytest.mark.parametrize("given", [{"dtype": "bfloat16"}, {"device_map": "auto"}, {"quantization": "8bit"}])
def test_settings_that_a_model_in_memory_cannot_honour_are_refused(given):
    with pytest.raises(SettingError, match=f"{next(iter(given))} is .* in memory already"):
        HfModel(HfSettings("random weights", **given), loaded=LoadedModel(None, None))
