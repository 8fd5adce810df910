"""Spanish, Mandarin and Hindi, for the sentences that `language.translations` has and the words of a kitchen.

A sentence becomes the English words in English order, each with its place in the text, and is read as those. A word
that is not in the tables leaves the sentence unread. The tables were written by a language model and read back; no
native speaker has checked them.
"""

from __future__ import annotations

import re

from vlm2vla_sim.language.instruction_parser.records import Unread
from vlm2vla_sim.language.instruction_parser.sets import words
from vlm2vla_sim.language.instruction_parser.tokens import Token

_SPANISH_VERBS = {
    "pon": "put", "poner": "put", "ponga": "put", "coloca": "place", "colocar": "place", "coloque": "place",
    "apila": "stack", "apilar": "stack", "mueve": "move", "mover": "move", "mueva": "move", "toma": "take",
    "tomar": "take", "coge": "take", "recoge": "pick up", "recoger": "pick up", "agarra": "grasp", "agarrar": "grasp",
    "levanta": "lift", "levantar": "lift", "saca": "remove", "sacar": "remove", "quita": "remove", "quitar": "remove",
    "abre": "open", "abrir": "open", "cierra": "close", "cerrar": "close", "empuja": "push", "empujar": "push",
    "dobla": "fold", "doblar": "fold", "limpia": "wipe", "limpiar": "wipe", "deja": "leave", "dejar": "leave",
}  # fmt: skip
_SPANISH = {
    "zanahoria": "carrot", "plato": "plate", "cuchara": "spoon", "toalla": "towel", "bloque": "block", "cubo": "cube",
    "berenjena": "eggplant", "cesta": "basket", "canasta": "basket", "taza": "cup", "vaso": "glass",
    "tenedor": "fork", "cuchillo": "knife", "olla": "pot", "sartén": "pan", "tapa": "lid", "cuenco": "bowl",
    "tazón": "bowl", "mesa": "table", "cajón": "drawer", "estufa": "stove", "fregadero": "sink", "paño": "cloth",
    "botella": "bottle", "lata": "can", "plátano": "banana", "manzana": "apple", "tomate": "tomato", "papa": "potato",
    "patata": "potato", "pan": "bread", "queso": "cheese", "limón": "lemon", "fresa": "strawberry",
    "champiñón": "mushroom", "brócoli": "broccoli", "maíz": "corn", "esponja": "sponge", "espátula": "spatula",
    "caja": "box", "bandeja": "tray", "pelota": "ball", "microondas": "microwave", "nevera": "fridge",
    "horno": "oven", "verdura": "vegetable", "objeto": "object",
}  # fmt: skip
_SPANISH_ADJECTIVES = {
    "verde": "green", "amarillo": "yellow", "amarilla": "yellow", "rojo": "red", "roja": "red", "azul": "blue",
    "blanco": "white", "blanca": "white", "negro": "black", "negra": "black", "naranja": "orange", "morado": "purple",
    "morada": "purple", "rosa": "pink", "gris": "gray", "plateado": "silver", "plateada": "silver",
    "pequeño": "small", "pequeña": "small", "grande": "big", "metálico": "metal", "metálica": "metal",
}  # fmt: skip
_SPANISH_PLACES = {
    "a la izquierda": "to the left", "a la derecha": "to the right", "a la izquierda de": "to the left of",
    "a la derecha de": "to the right of", "encima de": "on top of", "encima": "on top of", "dentro de": "inside",
    "al lado de": "next to", "junto a": "next to", "cerca de": "near", "detrás de": "behind",
    "delante de": "in front of", "debajo de": "under", "sobre": "on", "en": "in", "hacia": "towards", "y": "and",
    "de": "from", "luego": "then",
}  # fmt: skip
_SPANISH_FILLERS = words("el la los las un una por favor")
_HOLDS = frozenset(
    {"basket", "drawer", "sink", "box", "pot", "pan", "bowl", "cup", "glass", "fridge", "oven", "microwave"}
)
"""What "en" puts things into; it puts them on everything else."""

_CHINESE_VERBS = {"放": "put", "堆": "stack", "叠": "stack", "移": "move", "移动": "move", "摆": "place"}
_CHINESE_HOLDS = {
    "拿起": "pick up",
    "捡起": "pick up",
    "抓起": "grasp",
    "抓住": "grasp",
    "打开": "open",
    "关上": "close",
}
_CHINESE = {
    "绿色": "green", "黄色": "yellow", "红色": "red", "蓝色": "blue", "白色": "white", "黑色": "black",
    "橙色": "orange", "紫色": "purple", "勺子": "spoon", "毛巾": "towel", "胡萝卜": "carrot", "盘子": "plate",
    "方块": "block", "积木": "block", "茄子": "eggplant", "篮子": "basket", "杯子": "cup", "叉子": "fork",
    "刀": "knife", "锅": "pot", "碗": "bowl", "桌子": "table", "抽屉": "drawer", "水槽": "sink", "炉子": "stove",
    "布": "cloth", "瓶子": "bottle", "香蕉": "banana", "苹果": "apple", "土豆": "potato", "海绵": "sponge",
    "盒子": "box", "球": "ball", "玉米": "corn", "蘑菇": "mushroom", "草莓": "strawberry", "盖子": "lid",
    "微波炉": "microwave", "冰箱": "fridge", "红": "red", "绿": "green", "黄": "yellow", "蓝": "blue",
}  # fmt: skip
_CHINESE_PLACES = {
    "上面": "on", "上": "on", "里面": "in", "里": "in", "中": "in", "旁边": "next to", "下面": "under",
    "后面": "behind", "前面": "in front of",
}  # fmt: skip
_CHINESE_PUT = re.compile(
    rf"(?:请)?[把将](?P<object>.+?)(?P<verb>{'|'.join(sorted(_CHINESE_VERBS, key=len, reverse=True))})(?:在|到|进)?"
    rf"(?P<goal>.+?)(?P<place>{'|'.join(_CHINESE_PLACES)})"
)
_CHINESE_HOLD = re.compile(rf"(?:请)?(?P<verb>{'|'.join(_CHINESE_HOLDS)})(?P<object>.+)")

_HINDI = {
    "चम्मच": "spoon", "तौलिये": "towel", "तौलिया": "towel", "गाजर": "carrot", "प्लेट": "plate", "ब्लॉक": "block",
    "बैंगन": "eggplant", "टोकरी": "basket", "कप": "cup", "कटोरी": "bowl", "कटोरे": "bowl", "मेज": "table",
    "मेज़": "table", "बर्तन": "pot", "आलू": "potato", "केला": "banana", "केले": "banana", "सेब": "apple",
    "डिब्बे": "box", "डिब्बा": "box", "दराज": "drawer", "कपड़े": "cloth", "कपड़ा": "cloth", "बोतल": "bottle",
    "चाकू": "knife", "कांटा": "fork", "ढक्कन": "lid", "हरे": "green", "हरा": "green", "हरी": "green",
    "पीले": "yellow", "पीला": "yellow", "पीली": "yellow", "लाल": "red", "नीले": "blue", "नीला": "blue",
    "नीली": "blue", "सफेद": "white", "काले": "black", "काला": "black", "काली": "black",
}  # fmt: skip
_HINDI_VERBS = {
    "रखो": "put",
    "रखें": "put",
    "रख दो": "put",
    "उठाओ": "pick up",
    "उठाएं": "pick up",
    "खोलो": "open",
    "बंद करो": "close",
}
_HINDI_PLACES = {
    "के ऊपर": "on", "पर": "on", "के अंदर": "in", "में": "in", "के पास": "next to", "के बगल में": "next to",
    "के नीचे": "under", "के पीछे": "behind", "के सामने": "in front of",
}  # fmt: skip
_HINDI_SENTENCE = re.compile(
    rf"(?:कृपया )?(?P<object>.+?) को (?:(?P<goal>.+?) (?P<place>{'|'.join(_HINDI_PLACES)}) )?"
    rf"(?P<verb>{'|'.join(_HINDI_VERBS)})"
)

Found = tuple[str, list[Token], list[Unread]]
"""Language, English words, what is not known."""


def english_tokens(text: str) -> Found | None:
    """`text` in another language as English words; None where it is in none of those that are known."""
    plain = text.strip().rstrip(".!。।\uff01 ")
    offset = len(text) - len(text.lstrip())
    if not text.isascii() and re.search("[\u4e00-\u9fff]", text):
        return "zh", *_by_pattern(plain, offset, (_CHINESE_PUT, _CHINESE_HOLD), _CHINESE)
    if not text.isascii() and re.search("[\u0900-\u097f]", text):
        return "hi", *_by_pattern(plain, offset, (_HINDI_SENTENCE,), _HINDI)
    first = next((word for word in text.lower().split() if word not in _SPANISH_FILLERS), "")
    if first not in _SPANISH_VERBS:
        return None
    return "es", *_spanish([Token(match[0].lower(), match.span()) for match in re.finditer(r"[^\W\d_]+", text)])


def _spanish(words: list[Token]) -> tuple[list[Token], list[Unread]]:
    read: list[Token] = []
    unread: list[Unread] = []
    nouns = 0
    at = 0
    words = [Token({"del": "de", "al": "a"}.get(one.word, one.word), one.span) for one in words]
    while at < len(words):
        word, span = words[at].word, words[at].span
        count = next(
            (n for n in (4, 3, 2, 1) if " ".join(one.word for one in words[at : at + n]) in _SPANISH_PLACES), 0
        )
        if count:
            said = " ".join(one.word for one in words[at : at + count])
            read += [Token(one, span) for one in _SPANISH_PLACES[said].split()]
            nouns, at = 0, at + count
            continue
        if word in _SPANISH_ADJECTIVES and nouns:
            read.insert(len(read) - 1, Token(_SPANISH_ADJECTIVES[word], span))
        elif word in _SPANISH_VERBS:
            read += [Token(one, span) for one in _SPANISH_VERBS[word].split()]
        elif word in _SPANISH:
            nouns = 1
            read.append(Token(_SPANISH[word], span))
            _in_or_on(read)
        elif word not in _SPANISH_FILLERS:
            unread.append(Unread(word, span, "the word is not known"))
        at += 1
    return read, unread


def _in_or_on(read: list[Token]) -> None:
    """Make the "in" before the noun at the end "on" where things are put on it: "en" says both."""
    if len(read) > 1 and read[-2].word == "in" and read[-1].word not in _HOLDS:
        read[-2] = Token("on", read[-2].span)


def _by_pattern(
    text: str, offset: int, patterns: tuple[re.Pattern[str], ...], table: dict[str, str]
) -> tuple[list[Token], list[Unread]]:
    found = next((match for pattern in patterns if (match := pattern.fullmatch(text))), None)
    whole = (offset, offset + len(text))
    if not found:
        return [], [Unread(text, whole, "the form of the sentence is not known")]
    parts = found.groupdict()
    names: dict[str, list[Token]] = {}
    for part in ("object", "goal"):
        if parts.get(part):
            start = offset + found.start(part)
            words = _divided(parts[part], table)
            if words is None:
                return [], [Unread(parts[part], (start, start + len(parts[part])), "the words are not known")]
            names[part] = [Token(word, (start, start + len(parts[part]))) for word in words]
    verb = {**_CHINESE_VERBS, **_CHINESE_HOLDS, **_HINDI_VERBS}[parts["verb"]]
    places = {**_CHINESE_PLACES, **_HINDI_PLACES}
    read = [Token(word, whole) for word in verb.split()] + names["object"]
    if "goal" in names:
        read += [Token(word, whole) for word in places[parts["place"]].split()] + names["goal"]
    return read, []


def _divided(text: str, table: dict[str, str]) -> list[str] | None:
    """The English words for `text`, the longest first at each place; None where one is not known."""
    words: list[str] = []
    rest = text.strip().replace("的", "")
    while rest:
        name = next((rest[:count] for count in range(len(rest), 0, -1) if rest[:count] in table), "")
        if not name:
            return None
        words.append(table[name])
        rest = rest[len(name) :].lstrip()
    return words
