"""The ten least likely tokens of a model, which the format `tokens` uses instead of digits.

They differ between models, and an adapter works only with the ones it was trained with. So they are computed once,
before training, saved in the adapter's folder, and read from there. (VLM2VLA-AT in arXiv 2509.22195.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import action_prompt
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.models.byte_vocabulary import special_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = "action_symbols.json"


class Ranker(Protocol):
    """A model that returns the probabilities of the first token of its answer."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, of transformers."""
        ...

    @property
    def image_token(self) -> int | None:
        """The token for a part of an image; None for a model without vision."""
        ...

    def first_scores(self, question: Question) -> np.ndarray:
        """Log-probabilities, (V,) float64, of the first token of the answer to `question`."""
        ...


def symbols_of(model: str, dtype: str = "auto") -> tuple[str, ...]:
    """`find_symbols` of a model by its folder or hub name, which is loaded for it."""
    from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings

    return find_symbols(HfModel(HfSettings(model, dtype=dtype)))


def find_symbols(model: Ranker, questions: Sequence[Question] | None = None) -> tuple[str, ...]:
    """The texts of the ten tokens least likely to begin the base model's answer, on average over `questions`.

    By default the questions are action prompts about a grey image. A token qualifies if its text encodes to the same
    token, also next to the brackets and commas of an action, and contains no digit, no character of the format and no
    blank. SettingError if fewer than ten qualify.
    """
    scores = np.mean([model.first_scores(question) for question in questions or _default_questions()], axis=0)
    tokenizer = model.tokenizer
    special = special_tokens(tokenizer) | {model.image_token}
    found: list[str] = []
    for token in np.argsort(scores, kind="stable"):
        text = tokenizer.decode([int(token)])
        if int(token) in special or text in found or not _encodes_to_itself(tokenizer, int(token), text):
            continue
        if _is_symbol(text) and not any(text.startswith(other) or other.startswith(text) for other in found):
            found.append(text)
        if len(found) == 10:
            return tuple(found)
    raise SettingError(f"Only {len(found)} tokens of this model can replace digits; the format 'tokens' needs ten.")


def save_symbols(symbols: Sequence[str], folder: str | Path) -> Path:
    """Save the symbols in the adapter's folder."""
    get_format("tokens", symbols=symbols)
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"digits_0_to_9": list(symbols)}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def read_symbols(folder: str) -> tuple[str, ...]:
    """The symbols that `save_symbols` saved; SettingError if there are none."""
    if not folder:
        raise SettingError(
            "The format 'tokens' needs the ten symbols that are saved with an adapter: give its folder (--adapter)."
        )
    path = Path(folder) / FILE
    try:
        symbols = json.loads(path.read_text(encoding="utf-8"))["digits_0_to_9"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"{path} cannot be read ({type(error).__name__}). The format 'tokens' needs the ten symbols of the "
            "training, which are saved in the folder of the adapter (--adapter) or of a full model (--model)."
        ) from error
    return tuple(map(str, symbols))


def _default_questions() -> list[Question]:
    grey = np.full((224, 224, 3), 128, np.uint8)
    subtasks = ("grasp the carrot", "put the spoon on the towel", "stack the green block on the yellow block")
    return [
        Question("action", action_prompt(subtask, "", get_format("vlm2vla")), (grey,), adapter=False)
        for subtask in subtasks
    ]


def _encodes_to_itself(tokenizer: Any, token: int, text: str) -> bool:
    """Whether `text` encodes to this token alone, also between the brackets and signs of an action."""
    ids = tokenizer(f"[{text}, -{text}{text}]", add_special_tokens=False)["input_ids"]
    return ids.count(token) == 3


def _is_symbol(text: str) -> bool:
    others = [letter for letter in "ΔΘΛΞΠΣΦΨΩЖ" if not text.startswith(letter)][:9]
    try:
        get_format("tokens", symbols=(text, *others))
    except SettingError:
        return False
    return True
