"""A vision-language model in this process: any image-text-to-text model of transformers, with or without an adapter.

One set of weights answers as the base model and, with its LoRA adapter on, as the policy; loaded twice, a 12B model
would not fit. Gemma 3 is decoded by `hf_decode`, which computes nothing twice; every other family by transformers' own
`generate`, under the same grammar.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.errors import SettingError, missing_extra, unknown_name
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.models.hf_prompt import PromptMaker, digest
from vlm2vla_sim.types import Stage

try:
    import torch
    import transformers
except ModuleNotFoundError as error:
    raise missing_extra("A model in this process", error.name or "transformers", "vlm") from error

from vlm2vla_sim.policies.models.hf_decode import Decoder, Row
from vlm2vla_sim.policies.models.hf_grammar import GrammarCompiler, GrammarProcessor

FAST_FAMILIES = frozenset({"gemma3"})
"""`model_type` of the models that `hf_decode` is held equal to `generate` for."""

QUANTIZATIONS = ("", "8bit", "4bit")


@dataclass(frozen=True)
class HfSettings:
    """Which weights, and how they are held."""

    model: str
    """A folder, or a name on the hub such as "google/gemma-3-12b-it"."""
    adapter: str = ""
    """A PEFT adapter's folder or name; empty for none."""
    dtype: str = "auto"
    """As torch calls it ("bfloat16", "float32"), or "auto" for what the weights are stored in."""
    device_map: str = ""
    """As transformers takes it ("auto", "cuda:1"); empty for one GPU where there is one, else the CPU."""
    quantization: str = ""
    """"8bit" or "4bit" through bitsandbytes; empty for none."""
    compile: bool = False
    """Compile the language model's feed-forward parts, most of its work, with torch.compile: slow to start."""
    fast: bool = True
    """False uses plain `generate` also for the families that have a faster way."""
    max_batch: int = 16
    """Questions that are answered together at most."""
    threads: int = 0
    """Threads of torch's on the CPU, in the whole process; 0 leaves them as they are."""

    def __post_init__(self) -> None:
        if not self.model:
            raise SettingError("No model is named; give a folder, or a name such as google/gemma-3-4b-it.")
        if self.quantization not in QUANTIZATIONS:
            raise unknown_name("quantization", self.quantization, [q for q in QUANTIZATIONS if q])
        if self.dtype != "auto" and not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise unknown_name("dtype", self.dtype, ("auto", "bfloat16", "float16", "float32"))
        if self.max_batch < 1:
            raise SettingError(f"max_batch is {self.max_batch}; expected 1 or more.")
        if self.threads < 0:
            raise SettingError(f"threads is {self.threads}; expected 0 (as many as torch takes) or more.")


class HfModel:
    """A `TextModel` on transformers."""

    def __init__(self, settings: HfSettings) -> None:
        """Load it; SettingError when that cannot be done, or when the adapter changes nothing."""
        self.settings = settings
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.processor = load_processor(settings.model)
        loaded = load_weights(settings)
        self.model: Any = loaded.to(_default_device()) if not settings.device_map else loaded
        self.has_adapter = bool(settings.adapter)
        if self.has_adapter:
            self.model = _load_adapter(self.model, settings.adapter)
        self.model.eval()
        self._lock = threading.Lock()
        config = self.model.config
        self.image_token: int = config.image_token_id
        text = config.get_text_config()
        self._ends = _ends(self.model, self.processor.tokenizer)
        self._grammars = GrammarCompiler(self.processor.tokenizer, vocabulary=text.vocab_size, ends=self._ends)
        self.prompts = PromptMaker(self.processor, image_token=self.image_token)
        self._vision_adapter = any(
            "lora" in name and "language_model" not in name for name, _ in self.model.named_parameters()
        )
        self.decoder = self.new_decoder() if settings.fast and config.model_type in FAST_FAMILIES else None
        if settings.compile:
            _compile_feed_forward(self.model)
        if self.has_adapter:
            self._check_adapter()

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """See `TextModel.answer`. Those answered together each carry the seconds that all of them took."""
        answers: dict[int, Stage] = {}
        with self._lock:
            for adapter in (True, False):
                places = [k for k, q in enumerate(questions) if (q.adapter and self.has_adapter) is adapter]
                for start in range(0, len(places), self.settings.max_batch):
                    group = places[start : start + self.settings.max_batch]
                    stages = self._answer_together([questions[k] for k in group], adapter=adapter)
                    answers.update(zip(group, stages, strict=True))
        return [answers[k] for k in range(len(questions))]

    def _answer_together(self, questions: list[Question], *, adapter: bool) -> list[Stage]:
        started = time.perf_counter()
        with self._adapter(on=adapter), torch.inference_mode():
            written = self._decode(questions, adapter=adapter) if self.decoder else self._generate(questions)
        seconds = round(time.perf_counter() - started, 4)
        return [
            Stage(question.stage, self._text(tokens), len(tokens), seconds)
            for question, tokens in zip(questions, written, strict=True)
        ]

    def tokens(self, question: Question) -> list[int]:
        """The tokens of the answer to `question`, without the one that ends it."""
        with self._lock, self._adapter(on=question.adapter and self.has_adapter), torch.inference_mode():
            if self.decoder:
                return self._decode([question], adapter=question.adapter and self.has_adapter)[0]
            return self._generate([question])[0]

    def first_scores(self, question: Question) -> np.ndarray:
        """Log-probabilities, (V,) float64, of the first token of the answer to `question`."""
        with self._lock, self._adapter(on=question.adapter and self.has_adapter), torch.inference_mode():
            scores = self.model(**self.inputs([question]), logits_to_keep=1).logits[0, -1]
            return scores.double().log_softmax(0).cpu().numpy()

    @property
    def tokenizer(self) -> Any:
        """The processor's part for words."""
        return self.processor.tokenizer

    def new_decoder(self) -> Decoder:
        """A decoder that remembers nothing yet; for Gemma 3 only."""
        return Decoder(
            self.model,
            self._encode_image,
            image_token=self.image_token,
            pad=self.processor.tokenizer.pad_token_id,
            ends=self._ends,
            window=self.model.config.get_text_config().sliding_window,
            device=self.model.get_input_embeddings().weight.device,
        )

    # Two ways to decode.

    def _decode(self, questions: list[Question], *, adapter: bool) -> list[list[int]]:
        assert self.decoder is not None
        images = {digest(image): image for question in questions for image in question.images}
        rows = [
            Row(self.prompts.encode(q), q.sampling, self._start(q), torch.Generator().manual_seed(q.seed))
            for q in questions
        ]
        self.decoder.generate(
            rows, lambda name: self._pixels(images[name]), adapter=adapter, vision_adapter=self._vision_adapter
        )
        return [row.answer for row in rows]

    def _generate(self, questions: list[Question]) -> list[list[int]]:
        """With `generate`: together when all are greedy and have the same limit, else one by one."""
        if len(questions) > 1 and (len({q.sampling for q in questions}) > 1 or questions[0].sampling.temperature):
            return [self._generate([question])[0] for question in questions]
        sampling, inputs = questions[0].sampling, self.inputs(questions)
        length = inputs["input_ids"].shape[1]
        states = [self._start(question) for question in questions]
        how: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if sampling.temperature:
            how = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        with torch.random.fork_rng():
            torch.manual_seed(questions[0].seed)
            written = self.model.generate(
                **inputs,
                **how,
                max_new_tokens=sampling.max_tokens,
                eos_token_id=list(self._ends),
                pad_token_id=self.processor.tokenizer.pad_token_id,
                # A piece of an image is no part of any answer, and would be read as one in the next step.
                suppress_tokens=[self.image_token],
                logits_processor=transformers.LogitsProcessorList([GrammarProcessor(states, prompt_length=length)]),
            )
        return [self._until_end(row) for row in written[:, length:].tolist()]

    # Parts.

    def inputs(self, questions: list[Question]) -> Any:
        """What transformers' own processor makes of them, padded on the left."""
        return self.processor.apply_chat_template(
            [self.prompts.messages(question) for question in questions],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self.model.device)

    def _encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        base = self.model.get_base_model() if self.has_adapter else self.model
        weight = next(base.model.vision_tower.parameters())
        dtype = weight.dtype if weight.is_floating_point() else base.dtype
        return base.get_image_features(pixels.to(weight.device, dtype), return_dict=True).pooler_output

    def _pixels(self, image: np.ndarray) -> torch.Tensor:
        return self.prompts.pixels(image)

    def _start(self, question: Question) -> Any:
        return None if question.grammar is None else self._grammars.start(question.grammar)

    @contextlib.contextmanager
    def _adapter(self, *, on: bool) -> Iterator[None]:
        with self.model.disable_adapter() if self.has_adapter and not on else contextlib.nullcontext():
            yield

    def _text(self, tokens: list[int]) -> str:
        return self.processor.tokenizer.decode(tokens, skip_special_tokens=True)

    def _until_end(self, tokens: list[int]) -> list[int]:
        for index, token in enumerate(tokens):
            if token in self._ends:
                return tokens[:index]
        return tokens

    def _check_adapter(self) -> None:
        """SettingError when the model scores a probe the same with the adapter and without."""
        probe = self.processor.tokenizer("move forward 3 cm", return_tensors="pt").to(self.model.device)
        ids = {"input_ids": probe["input_ids"], "attention_mask": probe["attention_mask"]}
        with torch.inference_mode():
            scores = self.model(**ids).logits
            with self.model.disable_adapter():
                base = self.model(**ids).logits
        if torch.equal(scores, base):
            raise SettingError(
                f"The adapter {self.settings.adapter!r} changes nothing about {self.settings.model!r}: it is "
                "untrained, or its layers have other names than the model's. Train it, or give this model's own."
            )


@functools.cache
def load_model(settings: HfSettings) -> HfModel:
    """The model for `settings`, loaded once in a process."""
    return HfModel(settings)


def load_processor(model: str) -> Any:
    """What turns words and pictures into numbers for `model`: the same in evaluation and in training."""
    processor = _load(transformers.AutoProcessor.from_pretrained, model)
    processor.tokenizer.padding_side = "left"
    return processor


def load_weights(settings: HfSettings) -> Any:
    """The model without its adapter, where transformers puts it."""
    return _load(
        transformers.AutoModelForImageTextToText.from_pretrained, settings.model, **loading_arguments(settings)
    )


def loading_arguments(settings: HfSettings) -> dict[str, Any]:
    """What `from_pretrained` is given."""
    arguments: dict[str, Any] = {"dtype": settings.dtype}
    if settings.device_map:
        arguments["device_map"] = settings.device_map
    if settings.quantization:
        arguments["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_8bit=settings.quantization == "8bit", load_in_4bit=settings.quantization == "4bit"
        )
        arguments.setdefault("device_map", "auto")
    return arguments


def _load(loader: Any, name: str, **arguments: Any) -> Any:
    try:
        return loader(name, **arguments)
    except ImportError as error:
        raise missing_extra(f"Loading {name!r} this way", error.name or str(error).split("\n")[0], "vlm") from error
    except (OSError, ValueError) as error:
        where = "The folder is there" if Path(name).is_dir() else "No such folder, so it was looked for on the hub"
        raise SettingError(
            f"{name!r} cannot be loaded as an image-text-to-text model. {where}. transformers says: "
            f"{str(error).strip().splitlines()[0]} Give a folder written by save_pretrained, or a hub name that this "
            "machine can reach and whose licence was accepted (`hf auth login`)."
        ) from error


def _load_adapter(model: Any, adapter: str) -> Any:
    try:
        from peft import PeftModel
    except ModuleNotFoundError as error:
        raise missing_extra("An adapter", error.name or "peft", "vlm") from error
    try:
        return PeftModel.from_pretrained(model, adapter)
    except (OSError, ValueError, RuntimeError) as error:
        raise SettingError(
            f"The adapter {adapter!r} cannot be put on the model: {str(error).strip().splitlines()[0]} Give a folder "
            "with adapter_config.json and adapter_model.safetensors that was trained on this model."
        ) from error


def _default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _ends(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer, as the model's own generation settings say."""
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    return (ends,) if isinstance(ends, int) else tuple(ends)


def _compile_feed_forward(model: Any) -> None:
    for name, module in model.named_modules():
        # Whole layers would be compiled again for each of them, because the cache is addressed by the layer's number.
        if "language_model.layers" in name and name.endswith(".mlp"):
            module.compile(dynamic=True)
