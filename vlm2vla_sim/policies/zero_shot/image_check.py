"""Does a server's model get the pictures that it is sent? Some servers drop them, or all but the last, without a word.

A policy whose model sees nothing acts on the prompt alone, and its failures would be taken for the model's. So the
model is asked for the colours of plain pictures, as many as its prompts will hold.
"""

from __future__ import annotations

import re

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.base import Question, Sampling, TextModel

COLOURS = {
    "blue": (20, 40, 230),
    "red": (230, 20, 20),
    "white": (255, 255, 255),
    "green": (20, 160, 30),
    "yellow": (250, 230, 20),
    "black": (0, 0, 0),
}
"""Name -> RGB of the plain pictures, in the order in which they are sent."""
SIZE = 224
"""[pixels] side of a plain picture."""
_PROMPT = (
    "You see {count}, of one colour each. Which colour is it{each}? Answer with {words} out of: {names}; nothing else."
)
_WORDS = re.compile("|".join([*sorted(COLOURS), "gr[ae]y", "orange", "purple", "brown", "pink"]), re.IGNORECASE)


def check_images(model: TextModel, *, pictures: int, tokens: int) -> None:
    """SettingError unless `model` names the colours of `pictures` plain pictures in one question, twice.

    tokens: the most tokens of an answer; a model that thinks needs many.
    """
    names = list(COLOURS)
    for start in (0, 1):
        sent = [names[(start + number) % len(names)] for number in range(pictures)]
        several = pictures > 1
        prompt = _PROMPT.format(
            count=f"{pictures} pictures" if several else "a picture",
            each=", picture by picture" if several else "",
            words=f"{pictures} words, separated by commas," if several else "one word",
            names=", ".join(sorted(names)),
        )
        plain = tuple(np.full((SIZE, SIZE, 3), COLOURS[name], np.uint8) for name in sent)
        (stage,) = model.answer([Question("image check", prompt, plain, sampling=Sampling(max_tokens=tokens))])
        said = [word.lower() for word in _WORDS.findall(stage.text)][-pictures:]
        if said != sent:
            wanted = "pictures"
            if several:
                wanted = f"{pictures} pictures in one question, or give less history and fewer examples"
            raise SettingError(
                f"The model does not see the pictures that it is sent: of {pictures} of the colour "
                f"{', '.join(sent)}, it answered {stage.text[:120]!r}. Use a model and a server that take "
                f"{wanted}"
                "; image_check=false leaves this check out."
            )
