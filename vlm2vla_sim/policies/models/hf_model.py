"""A vision-language model in this process: an image-text-to-text model of transformers, with or without an adapter.

The weights are loaded once and answer both as the base model and, with the LoRA adapter enabled, as the policy. The
families that `cached_text` knows are decoded by `hf_decode`, which caches images and prompts; others by transformers'
`generate`, under the same grammar.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vlm2vla_sim.errors import missing_extra
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.models.adapter_fit import reaches_vision
from vlm2vla_sim.policies.models.hf_prompt import PromptMaker
from vlm2vla_sim.types import Stage

try:
    import torch
except ModuleNotFoundError as error:
    raise missing_extra("A model in this process", error.name or "transformers", "vlm") from error

from vlm2vla_sim.policies.models.adapter_switch import AdapterSwitch
from vlm2vla_sim.policies.models.answer_frame import answer_ends, answer_frame, count_logits
from vlm2vla_sim.policies.models.cached_text import CACHED, PLAIN, cached_text, plain_notice
from vlm2vla_sim.policies.models.hf_adapter import LoadedAdapter, check_effect, describe_weights, load_adapter
from vlm2vla_sim.policies.models.hf_batch import PendingAnswer, Row, Written
from vlm2vla_sim.policies.models.hf_decode import Decoder
from vlm2vla_sim.policies.models.hf_generate import generate, within_context
from vlm2vla_sim.policies.models.hf_grammar import GrammarCompiler
from vlm2vla_sim.policies.models.hf_loading import HfSettings, LoadedModel, compile_feed_forward, load
from vlm2vla_sim.policies.models.hf_thinking import ThinkingState, read_answer
from vlm2vla_sim.policies.models.model_checks import check_answer, check_kind, check_prompt
from vlm2vla_sim.policies.models.thinking import Kind, find_thinking


class HfModel:
    """A `TextModel` on transformers."""

    def __init__(self, settings: HfSettings, *, loaded: LoadedModel | None = None) -> None:
        """Load model and adapter; SettingError if that fails, or if the adapter changes nothing.

        loaded: a model that is in memory already and stays as it is, on its device and in its dtype. `settings.model`
        is then a name for it, and `dtype`, `device_map` and `quantization` must be left at their defaults.
        """
        self.settings = settings
        if settings.threads:
            torch.set_num_threads(settings.threads)
        if loaded is not None:
            loaded.check(settings)
        source = loaded or load(settings)
        self.processor = source.processor
        self.model: Any = source.model
        adapted: LoadedAdapter | None = None
        self.has_adapter = bool(settings.adapter)
        if self.has_adapter:
            adapted = load_adapter(self.model, settings.adapter, base=settings.model)
            self.model = adapted.model
        self.model.eval()
        self._switch = AdapterSwitch(self.model) if self.has_adapter else None
        self._loaded = describe_weights(settings, adapted, from_files=loaded is None)
        self._lock = threading.RLock()
        self.image_token: int = check_kind(self.model, self.processor, settings.model)
        self._frame = answer_frame(self.processor)
        self._ends = answer_ends(self.model, self.tokenizer, self._frame)
        self._grammars = GrammarCompiler(
            self.tokenizer, vocabulary=count_logits(self.model), ends=self._ends, frame=self._frame
        )
        self._thinking = find_thinking(self.processor)
        self.prompts = PromptMaker(self.processor, image_token=self.image_token, thinking=self._thinking)
        check_prompt(self.prompts, self.image_token, settings.model)
        self._vision_adapter = reaches_vision(self.model)
        self._language = cached_text(self.model, own_feed_forward=not settings.compile) if settings.fast else None
        if settings.fast and self._language is None:
            sys.stderr.write(f"{plain_notice(self.model)}\n")
        self.decoder = self.new_decoder() if self._language else None
        if settings.compile:
            compile_feed_forward(self.model)
        if self.decoder is None:
            check_answer(self.tokens, settings.model, thinks=self._thinking.kind is Kind.ALWAYS)
        if self.has_adapter:
            check_effect(self.model, self.tokenizer, adapter=settings.adapter, base=settings.model)

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """See `TextModel.answer`. `Stage.seconds` is the time until this answer was complete."""
        if self.decoder is None:
            return self._answer_in_groups(questions)
        return [answer.stage() for answer in self._ended(questions)]

    def _ended(self, questions: Sequence[Question]) -> list[PendingAnswer]:
        """Take `questions` in and advance until all their answers have ended."""
        asked: list[PendingAnswer] = []
        with self._lock:  # of several threads, one after the other
            try:
                for question in questions:
                    asked.append(self.begin(question))
            except BaseException:  # of this question: those of other callers are not given up
                for answer in asked:
                    answer.cancel()
                raise
            try:
                while not all(answer.done for answer in asked):
                    self.advance()
            except BaseException:
                self.give_up()
                raise
        return asked

    def begin(self, question: Question) -> PendingAnswer:
        """Take in a question, to be answered by calls of `advance`, beside others. For models with a `decoder` only."""
        assert self.decoder is not None
        with self._lock:
            answer = PendingAnswer(question, self._row(question), self._read)
            self.decoder.begin(answer.row)
        return answer

    def advance(self) -> None:
        """Advance all answers that were begun."""
        assert self.decoder is not None
        with self._lock:
            self.decoder.step()

    def give_up(self) -> None:
        """End all answers that were begun, with an error, and release the caches."""
        assert self.decoder is not None
        with self._lock:
            self.decoder.clear()

    @property
    def continuous(self) -> bool:
        """Whether it is a `ContinuousModel`; other models are decoded by `generate`."""
        return self.decoder is not None

    def _answer_in_groups(self, questions: Sequence[Question]) -> list[Stage]:
        answers: dict[int, Stage] = {}
        with self._lock:
            for adapter, thinks in itertools.product((True, False), (False, True)):
                kind = (adapter, thinks)
                places = [
                    k for k, q in enumerate(questions) if (q.adapter and self.has_adapter, bool(q.thinking)) == kind
                ]
                for start in range(0, len(places), self.settings.max_batch):
                    group = places[start : start + self.settings.max_batch]
                    stages = self._answer_together([questions[k] for k in group], adapter=adapter)
                    answers.update(zip(group, stages, strict=True))
        return [answers[k] for k in range(len(questions))]

    def prepare(self, grammars: Sequence[Grammar]) -> None:
        """See `policies.base.prepare`. SettingError if the tokenizer cannot write the texts of a grammar."""
        with self._lock:
            for grammar in grammars:
                self._grammars.start(grammar)

    def prepare_thinking(self, tokens: int) -> None:
        """See `policies.base.prepare_thinking`: what the model's chat template and tokenizer allow."""
        self._thinking.check(self.settings.model, tokens)

    def _answer_together(self, questions: list[Question], *, adapter: bool) -> list[Stage]:
        started = time.perf_counter()
        with self._adapter(on=adapter), torch.inference_mode():
            written = self._generate(questions)
        seconds = round(time.perf_counter() - started, 4)
        return [
            dataclasses.replace(self._read(question, answer.tokens), seconds=seconds, finish=answer.finish)
            for question, answer in zip(questions, written, strict=True)
        ]

    def tokens(self, question: Question) -> list[int]:
        """The tokens of the answer to `question`, without the end token."""
        if self.decoder is not None:
            (answer,) = self._ended([question])
            answer.stage()
            return answer.row.answer
        with self._lock, self._adapter(on=question.adapter and self.has_adapter), torch.inference_mode():
            return self._generate([question])[0].tokens

    def first_scores(self, question: Question) -> np.ndarray:
        """Log-probabilities, (V,) float64, of the first token of the answer to `question`."""
        with self._lock, self._adapter(on=question.adapter and self.has_adapter), torch.inference_mode():
            scores = self.model(**self.inputs([question]), logits_to_keep=1).logits[0, -1]
            return scores.double().log_softmax(0).cpu().numpy()

    def provenance(self) -> dict[str, Any]:
        """Names and digests of what was loaded; see `policies.base.provenance`. None where a digest is unknown."""
        return self._loaded | {"decoding": PLAIN if self._language is None else CACHED}

    @property
    def places_images(self) -> bool:
        """Whether images may stand behind text; see `Question.places`."""
        return self.prompts.places_images

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    def new_decoder(self) -> Decoder:
        """A decoder with empty caches; only for models that `cached_text` knows."""
        language = self._language
        assert language is not None
        return Decoder(
            language,
            lambda image: language.encode(self.prompts.image_inputs(image)),
            lambda on: self._adapter(on=on),
            vision_adapter=self._vision_adapter,
            image_token=self.image_token,
            ends=self._ends,
            max_rows=self.settings.max_batch,
        )

    # Decoding.

    def _row(self, question: Question) -> Row:
        prompt, chance = self.prompts.encode(question), torch.Generator().manual_seed(question.seed)
        return Row(
            prompt,
            dict(zip(prompt.images, question.images, strict=True)),
            within_context(self.model.config, self.settings.model, question, len(prompt.ids)),
            self._start(question),
            chance,
            adapter=question.adapter and self.has_adapter,
        )

    def _generate(self, questions: list[Question]) -> list[Written]:
        """Decode with `generate`: in one batch if all are greedy with the same limit, else one by one."""
        inputs = self.inputs(questions)
        lengths = inputs["attention_mask"].sum(1).tolist()
        within = [
            within_context(self.model.config, self.settings.model, question, read)
            for question, read in zip(questions, lengths, strict=True)
        ]
        if len(questions) > 1 and (len(set(within)) > 1 or within[0].temperature):
            return [self._generate([question])[0] for question in questions]
        return generate(
            self.model,
            inputs,
            lambda: [self._start(question) for question in questions],
            sampling=within[0],
            seed=questions[0].seed,
            ends=self._ends,
            pad=self.processor.tokenizer.pad_token_id,
            image_token=self.image_token,
        )

    def inputs(self, questions: list[Question]) -> Any:
        """The model's inputs for `questions`, made by transformers' processor, padded on the left.

        All of them think before the answer, or none does.
        """
        return self.processor.apply_chat_template(
            [self.prompts.messages(question) for question in questions],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
            **self.prompts.variables(questions[0]),
        ).to(self.model.device)

    def _start(self, question: Question) -> Any:
        self.prepare_thinking(question.thinking)
        state = None if question.grammar is None else self._grammars.start(question.grammar)
        if not question.thinking:
            return state
        return ThinkingState(
            self._thinking,
            state,
            budget=question.thinking,
            vocabulary=self._grammars.vocabulary,
            ends=self._ends,
            image_token=self.image_token,
        )

    @contextlib.contextmanager
    def _adapter(self, *, on: bool) -> Iterator[None]:
        with contextlib.nullcontext() if on or self._switch is None else self._switch.off():
            yield

    def _read(self, question: Question, tokens: list[int]) -> Stage:
        """The answer in `tokens`, without time and end."""
        stage = read_answer(self.tokenizer, tokens, self._frame, self._thinking, on=bool(question.thinking))
        return dataclasses.replace(stage, name=question.stage)


@functools.cache
def load_model(settings: HfSettings) -> HfModel:
    """The model for `settings`, loaded once in a process."""
    return HfModel(settings)
