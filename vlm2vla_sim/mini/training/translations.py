"""Translations of object names and of one sentence, so that the base model knows words beyond English.

The adapter is trained on English instructions only. Whether it follows others can only come from the base model, as in
a web-scale one; so the base is taught what the words mean, and never to act on them.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.mini.scenes.object_catalog import CATALOG
from vlm2vla_sim.mini.training.question_answer import QuestionAnswer

LANGUAGES = ("English", "Spanish", "Mandarin", "Hindi")
NAMES = {item.spoken_name: (item.spoken_name, *item.translations) for item in CATALOG}
"""English name of each object -> its names in the order of LANGUAGES."""
PUT = ("put the {} on the {}", "pon {} sobre {}", "把{}放在{}上", "{} को {} पर रखो")
"""In the order of LANGUAGES."""


def instruction(language: int, source: str, target: str) -> str:
    """The instruction to put `source` on `target`, both English names, in the language of that index."""
    return PUT[language].format(NAMES[source][language], NAMES[target][language])


def sample(rng: np.random.Generator, *, count: int) -> list[QuestionAnswer]:
    """`count` questions about words and sentences."""
    names = list(NAMES)
    chosen = []
    for _ in range(count):
        language = int(rng.integers(1, len(LANGUAGES)))
        source, target = (str(name) for name in rng.choice(names, size=2, replace=False))
        roll = rng.random()
        if roll < 0.25:
            language = int(rng.integers(0, len(LANGUAGES)))
            text = instruction(language, source, target)
            category, question, answer = "language", f"Which language is this: {text}", LANGUAGES[language]
        elif roll < 0.6:
            text = NAMES[source][language]
            category, question, answer = "meaning", f"What does this mean: {text}", f"the {source}"
        else:
            text = instruction(language, source, target)
            category, question, answer = "meaning", f"What does this mean: {text}", instruction(0, source, target)
        chosen.append(QuestionAnswer(category, question, answer, needs_image=False))
    return chosen
