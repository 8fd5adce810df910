"""Loads a folder of rows for the trainer and checks every row before the first step.

A missing image would end a training run after hours, and a truncated completion teaches the model to stop in the middle
of an action. Such rows are left out and counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vlm2vla_sim.data.episode import Example
from vlm2vla_sim.data.examples.folder import data_hash, read_image, read_rows
from vlm2vla_sim.data.examples.maker import to_chat
from vlm2vla_sim.errors import SettingError, missing_extra
from vlm2vla_sim.policies.models.answer_frame import answer_frame, learned_text

try:
    import datasets
    from PIL import Image
except ModuleNotFoundError as error:
    raise missing_extra("Training", error.name or "datasets", "train") from error

FEATURES = datasets.Features(
    {
        "episode": datasets.Value("string"),
        "stage": datasets.Value("string"),
        "images": datasets.List(datasets.Value("string")),
        "prompt": datasets.Value("string"),
        "completion": datasets.Value("string"),
    }
)
"""The columns of a row."""


def open_rows(folder: Path, processor: Any, *, max_tokens: int, cache: Path) -> tuple[Any, dict[str, int]]:
    """A `datasets.Dataset` of chat rows (see `to_chat`), and reason -> number of rows left out.

    cache: a folder for the library's copy of the text; images are read when a row is accessed. SettingError if no row
    can be used, or if the chat template has no token that ends an answer.
    """
    counter = TokenCounter(processor)
    kept: list[int] = []
    skipped: Counter[str] = Counter()
    for number, row in enumerate(read_rows(folder)):
        problem = _problem(folder, row, counter, max_tokens)
        if problem:
            skipped[problem] += 1
        else:
            kept.append(number)
    if not kept:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in skipped.items()) or "it contains none"
        raise SettingError(f"No row of {folder} can be used for training ({reasons}).")
    datasets.disable_progress_bars()
    # Not from_json, which reads the name of the file as a pattern or an address ("a[1]", "a::b").
    rows: Any = datasets.Dataset.from_generator(
        _columns, features=FEATURES, cache_dir=str(cache), gen_kwargs={"folder": folder, "digest": data_hash(folder)}
    )
    return rows.select(kept).with_transform(_chat_rows(folder)), dict(skipped)


def _columns(folder: Path, digest: str) -> Iterator[dict[str, object]]:
    """The rows of `folder`. digest: of the rows, so that the library's copy of others is not used."""
    for row in read_rows(folder):
        yield {name: row.get(name) for name in FEATURES}  # rows that lack one are left out by their number


class TokenCounter:
    """Counts a row's tokens without decoding its images: images of equal size take equal numbers of tokens."""

    def __init__(self, processor: Any) -> None:
        self._processor, self._frame = processor, answer_frame(processor)
        if self._frame.end is None:
            raise SettingError(
                "The chat template of this model puts no special token after an answer, so training could not teach it "
                "to end one. Add the end token to the template (chat_template.jinja in the model's folder)."
            )
        self._image_tokens: dict[tuple[tuple[int, int], ...], int] = {}

    def count(self, sizes: tuple[tuple[int, int], ...], prompt: str, completion: str) -> int:
        """Tokens of prompt, images and completion. sizes: (width, height) of each image [px]."""
        return self._count_text(len(sizes), prompt, completion) + self._count_images(sizes)

    def is_kept(self, images: int, prompt: str, completion: str) -> bool:
        """Whether the tokens of `completion` are its text, so that a model that learned them writes it."""
        return learned_text(self._processor, self._frame, images, prompt, completion).strip() == completion.strip()

    def _count_text(self, images: int, prompt: str, completion: str) -> int:
        text = self._text(images, prompt, completion)
        return len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _text(self, images: int, prompt: str, completion: str) -> str:
        parts = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": prompt}]
        turns = [
            {"role": "user", "content": parts},
            {"role": "assistant", "content": [{"type": "text", "text": completion}]},
        ]
        return self._processor.apply_chat_template(turns, tokenize=False)

    def _count_images(self, sizes: tuple[tuple[int, int], ...]) -> int:
        """The tokens that the images add to the text."""
        if sizes not in self._image_tokens:
            text = self._text(len(sizes), "look", "seen")
            blank = [Image.new("RGB", size) for size in sizes]
            made = self._processor(images=[blank], text=[text], add_special_tokens=False)
            self._image_tokens[sizes] = len(made["input_ids"][0]) - self._count_text(len(sizes), "look", "seen")
        return self._image_tokens[sizes]


def _problem(folder: Path, row: dict[str, Any], counter: TokenCounter, max_tokens: int) -> str:
    """Why a row cannot be used for training; empty if it can."""
    if not {"stage", "images", "prompt", "completion"} <= row.keys():
        return "a field is missing"
    if not row["images"]:
        return "no image"
    if not row["completion"].strip():
        return "an empty completion"
    sizes = []
    for name in row["images"]:
        path = folder / name
        if not path.is_file():
            return "a missing image"
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
                image.verify()
        except (OSError, SyntaxError, ValueError):
            return "a broken image"
    if not counter.is_kept(len(sizes), row["prompt"], row["completion"]):
        return "an answer that the model's tokenizer changes"
    tokens = counter.count(tuple(sizes), row["prompt"], row["completion"])
    return f"longer than {max_tokens} tokens" if tokens > max_tokens else ""


def _chat_rows(folder: Path) -> Callable[[dict[str, list[Any]]], dict[str, list[Any]]]:
    def transform(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made = []
        for stage, names, prompt, completion in zip(
            batch["stage"], batch["images"], batch["prompt"], batch["completion"], strict=True
        ):
            images = tuple(read_image(folder / name) for name in names)
            made.append(to_chat(Example(stage, images, prompt, completion)))
        return {key: [row[key] for row in made] for key in ("images", "prompt", "completion")}

    return transform
