"""Every family that people fine-tune answers as transformers' `generate` does, from its folder, without torchvision."""

from __future__ import annotations

import importlib.util
import re

import pytest
from vlm_lane import need_vlm

need_vlm()

import torch  # noqa: E402
from policies.families import FAMILIES, make_family, save_family  # noqa: E402

from vlm2vla_sim.errors import MissingExtraError  # noqa: E402
from vlm2vla_sim.language.formats.grammar import Grammar  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.models.hf_loading import load_processor  # noqa: E402
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings  # noqa: E402

# Of torch, when transformers' processor of PaliGemma makes an array of a tensor.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
TORCHVISION = pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is here")
ROW = Grammar(r"\[-?[0-9]{1,2}, -?[0-9]{1,2}, [01]\]", r"start: /\[-?[0-9]{1,2}, -?[0-9]{1,2}, [01]\]/")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request) -> HfModel:
    name = request.param
    return HfModel(HfSettings(name), loaded=make_family(name))


def questions(pictures, *, grammar=None, tokens: int = 10) -> list[Question]:
    how = Sampling(max_tokens=tokens)
    return [Question("action", "Go." + " now" * k, (pictures[k],), grammar, how) for k in range(3)]


def test_a_batch_is_answered_as_one_by_one_and_as_generate_does(family, pictures):
    asked = questions(pictures)
    texts = [stage.text for stage in family.answer(asked)]
    assert texts == [family.answer([question])[0].text for question in asked]
    assert len(set(texts)) > 1  # they depend on the question
    inputs = family.inputs(asked[:1])
    with torch.inference_mode():
        plain = family.model.generate(
            **inputs, max_new_tokens=10, do_sample=False, suppress_tokens=[family.image_token]
        )
    ended = [*plain[0, inputs["input_ids"].shape[1] :].tolist()]
    tokens = family.tokens(asked[0])
    assert tokens == ended[: len(tokens)]
    assert len(tokens) == len(ended) or ended[len(tokens)] in family._ends


def test_its_answers_under_a_grammar_are_its_texts_also_in_a_batch(family, pictures):
    asked = questions(pictures, grammar=ROW, tokens=40)[:2]
    texts = [stage.text for stage in family.answer(asked)]
    assert texts == [family.answer([question])[0].text for question in asked]
    assert all(re.fullmatch(ROW.regex, text) for text in texts)


@TORCHVISION
@pytest.mark.parametrize("name", FAMILIES)
def test_its_processor_is_built_from_its_folder_without_torchvision(name, tmp_path, pictures):
    folder = save_family(name, tmp_path)
    (asked, *_) = questions(pictures)
    made, loaded = make_family(name).processor, load_processor(str(folder))
    assert type(loaded).__name__ == type(made).__name__
    ours, theirs = (HfModel(HfSettings(name), loaded=make_family(name)) for _ in range(2))
    theirs.processor = theirs.prompts.processor = loaded
    one, other = ours.inputs([asked]), theirs.inputs([asked])
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@TORCHVISION
def test_a_processor_that_needs_torchvision_says_so_in_one_sentence(tmp_path):
    folder = save_family("lfm2-vl", tmp_path)
    saved = (folder / "processor_config.json").read_text()
    (folder / "processor_config.json").write_text(saved.replace("OneTile", "Lfm2VlImageProcessor"))
    with pytest.raises(MissingExtraError) as caught:
        load_processor(str(folder))
    told = str(caught.value)
    assert "needs the package 'torchvision', which is not installed. Install it: pip install torchvision" in told
    assert "\n" not in told
