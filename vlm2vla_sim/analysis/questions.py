"""VQA questions with their accepted answers, from a folder or from a user's function.

Base and tuned model must get the same questions, so a set of questions is a folder: `questions.jsonl`, one object per
line with `category`, `question`, `answers` (a list) and `images` (paths relative to the folder).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.atomic import creating_folder
from vlm2vla_sim.core.finder import PLACE, find, is_place
from vlm2vla_sim.data.examples.folder import ImageStore, read_image
from vlm2vla_sim.errors import RunFolderError, SettingError

QUESTIONS = "questions.jsonl"


@dataclass(frozen=True, eq=False)
class VqaQuestion:
    """One question."""

    category: str
    question: str
    """The prompt, sent unchanged."""
    answers: tuple[str, ...]
    """All accepted answers."""
    images: tuple[np.ndarray, ...] = ()
    """Each (H, W, 3) uint8 RGB; placed before the question."""

    def __post_init__(self) -> None:
        if not (self.question.strip() and self.answers and all(answer.strip() for answer in self.answers)):
            raise SettingError(
                f"The question is {self.question!r} with the answers {self.answers!r}; expected a question and at "
                "least one answer, none of them empty."
            )


def write_questions(questions: Iterable[VqaQuestion], folder: Path) -> int:
    """Write questions to a new folder, which appears only when it is complete, and return their number.

    RunFolderError if the folder exists.
    """
    if folder.exists():
        raise RunFolderError(f"{folder} exists already. Choose another folder.")
    count = 0
    with creating_folder(folder) as draft:
        images = ImageStore(draft)
        with (draft / QUESTIONS).open("w", encoding="utf-8") as file:
            for one in questions:
                line = {
                    "category": one.category,
                    "question": one.question,
                    "answers": list(one.answers),
                    "images": [images.put(image) for image in one.images],
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                count += 1
    return count


def open_questions(where: str) -> Iterator[VqaQuestion]:
    """The questions in the folder `where`, or those that the function "package.module:NAME" yields.

    SettingError if `where` is neither; UnknownNameError or ExtensionError if the function cannot be imported.
    """
    folder = Path(where)
    if (folder / QUESTIONS).is_file():
        return _read(folder)
    if not is_place(where):
        raise SettingError(
            f"The questions are {where!r}; expected a folder that contains {QUESTIONS}, or a function that yields "
            f"`VqaQuestion`, as {PLACE}."
        )
    return iter(find("question function", where, {})())


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
