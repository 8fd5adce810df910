"""Questions about pictures with the answers that count, on disk or from a function of yours.

What a model forgot can only be said if base and adapter are asked the very same questions; a folder that anybody can
read keeps them. Its form: `questions.jsonl`, one object a line with `category`, `question`, `answers` (a list) and
`images` (paths below the folder).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.atomic import creating_folder
from vlm2vla_sim.data.examples.folder import ImageStore, read_image
from vlm2vla_sim.errors import RunFolderError, SettingError

QUESTIONS = "questions.jsonl"


@dataclass(frozen=True, eq=False)
class VqaQuestion:
    """One question."""

    category: str
    question: str
    """As it is sent; nothing is added to it."""
    answers: tuple[str, ...]
    """Each of them is right."""
    images: tuple[np.ndarray, ...] = ()
    """Each (H, W, 3) uint8 RGB; they stand before the question."""

    def __post_init__(self) -> None:
        if not (self.question.strip() and self.answers and all(answer.strip() for answer in self.answers)):
            raise SettingError(f"The question {self.question!r} has no words or no answer: {self.answers!r}.")


def write_questions(questions: Iterable[VqaQuestion], folder: Path) -> int:
    """Write them to `folder`, which must not be there yet and appears when it is complete; how many they were."""
    if folder.exists():
        raise RunFolderError(f"{folder} is there already; choose another folder.")
    count = 0
    with creating_folder(folder) as draft:
        pictures = ImageStore(draft)
        with (draft / QUESTIONS).open("w", encoding="utf-8") as file:
            for one in questions:
                line = {
                    "category": one.category,
                    "question": one.question,
                    "answers": list(one.answers),
                    "images": [pictures.put(image) for image in one.images],
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                count += 1
    return count


def open_questions(where: str) -> Iterator[VqaQuestion]:
    """The questions in the folder `where`, or those that your function "package.module:function" yields."""
    folder = Path(where)
    if (folder / QUESTIONS).is_file():
        return _read(folder)
    module_name, colon, attribute = where.partition(":")
    if not colon:
        raise SettingError(
            f"There is no {folder / QUESTIONS}; give a folder that holds one, or a function as package.module:function "
            "that yields `VqaQuestion`."
        )
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise SettingError(f"The function {where!r} cannot be found: {error}.") from error
    return iter(function())


def _read(folder: Path) -> Iterator[VqaQuestion]:
    with (folder / QUESTIONS).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                images = tuple(read_image(folder / name) for name in row["images"])
                yield VqaQuestion(str(row["category"]), str(row["question"]), tuple(map(str, row["answers"])), images)
            except (ValueError, KeyError, TypeError) as error:
                raise RunFolderError(
                    f"{folder / QUESTIONS}, line {number}, cannot be read ({type(error).__name__}: {error}); expected "
                    "an object with category, question, answers and images."
                ) from error
