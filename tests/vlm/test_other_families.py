"""A model that is no Gemma 3 goes through `generate`, under the same grammar and behind the same interface."""

from __future__ import annotations

import numpy as np
import pytest
from vlm_lane import need_vlm

need_vlm()

import torch  # noqa: E402
import transformers  # noqa: E402

from vlm2vla_sim.language.formats import get_format  # noqa: E402
from vlm2vla_sim.policies.base import Question, Sampling  # noqa: E402
from vlm2vla_sim.policies.hf_model import HfModel, HfSettings  # noqa: E402
from vlm2vla_sim.policies.hf_random import make_tokenizer  # noqa: E402

TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image_soft_token>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %} ASSISTANT:{% endfor %}"
)


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> HfModel:
    """A tiny LLaVA: CLIP in front of a Llama."""
    tokenizer = make_tokenizer()
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(
            vocab_size=1024, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=56,
            patch_size=14,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image_soft_token>"), image_seq_length=16,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlavaForConditionalGeneration(config)
        for weight in model.parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, 0.0, 2 * weight.shape[-1] ** -0.5)
    side = {"height": 56, "width": 56}
    images = transformers.CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size=side)
    processor = transformers.LlavaProcessor(
        images, tokenizer, patch_size=14, vision_feature_select_strategy="default", image_token="<image_soft_token>",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("llava")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return HfModel(HfSettings(str(folder), dtype="float32"))


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
