"""How likely a model finds a text, token by token: any causal language model of transformers, with or without eyes.

Asking for each answer anew, the same prompt would be read hundreds of times. It is read once, and its cache is shared
by all the answers to it; a test holds that equal to reading everything together.
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

from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings

AT_ONCE = 16
"""Answers that are scored together."""


class Scorer:
    """A model that reads, and never writes."""

    def __init__(self, model: str, adapter: str = "", *, dtype: str = "auto") -> None:
        """model: a folder or a hub name. A model without eyes is shown no pictures and takes no adapter."""
        self._seeing = _is_seeing(model)
        self.image_token: int | None = None
        if self._seeing:
            self._hf = HfModel(HfSettings(model, adapter, dtype=dtype, fast=False))
            self.model: Any = self._hf.model
            self.tokenizer: Any = self._hf.tokenizer
            self.image_token = self._hf.image_token
            return
        if adapter:
            raise SettingError(f"{model!r} has no vision part, and adapters are scored on models that have one only.")
        self._hf = None
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        self.model = loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def first_scores(self, question: Question) -> np.ndarray:
        """Log-probabilities, (V,) float64, of the first token of the answer to `question`."""
        with self._reading(adapter=question.adapter):
            return self._read(question)[1].double().cpu().numpy()

    def score(self, question: Question, answers: Sequence[str]) -> list[np.ndarray]:
        """For each answer the log-probabilities, (tokens,) float64, of its tokens given the question and those before.

        Without a prompt and pictures nothing but the model's own start of a text stands before the answer.
        """
        ids = [self.tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in answers]
        scored: list[np.ndarray] = []
        with self._reading(adapter=question.adapter):
            cache, first = self._read(question)
            for start in range(0, len(ids), AT_ONCE):
                scored += self._continue(cache, first, ids[start : start + AT_ONCE])
        return scored

    def _read(self, question: Question) -> tuple[Any, torch.Tensor]:
        """The cache after the question, and the log-probabilities (V,) of what may come next."""
        if self._hf is not None and (question.prompt or question.images):
            inputs = dict(self._hf.inputs([question]))
        else:
            inputs = {"input_ids": torch.tensor([self._words(question.prompt)], device=self.model.device)}
        read = self.model(**inputs, use_cache=True, logits_to_keep=1)
        return read.past_key_values, read.logits[0, -1].float().log_softmax(0)

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
        wanted = padded.to(device)[:, 1:, None]
        later = after.gather(2, wanted)[..., 0].double().cpu().numpy()
        begins = first[padded[:, 0].to(device)].double().cpu().numpy()
        return [np.append(begins[row], later[row, : len(tokens) - 1]) for row, tokens in enumerate(ids)]

    def _words(self, prompt: str) -> list[int]:
        """A prompt in tokens, in the model's own form of a conversation where it has one."""
        if prompt and self.tokenizer.chat_template:
            turns = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        starts = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        start = next((token for token in starts if token is not None), None)
        words = list(self.tokenizer(f"{prompt}\n" if prompt else "", add_special_tokens=False)["input_ids"])
        return words if start is None else [start, *words]

    @contextlib.contextmanager
    def _reading(self, *, adapter: bool) -> Iterator[None]:
        off = self._hf is not None and self._hf.has_adapter and not adapter
        with torch.inference_mode(), self.model.disable_adapter() if off else contextlib.nullcontext():
            yield


def _is_seeing(model: str) -> bool:
    try:
        config = transformers.AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        where = "the folder is there" if Path(model).is_dir() else "no such folder, so it was looked for on the hub"
        raise SettingError(
            f"{model!r} cannot be loaded ({where}): {str(error).strip().splitlines()[0]} Give a folder written by "
            "save_pretrained, or a hub name that this machine can reach."
        ) from error
    return getattr(config, "vision_config", None) is not None
