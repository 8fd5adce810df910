"""A model that is no Gemma 3 goes through `generate`, under the same grammar and behind the same interface."""

from __future__ import annotations

import numpy as np
import pytest
from vlm_lane import make_llava, need_vlm

need_vlm()

from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> HfModel:
    """A tiny LLaVA: CLIP in front of a Llama."""
    return HfModel(HfSettings(str(make_llava(tmp_path_factory.mktemp("llava"))), dtype="float32"))


def test_it_answers_readably_under_the_grammar_and_the_same_in_a_batch(llava, pictures):
    assert llava.decoder is None
    action_format = get_format("vlm2vla")
    questions = [
        Question("action", "Go." + " now" * k, (pictures[k],), action_format.grammar(), Sampling(max_tokens=1024))
        for k in range(3)
    ]
    texts = [stage.text for stage in llava.answer(questions)]
    assert texts == [llava.answer([question])[0].text for question in questions]
    for text in texts:
        assert np.isfinite(action_format.read(text).deltas).all()


def test_its_sampling_follows_its_seed(llava, pictures):
    def say(seed: int) -> str:
        how = Sampling(temperature=1.0, top_p=0.9, max_tokens=12)
        return llava.answer([Question("plan", "How?", (pictures[0],), sampling=how, seed=seed)])[0].text

    assert say(1) == say(1)
    assert len({say(seed) for seed in range(4)}) > 1
