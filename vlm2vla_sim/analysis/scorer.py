"""Token log-probabilities of given texts under any causal language model of transformers, with or without vision.

A prompt is processed once and its key-value cache is shared by all answers to it. A test checks that the result equals
a single forward pass over prompt and answer.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.policies.base import Question

try:
    import torch
    import transformers
except ModuleNotFoundError as error:
    raise missing_extra("Scoring texts", error.name or "transformers", "vlm") from error

from vlm2vla_sim.policies.models.hf_adapter import describe_weights
from vlm2vla_sim.policies.models.hf_loading import load_whole
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings
from vlm2vla_sim.policies.models.hub import locate

BATCH = 16
"""Answers scored in one forward pass."""


class Scorer:
    """A model that scores texts and generates none."""

    def __init__(self, model: str, adapter: str = "", *, dtype: str = "auto") -> None:
        """model: a folder or a hub name. A model without a vision encoder ignores images and takes no adapter.

        SettingError for a model that cannot be loaded, or an adapter for a model without a vision encoder.
        """
        self.image_token: int | None = None
        if _has_vision(model):
            self._hf = HfModel(HfSettings(model, adapter, dtype=dtype, fast=False))
            self._loaded = self._hf.provenance()
            del self._loaded["decoding"]  # nothing is decoded
            self.model: Any = self._hf.model
            self.tokenizer: Any = self._hf.tokenizer
            self.image_token = self._hf.image_token
            return
        if adapter:
            raise SettingError(
                f"An adapter was given, but {model!r} has no vision encoder; adapters are scored only on models that "
                "have one."
            )
        self._hf = None
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(locate(model))
        loaded = load_whole(transformers.AutoModelForCausalLM.from_pretrained, model, dtype=dtype)
        self._loaded = describe_weights(HfSettings(model, dtype=dtype), None)
        self.model = loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def provenance(self) -> dict[str, Any]:
        """Names and digests of what was loaded, as `HfModel.provenance` gives them."""
        return dict(self._loaded)

    def first_scores(self, question: Question) -> np.ndarray:
        """The log-probabilities, (V,) float64, of the first token of the answer to `question`."""
        with self._inference(adapter=question.adapter):
            return self._prefill(question)[1].double().cpu().numpy()

    def score(self, question: Question, answers: Sequence[str]) -> list[np.ndarray]:
        """The log-probabilities, (tokens,) float64, of each answer's tokens given the question and the tokens before.

        Without a prompt and images, only the model's start token precedes the answer. SettingError for an answer that
        the tokenizer changes: another text would be scored.
        """
        ids = [self._answer_ids(answer) for answer in answers]
        scored: list[np.ndarray] = []
        with self._inference(adapter=question.adapter):
            cache, first = self._prefill(question)
            for start in range(0, len(ids), BATCH):
                scored += self._continue(cache, first, ids[start : start + BATCH])
        return scored

    def _prefill(self, question: Question) -> tuple[Any, torch.Tensor]:
        """The cache after the question, and the log-probabilities (V,) of the next token."""
        if self._hf is not None and (question.prompt or question.images):
            inputs = dict(self._hf.inputs([question]))
        else:
            inputs = {"input_ids": torch.tensor([self._prompt_ids(question.prompt)], device=self.model.device)}
        output = self.model(**inputs, use_cache=True, logits_to_keep=1)
        return output.past_key_values, output.logits[0, -1].float().log_softmax(0)

    def _continue(self, cache: Any, first: torch.Tensor, ids: list[list[int]]) -> list[np.ndarray]:
        longest, before = max(map(len, ids)), cache.get_seq_length()
        padded = torch.zeros((len(ids), longest), dtype=torch.long)
        mask = torch.zeros((len(ids), before + longest), dtype=torch.long)
        mask[:, :before] = 1
        for row, tokens in enumerate(ids):
            padded[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, before : before + len(tokens)] = 1
        shared = copy.deepcopy(cache)
        shared.batch_repeat_interleave(len(ids))
        device = self.model.device
        logits = self.model(
            input_ids=padded.to(device), attention_mask=mask.to(device), past_key_values=shared, use_cache=True
        ).logits
        after = logits[:, :-1].float().log_softmax(-1)
        targets = padded.to(device)[:, 1:, None]
        later = after.gather(2, targets)[..., 0].double().cpu().numpy()
        initial = first[padded[:, 0].to(device)].double().cpu().numpy()
        return [np.append(initial[row], later[row, : len(tokens) - 1]) for row, tokens in enumerate(ids)]

    def _answer_ids(self, answer: str) -> list[int]:
        """The tokens that training teaches for `answer`; a space that the tokenizer puts before it is one of them."""
        ids = list(self.tokenizer(answer, add_special_tokens=False)["input_ids"])
        written = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if written.lstrip(" ") != answer.lstrip(" "):
            raise SettingError(
                f"The model's tokenizer changes the text that is to be scored: {answer[:40]!r} becomes "
                f"{written[:40]!r}. Score a format that the tokenizer keeps, or another model."
            )
        return ids

    def _prompt_ids(self, prompt: str) -> list[int]:
        """The token ids of a prompt, in the model's chat template if it has one."""
        if prompt and self.tokenizer.chat_template:
            turns = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        starts = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        start = next((token for token in starts if token is not None), None)
        ids = list(self.tokenizer(f"{prompt}\n" if prompt else "", add_special_tokens=False)["input_ids"])
        return ids if start is None else [start, *ids]

    @contextlib.contextmanager
    def _inference(self, *, adapter: bool) -> Iterator[None]:
        off = self._hf is not None and self._hf.has_adapter and not adapter
        with torch.inference_mode(), self.model.disable_adapter() if off else contextlib.nullcontext():
            yield


def _has_vision(model: str) -> bool:
    try:
        config = transformers.AutoConfig.from_pretrained(locate(model))
    except SettingError:
        raise
    except (OSError, ValueError) as error:
        where = "the folder exists" if Path(model).is_dir() else "no such folder, so it was looked up on the hub"
        raise SettingError(
            f"{model!r} cannot be loaded ({where}): {str(error).strip().splitlines()[0]} Give a folder written by "
            "save_pretrained, or a hub name that this machine can reach."
        ) from error
    return getattr(config, "vision_config", None) is not None
