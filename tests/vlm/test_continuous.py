"""Answers that are decoded together, whenever each joins and leaves, are those of each question alone."""

from __future__ import annotations

import dataclasses
import random
import threading
import time

import numpy as np
import pytest
from vlm_lane import make_adapter, need_vlm

need_vlm()

import torch  # noqa: E402

from vlm2vla_sim.errors import DecodingError, SettingError  # noqa: E402
from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.models.batcher import Batcher  # noqa: E402
from vlm2vla_sim.policies.models.gemma_text import supports  # noqa: E402
from vlm2vla_sim.policies.models.hf_batch import Row  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.models.hf_prompt import Prompt  # noqa: E402
from vlm2vla_sim.policies.models.key_values import KeyValues  # noqa: E402
from vlm2vla_sim.policies.models.next_token import NextToken  # noqa: E402
from vlm2vla_sim.policies.models.random_model import TINY, save_random_model  # noqa: E402
from vlm2vla_sim.policies.verifier import ANSWER_GRAMMAR  # noqa: E402


@pytest.fixture(scope="module")
def models(tiny_folder, adapter_folder) -> tuple[HfModel, HfModel]:
    """The model that decodes continuously, with three rows, and transformers' `generate`."""
    settings = HfSettings(str(tiny_folder), str(adapter_folder), dtype="float32", max_batch=3)
    return HfModel(settings), HfModel(dataclasses.replace(settings, fast=False))


def questions(pictures: list[np.ndarray], count: int = 18) -> list[Question]:
    """Unlike questions: of three stages, with and without grammar, image and adapter, greedy and sampled."""
    rng = random.Random(0)
    made = []
    for number in range(count):
        images = tuple(rng.sample(pictures, number % 3))
        stage = ("plan", "action", "verify")[number % 3]
        grammar = {"plan": None, "action": get_format("vlm2vla").grammar(), "verify": ANSWER_GRAMMAR}[stage]
        heat = 0.8 if number % 4 == 3 else 0.0
        how = Sampling(heat, 0.95 if heat else 1.0, rng.choice((3, 12, 40)))
        text = f"What now{' and then' * rng.randrange(6)}?"
        made.append(Question(stage, text, images, grammar, how, seed=number, adapter=number % 5 != 4))
    return made


def answer_joining_at_random(model: HfModel, asked: list[Question], seed: int) -> list[str]:
    """The answers where each question joins at a random step."""
    rng, waiting = random.Random(seed), list(enumerate(asked))
    rng.shuffle(waiting)
    begun = {}
    while waiting or not all(answer.done for answer in begun.values()):
        while waiting and rng.random() < 0.4:
            place, question = waiting.pop()
            begun[place] = model.begin(question)
        model.advance()
    return [begun[place].stage().text for place in range(len(asked))]


def test_answers_that_join_and_leave_at_random_are_those_of_each_question_alone(models, pictures):
    fast, plain = models
    asked = questions(pictures)
    alone = []
    for question in asked:
        fast.decoder.clear()
        alone.append(fast.answer([question])[0].text)
    greedy = [k for k, question in enumerate(asked) if not question.sampling.temperature]
    assert [alone[k] for k in greedy] == [plain.answer([asked[k]])[0].text for k in greedy]
    for seed in range(6):
        assert answer_joining_at_random(fast, asked, seed) == alone
    assert fast.decoder.counts.reused > 0
    assert len(set(alone)) > 9


@pytest.mark.parametrize("config", [{"use_dora": True}, {"use_rslora": True, "rank_pattern": {"q_proj": 2}}])
def test_any_adapter_is_computed_as_transformers_and_peft_compute_it(tiny_folder, tmp_path, pictures, config):
    settings = HfSettings(
        str(tiny_folder), str(make_adapter(tiny_folder, tmp_path, scale=0.5, **config)), dtype="float32"
    )
    fast, plain = HfModel(settings), HfModel(dataclasses.replace(settings, fast=False))
    assert fast.decoder is not None
    asked = [q for q in questions(pictures, 10) if not q.sampling.temperature]
    assert [stage.text for stage in fast.answer(asked)] == [plain.answer([q])[0].text for q in asked]


def test_grouped_heads_windows_and_both_rotary_embeddings_are_those_of_transformers(tmp_path, pictures):
    folder = save_random_model(tmp_path / "m", dataclasses.replace(TINY, sliding_window=24, layers=7, heads=4))
    fast, plain = (HfModel(HfSettings(str(folder), dtype="float32", fast=fast)) for fast in (True, False))
    config = fast.model.config.text_config
    assert set(config.layer_types) == {"full_attention", "sliding_attention"}
    assert config.num_key_value_heads < config.num_attention_heads
    asked = [q for q in questions(pictures, 10) if not q.sampling.temperature]
    assert answer_joining_at_random(fast, asked, 1) == [plain.answer([q])[0].text for q in asked]
    inputs = plain.inputs([Question("plan", "What now? " * 9, tuple(pictures[:2]))])
    with torch.inference_mode():
        scores = plain.model(**inputs).logits[0, -1]
    found = fast.first_scores(Question("plan", "What now? " * 9, tuple(pictures[:2])))
    assert np.allclose(found, scores.double().log_softmax(0).numpy(), atol=1e-4)


def test_the_weights_are_held_once_and_transformers_still_computes_with_them(models):
    fast, plain = models
    for (name, ours), (_, theirs) in zip(fast.model.named_parameters(), plain.model.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    attention = fast.model.get_base_model().model.language_model.layers[0].self_attn
    parts = [part.base_layer.weight for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 1


def test_a_model_that_computes_otherwise_is_left_to_generate(tiny_folder):
    model = HfModel(HfSettings(str(tiny_folder), dtype="float32")).model
    assert supports(model)
    model.model.language_model.config.attn_logit_softcapping = 30.0
    assert not supports(model)


def test_callers_share_the_steps_and_a_question_that_fails_fails_alone(models, pictures, monkeypatch):
    fast, _ = models
    asked = questions(pictures, 9)
    alone = [fast.answer([question])[0].text for question in asked]
    steps = fast.decoder.counts.steps
    for question in asked:
        fast.answer([question])
    steps, before = fast.decoder.counts.steps - steps, fast.decoder.counts.steps
    broken = dataclasses.replace(asked[1], seed=99)
    start = fast._start

    def start_broken(question: Question):
        state = start(question)
        if question.seed == 99:

            def fail(token: int) -> None:
                raise DecodingError("The grammar failed.")

            state.consume = fail
        return state

    monkeypatch.setattr(fast, "_start", start_broken)
    batcher, said = Batcher(fast), {}

    def ask(place: int, question: Question) -> None:
        try:
            said[place] = batcher.answer(question).text
        except DecodingError as error:
            said[place] = str(error)

    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate([*asked, broken])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [said[place] for place in range(10)] == [*alone, "The grammar failed."]
    assert fast.decoder.counts.steps - before < steps


def test_answers_that_are_given_up_end_with_an_error_and_the_next_is_answered(models, pictures):
    fast, _ = models
    asked = questions(pictures, 5)
    alone = fast.answer(asked[:1])[0].text
    begun = [fast.begin(question) for question in asked]
    fast.advance()
    fast.give_up()
    for answer in begun:
        assert answer.done
        if not answer.row.finish:
            with pytest.raises(DecodingError, match="given up"):
                answer.stage()
    assert sum(not answer.row.finish for answer in begun) >= 3
    assert fast.answer(asked[:1])[0].text == alone


def test_an_answer_that_nobody_waits_for_any_more_is_broken_off_and_the_others_go_on(models):
    fast, _ = models
    asked = [Question("plan", f"What now, {number}?", sampling=Sampling(max_tokens=40)) for number in range(6)]
    alone = [fast.answer([question])[0].text for question in asked]
    long = Question("plan", "What now?", sampling=Sampling(max_tokens=4000))
    steps = fast.decoder.counts.steps
    batcher = Batcher(fast)
    begun = [batcher.ask(long), *(batcher.ask(question) for question in asked)]  # three rows: the last ones wait
    while fast.decoder.counts.steps < steps + 3:
        time.sleep(0.001)
    assert begun[0].cancel()
    assert begun[6].cancel()
    assert [future.result(30).text for future in begun[1:6]] == alone[:5]
    assert batcher.ask(asked[5]).result(30).text == alone[5]
    assert fast.decoder.counts.steps - steps < 1000
    refused = batcher.ask(Question("plan", "What now? " * 2000))
    refused.cancel()
    assert batcher.answer(asked[0]).text == alone[0]


def test_a_question_that_is_refused_leaves_the_others_in_progress(models, pictures):
    fast, _ = models
    asked = questions(pictures, 5)
    alone = [fast.answer([question])[0].text for question in asked]
    begun = [fast.begin(question) for question in asked]
    fast.advance()
    with pytest.raises(SettingError, match="Use a shorter instruction"):
        fast.answer([asked[0], Question("plan", "What now? " * 2000)])
    while not all(answer.done for answer in begun):
        fast.advance()
    assert [answer.stage().text for answer in begun] == alone


def test_a_cache_that_found_no_memory_can_be_enlarged_later(monkeypatch):
    layers = [(2, 4, torch.float32, torch.device("cpu"))] * 3
    cache = KeyValues(layers)
    cache.ensure(1, 10)
    kept = [layer.fill_(number) for number in range(3) for layer in cache.layer(number)]
    zeros, calls = torch.Tensor.new_zeros, iter(range(9))

    def scarce(self: torch.Tensor, *size: object) -> torch.Tensor:
        if next(calls) == 1:
            raise torch.OutOfMemoryError("out of memory")
        return zeros(self, *size)

    monkeypatch.setattr(torch.Tensor, "new_zeros", scarce)
    with pytest.raises(torch.OutOfMemoryError):
        cache.ensure(2, 200)
    cache.ensure(2, 200)
    assert (cache.rows, cache.columns) == (2, 256)
    grown = [layer for number in range(3) for layer in cache.layer(number)]
    for old, new in zip(kept, grown, strict=True):
        assert torch.equal(new[:1, :128], old)


def test_what_is_drawn_does_not_depend_on_how_a_batch_rounds_the_scores():
    noise = torch.Generator().manual_seed(0)
    scores = torch.randn(200, 1000, generator=noise).mul(50).round() / 50  # many are equal but for the rounding
    rounded = scores + 1e-6 * torch.randn(200, 1000, generator=noise)
    prompt, sampling = Prompt((), (), ()), Sampling(0.8, 0.95)

    def draw(scores: torch.Tensor) -> list[int]:
        chances = [torch.Generator().manual_seed(seed) for seed in range(len(scores))]
        rows = [Row(prompt, {}, sampling, None, chance, adapter=True) for chance in chances]
        return NextToken(image_token=999).choose(rows, scores)

    drawn = draw(scores)
    assert draw(rounded) == drawn
    assert len(set(drawn)) > 100
    chances = (scores / 0.8).softmax(1)
    for row, token in zip(chances, drawn, strict=True):
        assert row[row > row[token]].sum() < 0.95
