"""Translations of the tasks' instructions into Spanish, Mandarin and Hindi, as in the paper's evaluation "Pick Up - T".

Training and evaluation use the same translations, so that scores can be compared. `CHECKED` says who wrote them and how
they were checked.
(Hancock et al., "Actions as Language", arXiv 2509.22195, section 4.2.1: the three languages. Its sentences are not
public, and its tasks are others.)
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm2vla_sim.errors import unknown_name

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "es": "Spanish", "zh": "Mandarin Chinese", "hi": "Hindi"}
"""Code (ISO 639-1) -> name."""


@dataclass(frozen=True)
class Translation:
    """One instruction in one language."""

    text: str
    back: str
    """Literal back-translation into English, for readers and reviewers."""


CHECKED = {
    "es": "Written by a language model and read back word for word (`Translation.back`); no native speaker yet.",
    "zh": "As people who write Chinese put SIMPLER's four tasks in two public notes on CogACT and VideoVLA; read back.",
    "hi": (
        "Written by a language model and read back word for word; 'पीली टोकरी में रखें' (put in the yellow basket) is said "
        "so in a public children's game. No native speaker's check yet."
    ),
}
"""Language -> who wrote the translations, and how they were checked. Update it together with the table."""

TRANSLATIONS: dict[str, dict[str, Translation]] = {
    "put the spoon on the towel": {
        "es": Translation("pon la cuchara sobre la toalla", "put the spoon on top of the towel"),
        "zh": Translation("把勺子放在毛巾上", "[object] spoon put at towel on"),
        "hi": Translation("चम्मच को तौलिये पर रखो", "spoon [object] towel on put"),
    },
    "put carrot on plate": {
        "es": Translation("pon la zanahoria en el plato", "put the carrot on the plate"),
        "zh": Translation("把胡萝卜放在盘子上", "[object] carrot put at plate on"),
        "hi": Translation("गाजर को प्लेट पर रखो", "carrot [object] plate on put"),
    },
    "stack the green block on the yellow block": {
        "es": Translation(
            "apila el bloque verde sobre el bloque amarillo", "stack the green block on the yellow block"
        ),
        "zh": Translation("把绿色方块堆在黄色方块上", "[object] green cube pile at yellow cube on"),
        "hi": Translation("हरे ब्लॉक को पीले ब्लॉक के ऊपर रखो", "green block [object] yellow block of top put"),
    },
    "put eggplant into yellow basket": {
        "es": Translation("pon la berenjena en la cesta amarilla", "put the eggplant in the yellow basket"),
        "zh": Translation("把茄子放在黄色篮子里", "[object] eggplant put at yellow basket inside"),
        "hi": Translation("बैंगन को पीली टोकरी में रखो", "eggplant [object] yellow basket in put"),
    },
}
"""English instruction, as in `envs.tasks` -> language -> translation."""


def translate(instruction: str, language: str) -> str:
    """`instruction` in `language`; UnknownNameError where it is not in the table.

    >>> translate("put carrot on plate", "hi")
    'गाजर को प्लेट पर रखो'
    """
    if language not in LANGUAGES:
        raise unknown_name("language", language, LANGUAGES)
    if language == ENGLISH:
        return instruction
    if instruction not in TRANSLATIONS:
        raise unknown_name("translated instruction", instruction, TRANSLATIONS)
    return TRANSLATIONS[instruction][language].text


def english_of(instruction: str) -> str:
    """The English instruction of which `instruction` is a translation in the table; empty if it is none.

    >>> english_of("pon la zanahoria en el plato"), english_of("put carrot on plate")
    ('put carrot on plate', '')
    """
    for english, translated in TRANSLATIONS.items():
        if instruction.strip() in {one.text for one in translated.values()}:
            return english
    return ""
