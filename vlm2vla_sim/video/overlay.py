"""The strip of text below the picture of a video: what was asked, what the policy said, what that meant, how it stands.

Without it a video shows an arm that moves, and nobody can tell whether the words were wrong, were misread, or could not
be followed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

BACKGROUND = (17, 20, 26)
TEXT = (232, 234, 237)
FAINT = (128, 137, 150)
WORDS = (255, 209, 128)
GREEN = (63, 185, 80)
ORANGE = (255, 166, 87)
RED = (255, 107, 107)
BLUE = (88, 166, 255)
OFF = (48, 54, 64)

MOST_CHARACTERS = 600
"""Of one text; a model may answer with megabytes, and the strip has room for two lines."""
# The font that Pillow carries knows ASCII and a few signs. By code: minus, dashes, arrows, times, quotation marks.
_SPELLED = str.maketrans(
    {0x2212: "-", 0x2013: "-", 0x2014: "-", 0x2190: "<-", 0x2192: "->", 0xD7: "x"}
    | {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2264: "<=", 0x2265: ">="}
)
_KNOWN = frozenset(map(chr, range(32, 127))) | frozenset("°·…±")


@dataclass(frozen=True)
class Caption:
    """What one frame of a video says about itself."""

    title: str
    """Task and episode."""
    instruction: str
    step: int
    """Control steps taken so far."""
    steps: int
    """Control steps of the whole episode."""
    subtask: str = ""
    plan: str = ""
    words: str = ""
    """The action text, as the policy wrote it."""
    error: str = ""
    """Why the words could not be read."""
    motion: str = ""
    """The row that is being carried out, in words."""
    clipped: bool = False
    """Whether this step was cut short to keep the arm in its workspace."""
    gripper: float = 1.0
    """Measured opening, 0 closed .. 1 open."""
    flags: tuple[tuple[str, bool], ...] = ()
    """Name and state of each lamp, the last one being success."""


class CaptionStrip:
    """Draws captions for pictures of one width, redrawing only what changed since the last one."""

    def __init__(self, width: int) -> None:
        from PIL import ImageFont

        self.width = width
        self._scale = min(max(width / 640, 0.7), 4.0)
        self._fonts = {size: ImageFont.load_default(size * self._scale) for size in (12, 14, 17)}
        self._margin = self._px(12)
        self._label = self._px(64)
        self._drawn: dict[str, tuple[object, np.ndarray]] = {}
        self.height = sum(height for _, height in self._bands())

    def draw(self, caption: Caption) -> np.ndarray:
        """The strip for `caption`: (height, width, 3) uint8 RGB."""
        draws: dict[str, tuple[object, Callable[[Any, Caption], None]]] = {
            "progress": ((caption.step, caption.steps), self._draw_progress),
            "head": ((caption.title, caption.instruction, caption.step, caption.steps), self._draw_head),
            "talk": ((caption.subtask, caption.plan, caption.words, bool(caption.error)), self._draw_talk),
            "motion": ((caption.motion, caption.error, caption.clipped), self._draw_motion),
            "lamps": ((caption.flags, round(caption.gripper, 2)), self._draw_status_flags),
        }
        return np.concatenate([self._band(name, height, *draws[name], caption) for name, height in self._bands()])

    def _bands(self) -> list[tuple[str, int]]:
        heights = [("progress", 4), ("head", 29), ("talk", 94), ("motion", 19), ("lamps", 26)]
        bands = [(name, self._px(height)) for name, height in heights]
        # One more row where needed: yuv420p wants even heights.
        return [*bands[:-1], ("lamps", bands[-1][1] + sum(height for _, height in bands) % 2)]

    def _band(
        self, name: str, height: int, key: object, draw: Callable[[Any, Caption], None], caption: Caption
    ) -> np.ndarray:
        from PIL import Image, ImageDraw

        drawn = self._drawn.get(name)
        if drawn is None or drawn[0] != key:
            image = Image.new("RGB", (self.width, height), BACKGROUND)
            draw(ImageDraw.Draw(image), caption)
            drawn = self._drawn[name] = (key, np.asarray(image))
        return drawn[1]

    # Bands ------------------------------------------------------------------------------------------------------------

    def _draw_progress(self, pen: Any, caption: Caption) -> None:
        pen.rectangle((0, 0, self.width, self._px(4)), fill=OFF)
        pen.rectangle((0, 0, round(self.width * caption.step / max(caption.steps, 1)), self._px(4)), fill=BLUE)

    def _draw_head(self, pen: Any, caption: Caption) -> None:
        count = f"{caption.step}/{caption.steps}"
        right = self.width - self._margin
        middle = self._px(15)
        pen.text((right, middle), count, TEXT, self._fonts[12], anchor="rm")
        right -= self._length(f"{caption.steps}/{caption.steps}", 12) + self._px(8)
        title = f"{self._clean(caption.title)}  ·  step"
        if self._length(title, 12) > 0.55 * (right - self._margin):
            title = "step"
        pen.text((right, middle), title, FAINT, self._fonts[12], anchor="rm")
        room = right - self._length(title, 12) - 2 * self._margin
        line = self._wrap(caption.instruction, 17, room, lines=1)
        pen.text((self._margin, middle), line[0], TEXT, self._fonts[17], anchor="lm")

    def _draw_talk(self, pen: Any, caption: Caption) -> None:
        top = self._px(2)
        top = self._row(pen, top, "subtask", caption.subtask, lines=1)
        top = self._row(pen, top, "plan", caption.plan, lines=2)
        self._row(pen, top, "says", caption.words, lines=2, fill=RED if caption.error else WORDS)

    def _draw_motion(self, pen: Any, caption: Caption) -> None:
        if caption.error:
            self._row(pen, 0, "error", caption.error, lines=1, fill=RED)
            return
        tag = "  clipped" if caption.clipped else ""
        room = self.width - 2 * self._margin - self._label - self._length(tag, 14)
        self._row(pen, 0, "moves", caption.motion, lines=1, room=room)
        pen.text((self.width - self._margin, self._px(13)), tag, ORANGE, self._fonts[14], anchor="rs")

    def _draw_status_flags(self, pen: Any, caption: Caption) -> None:
        middle, radius = self._px(13), self._px(4)
        left = float(self._margin + radius)
        for name, lit in caption.flags:
            pen.ellipse((left - radius, middle - radius, left + radius, middle + radius), fill=GREEN if lit else OFF)
            left += radius + self._px(5)
            pen.text((left, middle), self._clean(name), TEXT if lit else FAINT, self._fonts[12], anchor="lm")
            left += self._length(name, 12) + self._px(16)
        wide, right = self._px(48), self.width - self._margin
        box = (right - wide, middle - radius, right, middle + radius)
        if box[0] - self._length("gripper", 12) - self._px(8) < left:
            return
        pen.text((box[0] - self._px(6), middle), "gripper", FAINT, self._fonts[12], anchor="rm")
        pen.rectangle(box, fill=OFF)
        opening = min(max(caption.gripper, 0.0), 1.0)
        pen.rectangle((box[0], box[1], box[0] + round(wide * opening), box[3]), fill=BLUE)

    # Text -------------------------------------------------------------------------------------------------------------

    def _row(
        self,
        pen: Any,
        top: int,
        label: str,
        text: str,
        *,
        lines: int,
        fill: tuple[int, int, int] = TEXT,
        room: float | None = None,
    ) -> int:
        """A label and its text, wrapped; the height at which the next row starts."""
        leading = self._px(17)
        if text:
            pen.text((self._margin, top + self._px(13)), label, FAINT, self._fonts[12], anchor="ls")
        room = room or self.width - 2 * self._margin - self._label
        for n, line in enumerate(self._wrap(text, 14, room, lines=lines)):
            at = (self._margin + self._label, top + self._px(13) + n * leading)
            pen.text(at, line, fill, self._fonts[14], anchor="ls")
        return top + lines * leading + self._px(3)

    def _wrap(self, text: str, size: int, room: float, *, lines: int) -> list[str]:
        """At most `lines` lines of at most `room` pixels; the last one ends in "…" when there was more."""
        left = self._clean(text)
        wrapped = []
        while left and len(wrapped) < lines:
            fits = self._fitting(left, size, room)
            if fits < len(left) and len(wrapped) == lines - 1:
                fits = self._fitting(left, size, room - self._length("…", size))
                wrapped.append(left[:fits].rstrip() + "…")
                break
            blank = left.rfind(" ", 0, fits + 1) if fits < len(left) else fits
            end = blank if blank > 0 else fits
            wrapped.append(left[:end].rstrip())
            left = left[end:].lstrip()
        return wrapped or [""]

    def _fitting(self, text: str, size: int, room: float) -> int:
        """How many leading characters of `text` fit into `room` pixels; at least 1, so that wrapping always ends."""
        low, high = 1, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._length(text[:middle], size) <= room else (low, middle - 1)
        return low

    def _length(self, text: str, size: int) -> float:
        return self._fonts[size].getlength(text)

    def _px(self, points: float) -> int:
        return round(points * self._scale)

    @staticmethod
    def _clean(text: str) -> str:
        """One line of characters the font has: accents dropped, symbols spelled out, the rest shown as "?"."""
        head = text[:MOST_CHARACTERS].translate(_SPELLED)
        head = "".join(c for c in unicodedata.normalize("NFKD", head) if not unicodedata.combining(c))
        head = " ".join(head.split())
        return "".join(c if c in _KNOWN else "?" for c in head) + ("…" if len(text) > MOST_CHARACTERS else "")
