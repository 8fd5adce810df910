"""The options of "vlm" that concern a zero-shot model, and the policy that they make."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.zero_shot_scene import OVERLAYS, ZeroShotFacts
from vlm2vla_sim.policies import PolicyContext
from vlm2vla_sim.policies.base import Sampling, TextModel
from vlm2vla_sim.policies.commanded_pose import CommandedPose
from vlm2vla_sim.policies.models.prices import read_prices
from vlm2vla_sim.policies.zero_shot.examples import read_examples
from vlm2vla_sim.policies.zero_shot.image_check import check_images
from vlm2vla_sim.policies.zero_shot.loop import ZeroShotPolicy, ZeroShotSettings
from vlm2vla_sim.policies.zero_shot.overlay import check_overlay

ONLY = ("history", "examples", "overlay", "answer_tokens", "image_check")
"""Options that only a zero-shot model reads."""
OTHERS = {
    "adapter": "an adapter of actions was trained with other prompts: leave out zero_shot",
    "verifier": "the model judges by itself whether it is done",
    "verifier_server": "the model judges by itself whether it is done",
    "verifier_model": "the model judges by itself whether it is done",
    "constraint": "a zero-shot answer has words before the action and no grammar",
    "commanded_state": "a zero-shot prompt says where the gripper is and where it was sent",
    "grounded_plan": "a zero-shot prompt asks for the scene by itself",
    "ensemble": "a zero-shot model is not asked at every control step",
    "max_attempts": "there are no subtasks that are attempted",
    "free_tokens": "the limit of a zero-shot answer is answer_tokens",
}
"""Options that a zero-shot model does not read, and why."""
MOST_PICTURES = 16
"""Pictures of a prompt."""


@dataclass(frozen=True, kw_only=True)
class ZeroShotOptions:
    """Options of a model that was never trained on robot actions, and what any model's answers cost."""

    zero_shot: bool = False
    """true: the prompts say all that a model without training needs, and it is asked for one motion after the other
    until it says that the task is done."""
    history: int = 0
    """With zero_shot: the last decisions of the episode that a prompt shows, with their pictures."""
    examples: str = ""
    """With zero_shot: a folder of decisions that every prompt shows; `vlm2vla zero-shot-examples` records one."""
    overlay: str = ""
    """With zero_shot: what is drawn on the pictures, where the camera is known: axes (of the robot's base) or grid (of
    the table)."""
    answer_tokens: int = 1024
    """With zero_shot: the most tokens of an answer."""
    image_check: bool = True
    """With zero_shot on a server: before the first question, make sure that the model gets the pictures."""
    prices: str = ""
    """PROMPT/ANSWER or PROMPT/ANSWER/CACHED: prices of a million tokens, from which the results compute the cost."""
    currency: str = "USD"
    """Of `prices`."""

    def check_zero_shot(self) -> None:
        """SettingError for an option that nothing would read, and for values that make no sense."""
        if self.prices:
            read_prices(self.prices)
        if self.zero_shot and getattr(self, "adapter", ""):
            raise SettingError(f"zero_shot is set with an adapter, but {OTHERS['adapter']}, or the adapter.")
        unread = {} if self.prices else {"currency": "there are no prices"}
        for name, why in (unread | (OTHERS if self.zero_shot else dict.fromkeys(ONLY, "zero_shot is not set"))).items():
            self._refuse(name, why)
        if self.zero_shot:
            self.zero_shot_loop(Sampling(), reasoning=True, max_rows=0, resample=0)
            if self.overlay and self.overlay not in OVERLAYS:
                check_overlay(self.overlay, None)

    def _refuse(self, name: str, why: str) -> None:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        if (value := getattr(self, name)) != defaults[name]:
            raise SettingError(f"The policy option {name} is {value!r}, but {why}. Leave the option out.")

    def zero_shot_loop(self, sampling: Sampling, *, reasoning: bool, max_rows: int, resample: int) -> ZeroShotSettings:
        """The loop's settings. sampling: temperature and top-p."""
        return ZeroShotSettings(
            reasoning=reasoning,
            history=self.history,
            max_rows=max_rows or None,
            resample=resample,
            sampling=dataclasses.replace(sampling, max_tokens=self.answer_tokens),
        )


def make_zero_shot(
    options: ZeroShotOptions, settings: ZeroShotSettings, model: TextModel, context: PolicyContext, *, on_server: bool
) -> ZeroShotPolicy:
    """The policy; SettingError for what cannot be shown to the model, or what a server does not show to it."""
    geometry = context.geometry
    check_overlay(options.overlay, geometry)
    facts = ZeroShotFacts(
        context.arm.gripper.fingertip,
        geometry,
        context.steps,
        options.overlay,
        origin=(0.0, 0.0) if geometry is None else _middle((geometry.low + geometry.high) / 2),
    )
    examples = []
    if options.examples:
        folder = Path(options.examples).expanduser()
        examples = read_examples(folder, context.action_format, facts, reasoning=settings.reasoning)
    pictures = 1 + settings.history + len(examples)
    if pictures > MOST_PICTURES:
        raise SettingError(
            f"A prompt would hold {pictures} pictures ({len(examples)} of examples, {settings.history} of history, 1 "
            f"of now); expected at most {MOST_PICTURES}."
        )
    if on_server and options.image_check:
        check_images(model, pictures=pictures, tokens=options.answer_tokens)
    pose = None if context.robot is None else CommandedPose(context.robot, context.arm)
    return ZeroShotPolicy(model, context.action_format, facts, pose=pose, examples=examples, settings=settings)


def _middle(place: np.ndarray) -> tuple[float, float]:
    """The place, (x, y) of `place` [m], at the next multiple of 10 cm."""
    x, y = (round(float(value), 1) for value in place[:2])
    return x, y
