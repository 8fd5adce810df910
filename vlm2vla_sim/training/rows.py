"""Rows on disk as the trainer draws them, checked one by one before the first step.

A picture that is missing would end a training after hours; an answer that is cut off at the limit teaches the model to
stop in the middle of an action. Such rows are left out, with a count and a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlm2vla_sim.data.episode import Example
from vlm2vla_sim.data.examples.folder import ROWS, read_image, read_rows
from vlm2vla_sim.data.examples.maker import to_chat
from vlm2vla_sim.errors import SettingError, missing_extra

try:
    import datasets
    from PIL import Image
except ModuleNotFoundError as error:
    raise missing_extra("Training", error.name or "datasets", "train") from error


def open_rows(folder: Path, processor: Any, *, max_tokens: int, cache: Path) -> tuple[Any, dict[str, int]]:
    """A `datasets.Dataset` of chat rows (see `to_chat`), and reason -> how many were left out.

    cache: a folder for the library's own copy of the words; pictures are read when a row is drawn.
    """
    counted = TokenCounter(processor)
    kept: list[int] = []
    skipped: Counter[str] = Counter()
    for number, row in enumerate(read_rows(folder)):
        problem = _problem(folder, row, counted, max_tokens)
        if problem:
            skipped[problem] += 1
        else:
            kept.append(number)
    if not kept:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in skipped.items()) or "there are none"
        raise SettingError(f"No row of {folder} can be trained on ({reasons}).")
    datasets.disable_progress_bars()
    rows: Any = datasets.Dataset.from_json(str(folder / ROWS), cache_dir=str(cache))
    rows = rows.select_columns(["stage", "images", "prompt", "completion"])
    return rows.select(kept).with_transform(_chat_rows(folder)), dict(skipped)


class TokenCounter:
    """Counts a row's tokens without touching its pixels: pictures of one size always take the same number."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._for_pictures: dict[tuple[tuple[int, int], ...], int] = {}

    def count(self, sizes: tuple[tuple[int, int], ...], prompt: str, completion: str) -> int:
        """Tokens of prompt, pictures and answer. sizes: (width, height) of each picture."""
        return self._words(len(sizes), prompt, completion) + self._pictures(sizes)

    def _words(self, pictures: int, prompt: str, completion: str) -> int:
        text = self._text(pictures, prompt, completion)
        return len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _text(self, pictures: int, prompt: str, completion: str) -> str:
        parts = [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": prompt}]
        turns = [
            {"role": "user", "content": parts},
            {"role": "assistant", "content": [{"type": "text", "text": completion}]},
        ]
        return self._processor.apply_chat_template(turns, tokenize=False)

    def _pictures(self, sizes: tuple[tuple[int, int], ...]) -> int:
        """What the pictures add to the words."""
        if sizes not in self._for_pictures:
            text = self._text(len(sizes), "look", "seen")
            blank = [Image.new("RGB", size) for size in sizes]
            made = self._processor(images=[blank], text=[text], add_special_tokens=False)
            self._for_pictures[sizes] = len(made["input_ids"][0]) - self._words(len(sizes), "look", "seen")
        return self._for_pictures[sizes]


def _problem(folder: Path, row: dict[str, Any], counted: TokenCounter, max_tokens: int) -> str:
    """Why a row cannot be trained on; empty if it can."""
    if not {"stage", "images", "prompt", "completion"} <= row.keys():
        return "a field is missing"
    if not row["images"]:
        return "no picture"
    if not row["completion"].strip():
        return "an empty completion"
    sizes = []
    for name in row["images"]:
        path = folder / name
        if not path.is_file():
            return "a missing picture"
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
                image.verify()
        except (OSError, SyntaxError, ValueError):
            return "a broken picture"
    tokens = counted.count(tuple(sizes), row["prompt"], row["completion"])
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
