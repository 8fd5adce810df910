"""Four languages for the things of the scenes: what the base model knows of words beyond English.

An adapter is trained on English instructions alone. Whether it understands others can only come from the base, as it
does in a model that has read the internet; so the base is told what the words mean, and never told to act on them.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.mini.training.scene_questions import Exchange

LANGUAGES = ("English", "Spanish", "Mandarin", "Hindi")
# fmt: off
THINGS = {
    "carrot": ("la zanahoria", "胡萝卜", "गाजर"),
    "plate": ("el plato", "盘子", "प्लेट"),
    "spoon": ("la cuchara", "勺子", "चम्मच"),
    "towel": ("la toalla", "毛巾", "तौलिया"),
    "green block": ("el bloque verde", "绿色方块", "हरा ब्लॉक"),
    "yellow block": ("el bloque amarillo", "黄色方块", "पीला ब्लॉक"),
    "eggplant": ("la berenjena", "茄子", "बैंगन"),
    "basket": ("la cesta", "篮子", "टोकरी"),
}
"""English name -> Spanish with its article, Mandarin, Hindi."""
# fmt: on
PUT = ("put the {} on the {}", "pon {} sobre {}", "把{}放在{}上", "{} को {} पर रखो")
"""In the order of LANGUAGES."""


def say(language: int, source: str, target: str) -> str:
    """Say in a language to put `source` on `target`; both are English names of THINGS."""
    if language == 0:
        return PUT[0].format(source, target)
    return PUT[language].format(THINGS[source][language - 1], THINGS[target][language - 1])


def ask(rng: np.random.Generator, *, count: int) -> list[Exchange]:
    """`count` questions about words, without a picture."""
    names = list(THINGS)
    exchanges = []
    for _ in range(count):
        language = int(rng.integers(1, len(LANGUAGES)))
        source, target = (str(name) for name in rng.choice(names, size=2, replace=False))
        roll = rng.random()
        if roll < 0.25:
            language = int(rng.integers(0, len(LANGUAGES)))
            sentence = say(language, source, target)
            exchanges.append(Exchange("language", f"Which language is this: {sentence}", LANGUAGES[language]))
        elif roll < 0.6:
            word = THINGS[source][language - 1]
            exchanges.append(Exchange("meaning", f"What does this mean: {word}", f"the {source}"))
        else:
            sentence = say(language, source, target)
            exchanges.append(Exchange("meaning", f"What does this mean: {sentence}", say(0, source, target)))
    return exchanges
