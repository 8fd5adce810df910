"""Text of any content and length in a fixed space: cleaned to the characters of the font, measured and wrapped."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

MAX_CHARACTERS = 600
"""Of one text; a model may answer with megabytes, and there is room for two lines."""
# The font that Pillow carries knows ASCII and a few signs. By code: minus, dashes, arrows, times, quotation marks.
_SPELLED = str.maketrans(
    {0x2212: "-", 0x2013: "-", 0x2014: "-", 0x2190: "<-", 0x2192: "->", 0xD7: "x"}
    | {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2264: "<=", 0x2265: ">="}
)
_KNOWN = frozenset(map(chr, range(32, 127))) | frozenset("°·…±")


class TextLayout:
    """Pillow's own font in several sizes, scaled."""

    def __init__(self, sizes: Sequence[int], scale: float) -> None:
        """sizes: in points at `scale` 1."""
        from PIL import ImageFont

        self.fonts = {size: ImageFont.load_default(size * scale) for size in sizes}

    def length(self, text: str, size: int) -> float:
        """How wide `text` is [px]."""
        return self.fonts[size].getlength(text)

    def wrap(self, text: str, size: int, width: float, *, lines: int) -> list[str]:
        """At most `lines` lines of at most `width` pixels; the last one ends in "…" if there was more."""
        left = clean(text)
        wrapped = []
        while left and len(wrapped) < lines:
            fits = self._fitting(left, size, width)
            if fits < len(left) and len(wrapped) == lines - 1:
                fits = self._fitting(left, size, width - self.length("…", size))
                wrapped.append(left[:fits].rstrip() + "…")
                break
            blank = left.rfind(" ", 0, fits + 1) if fits < len(left) else fits
            end = blank if blank > 0 else fits
            wrapped.append(left[:end].rstrip())
            left = left[end:].lstrip()
        return wrapped or [""]

    def _fitting(self, text: str, size: int, width: float) -> int:
        """How many leading characters of `text` fit into `width` pixels; at least 1, so that wrapping always ends."""
        low, high = 1, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.length(text[:middle], size) <= width else (low, middle - 1)
        return low


def clean(text: str) -> str:
    """One line of characters that the font has: accents dropped, symbols spelled out, the rest shown as "?"."""
    head = text[:MAX_CHARACTERS].translate(_SPELLED)
    head = "".join(c for c in unicodedata.normalize("NFKD", head) if not unicodedata.combining(c))
    head = " ".join(head.split())
    return "".join(c if c in _KNOWN else "?" for c in head) + ("…" if len(text) > MAX_CHARACTERS else "")
