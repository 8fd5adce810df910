"""The strip below the image of a video: instruction, subtask, plan, action text, motion, and status flags.

Without it a video shows how the arm moves, but not whether the policy's text was wrong, was misread, or could not be
followed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.video.text_layout import TextLayout, clean

BACKGROUND = (17, 20, 26)
TEXT = (232, 234, 237)
FAINT = (128, 137, 150)
ACTION_TEXT = (255, 209, 128)
GREEN = (63, 185, 80)
ORANGE = (255, 166, 87)
RED = (255, 107, 107)
BLUE = (88, 166, 255)
OFF = (48, 54, 64)


@dataclass(frozen=True)
class Overlay:
    """What is shown below one frame of a video."""

    title: str
    """Task and episode."""
    instruction: str
    step: int
    """Control steps taken so far."""
    steps: int
    """Control steps of the whole episode."""
    subtask: str = ""
    plan: str = ""
    text: str = ""
    """The action text, as the policy wrote it."""
    error: str = ""
    """Why the action text could not be parsed."""
    motion: str = ""
    """The row that is being executed, described in a phrase."""
    clipped: bool = False
    """Whether this step was cut short to keep the arm in its workspace."""
    gripper: float = 1.0
    """Measured opening, 0 closed .. 1 open."""
    flags: tuple[tuple[str, bool], ...] = ()
    """Name and state of each status flag, the last one being success."""


class OverlayRenderer:
    """Draws overlays for images of one width, redrawing only what changed since the last one."""

    def __init__(self, width: int) -> None:
        """width: [px]."""
        self.width = width
        self._scale = min(max(width / 640, 0.7), 4.0)
        self._layout = TextLayout((12, 14, 17), self._scale)
        self._margin = self._px(12)
        self._label = self._px(64)
        self._drawn: dict[str, tuple[object, np.ndarray]] = {}
        self._backgrounds: dict[str, tuple[object, Any]] = {}
        self._has_gripper = True
        self.height = sum(height for _, height in self._bands())

    def draw(self, overlay: Overlay) -> np.ndarray:
        """The strip for `overlay`: (height, width, 3) uint8 RGB."""
        draws: dict[str, tuple[object, Callable[[Any, Overlay], None]]] = {
            "progress": ((overlay.step, overlay.steps), self._draw_progress),
            "head": ((overlay.title, overlay.instruction, overlay.step, overlay.steps), self._draw_head),
            "decision": ((overlay.subtask, overlay.plan, overlay.text, bool(overlay.error)), self._draw_decision),
            "motion": ((overlay.motion, overlay.error, overlay.clipped), self._draw_motion),
            "flags": ((overlay.flags, round(overlay.gripper, 2)), self._draw_gripper),
        }
        return np.concatenate([self._band(name, height, *draws[name], overlay) for name, height in self._bands()])

    def _bands(self) -> list[tuple[str, int]]:
        heights = [("progress", 4), ("head", 29), ("decision", 94), ("motion", 19), ("flags", 26)]
        bands = [(name, self._px(height)) for name, height in heights]
        # One more row where needed: yuv420p wants even heights.
        return [*bands[:-1], ("flags", bands[-1][1] + sum(height for _, height in bands) % 2)]

    def _band(
        self, name: str, height: int, key: object, draw: Callable[[Any, Overlay], None], overlay: Overlay
    ) -> np.ndarray:
        from PIL import Image, ImageDraw

        drawn = self._drawn.get(name)
        if drawn is None or drawn[0] != key:
            image = self._background(name, height, overlay)
            if image is None:
                image = Image.new("RGB", (self.width, height), BACKGROUND)
            draw(ImageDraw.Draw(image), overlay)
            drawn = self._drawn[name] = (key, np.asarray(image))
        return drawn[1]

    def _background(self, name: str, height: int, overlay: Overlay) -> Any:
        """What stays from step to step of a band that changes with every step; None for other bands."""
        from PIL import Image, ImageDraw

        kept: dict[str, tuple[object, Callable[[Any, Overlay], None]]] = {
            "head": ((overlay.title, overlay.instruction, overlay.steps), self._draw_title),
            "flags": (overlay.flags, self._draw_flag_names),
        }
        if name not in kept:
            return None
        key, draw = kept[name]
        drawn = self._backgrounds.get(name)
        if drawn is None or drawn[0] != key:
            image = Image.new("RGB", (self.width, height), BACKGROUND)
            draw(ImageDraw.Draw(image), overlay)
            drawn = self._backgrounds[name] = (key, image)
        return drawn[1].copy()

    # Bands ------------------------------------------------------------------------------------------------------------

    def _draw_progress(self, pen: Any, overlay: Overlay) -> None:
        pen.rectangle((0, 0, self.width, self._px(4)), fill=OFF)
        pen.rectangle((0, 0, round(self.width * overlay.step / max(overlay.steps, 1)), self._px(4)), fill=BLUE)

    def _draw_head(self, pen: Any, overlay: Overlay) -> None:
        count = f"{overlay.step}/{overlay.steps}"
        pen.text((self.width - self._margin, self._px(15)), count, TEXT, self._layout.fonts[12], anchor="rm")

    def _draw_title(self, pen: Any, overlay: Overlay) -> None:
        fonts, length = self._layout.fonts, self._layout.length
        middle = self._px(15)
        right = self.width - self._margin - (length(f"{overlay.steps}/{overlay.steps}", 12) + self._px(8))
        title = f"{clean(overlay.title)}  ·  step"
        if length(title, 12) > 0.55 * (right - self._margin):
            title = "step"
        pen.text((right, middle), title, FAINT, fonts[12], anchor="rm")
        width = right - length(title, 12) - 2 * self._margin
        line = self._layout.wrap(overlay.instruction, 17, width, lines=1)
        pen.text((self._margin, middle), line[0], TEXT, fonts[17], anchor="lm")

    def _draw_decision(self, pen: Any, overlay: Overlay) -> None:
        top = self._px(2)
        top = self._row(pen, top, "subtask", overlay.subtask, lines=1)
        top = self._row(pen, top, "plan", overlay.plan, lines=2)
        self._row(pen, top, "action", overlay.text, lines=2, fill=RED if overlay.error else ACTION_TEXT)

    def _draw_motion(self, pen: Any, overlay: Overlay) -> None:
        if overlay.error:
            self._row(pen, 0, "error", overlay.error, lines=1, fill=RED)
            return
        tag = "  clipped" if overlay.clipped else ""
        width = self.width - 2 * self._margin - self._label - self._layout.length(tag, 14)
        self._row(pen, 0, "motion", overlay.motion, lines=1, width=width)
        pen.text((self.width - self._margin, self._px(13)), tag, ORANGE, self._layout.fonts[14], anchor="rs")

    def _draw_flag_names(self, pen: Any, overlay: Overlay) -> None:
        font, length = self._layout.fonts[12], self._layout.length
        middle, radius = self._px(13), self._px(4)
        left = float(self._margin + radius)
        for name, on in overlay.flags:
            pen.ellipse((left - radius, middle - radius, left + radius, middle + radius), fill=GREEN if on else OFF)
            left += radius + self._px(5)
            pen.text((left, middle), clean(name), TEXT if on else FAINT, font, anchor="lm")
            left += length(name, 12) + self._px(16)
        box = self._gripper_box()
        self._has_gripper = box[0] - length("gripper", 12) - self._px(8) >= left
        if self._has_gripper:
            pen.text((box[0] - self._px(6), middle), "gripper", FAINT, font, anchor="rm")
            pen.rectangle(box, fill=OFF)

    def _draw_gripper(self, pen: Any, overlay: Overlay) -> None:
        if self._has_gripper:
            box = self._gripper_box()
            opening = min(max(overlay.gripper, 0.0), 1.0)
            pen.rectangle((box[0], box[1], box[0] + round((box[2] - box[0]) * opening), box[3]), fill=BLUE)

    def _gripper_box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom [px] of the bar that shows the gripper's opening."""
        middle, radius, right = self._px(13), self._px(4), self.width - self._margin
        return right - self._px(48), middle - radius, right, middle + radius

    def _row(
        self,
        pen: Any,
        top: int,
        label: str,
        text: str,
        *,
        lines: int,
        fill: tuple[int, int, int] = TEXT,
        width: float | None = None,
    ) -> int:
        """A label and its text, wrapped; the height at which the next row starts."""
        leading = self._px(17)
        if text:
            pen.text((self._margin, top + self._px(13)), label, FAINT, self._layout.fonts[12], anchor="ls")
        width = width or self.width - 2 * self._margin - self._label
        for n, line in enumerate(self._layout.wrap(text, 14, width, lines=lines)):
            at = (self._margin + self._label, top + self._px(13) + n * leading)
            pen.text(at, line, fill, self._layout.fonts[14], anchor="ls")
        return top + lines * leading + self._px(3)

    def _px(self, points: float) -> int:
        return round(points * self._scale)
