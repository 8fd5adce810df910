"""A scripted text model that plays a hosted one: it reads the zero-shot prompt, and sees where things are.

Of the robot it knows the prompt only: axes, camera, box, height of the surface, gripper. Of the scene it is told what
an eye tells: at which pixel the objects are (by the true camera), how they lie, how high and how wide they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from vlm2vla_sim.core.pinhole import PinholeCamera
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.zero_shot.image_check import COLOURS
from vlm2vla_sim.types import Body, SceneState, Stage

N = r"(-?[0-9.]+)"
WRAPPED = (
    "{words}\nAction: {action}",
    "Sure! Here is what I would do.\n\n{words}\n**Action:** {action}\n\nI hope that this helps!",
    "```text\n{words}\nAction: {action}\n```",
    "## Answer\n- {words}\n- Action:\n```json\n{action}\n```\nLet me know how it went.",
    "<think>Action: [[9, 9, 9, 1]]? No.</think>\n"
    '```json\n{{"subtask": "go on", "plan": "{plan}",\n"action": {json}}}\n```',
)
"""How an answer is dressed, in turn."""
ANGLES = (0, 30, -30)
"""[degrees] from straight across the object, at which it is grasped after a grasp that failed."""


class ZeroShotReader:
    """A `TextModel`; `see` and `camera` are the truth of the episode."""

    places_images = True

    def __init__(self, see: Callable[[], SceneState], camera: Callable[[], PinholeCamera]) -> None:
        self._see, self._camera = see, camera
        self.asked = 0
        self._grasps = 0
        self.prompts: list[str] = []

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Stage:
        if "of one colour each" in question.prompt:
            names = [next(n for n, rgb in COLOURS.items() if (image[0, 0] == rgb).all()) for image in question.images]
            return self._stage(question, ", ".join(names))
        self.asked += 1
        self.prompts.append(question.prompt)
        words, plan, action = self._decide(question.prompt)
        form = WRAPPED[self.asked % len(WRAPPED)]
        json = f'"{action}"' if action == "done" else action
        return self._stage(question, form.format(words=words, plan=plan, action=action, json=json))

    @staticmethod
    def _stage(question: Question, text: str) -> Stage:
        return Stage(question.stage, text, len(text) // 4, finish="stop")

    def _decide(self, prompt: str) -> tuple[str, str, str]:
        facts, scene = Facts(prompt), self._see()
        self._grasps = 0 if "\nDecision 1, now.\n" in prompt else self._grasps
        source, target = (Seen(body, facts, self._camera()) for body in (scene.source, scene.target))
        low = facts.sent[2] < facts.travel - 1
        if scene.grasped:
            subtask, plan, rows = self._carry(facts, source, target, low)
        elif np.linalg.norm((source.at - target.at)[:2]) < 4 and 0 < source.at[2] - target.at[2] < 7:
            if facts.at[2] - source.at[2] > 6:
                return "Scene: it is where it should be.\nSubtask: nothing\nPlan: stay", "stay", "done"
            subtask, plan, rows = "leave it", "move up", [[0, 0, facts.travel - facts.sent[2], 0, 1]]
        else:
            subtask, plan, rows = self._fetch(facts, source, low)
        words = (
            f"Scene: the {scene.source.name} is at {source.at.round(1).tolist()} cm.\nSubtask: {subtask}\nPlan: {plan}"
        )
        return words, plan, write(rows)

    def _fetch(self, facts, seen, low) -> tuple[str, str, list]:
        height = max(seen.at[2] - 0.4, facts.lowest)
        failed = facts.sent[2] < height + 1
        shift, turn = seen.at - facts.sent, seen.turn_across(facts.yaw - ANGLES[self._grasps % len(ANGLES)])
        if np.abs(shift[:2]).max() > 0.8 or abs(turn) > 5 or failed:
            rows = [[0, 0, facts.travel - facts.sent[2], 0, 1]] if low else []
            return "go above it", "move over it", [*rows, [*shift[:2], 0, turn, 1]]
        self._grasps += 1
        rows = [[0, 0, height - facts.sent[2], 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
        return "grasp it", "move down and close the gripper", rows

    def _carry(self, facts, source, target, low) -> tuple[str, str, list]:
        shift = target.at - source.at - (facts.sent - facts.at)
        if np.abs(shift[:2]).max() <= 0.8:
            bottom = source.at[2] - source.half - facts.at[2]
            down = target.at[2] + target.half + 0.6 - bottom - facts.sent[2]
            return (
                "put it down",
                "move down and open the gripper",
                [[0, 0, min(down, 0), 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]],
            )
        if low:
            return "lift it", "move up", [[0, 0, facts.travel - facts.sent[2], 0, 0]]
        return "carry it", "move over the place", [[*shift[:2], 0, 0, 0], [0, 0, 0, 0, 0]]


class Facts:
    """What a prompt says, in cm and degrees."""

    def __init__(self, prompt: str) -> None:
        def numbers(pattern: str, text: str = prompt) -> np.ndarray:
            found = list(re.finditer(pattern, text))
            assert found, f"the prompt does not say {pattern!r}"
            return np.array([float(number.rstrip(".")) for number in found[-1].groups()])

        assert "x is forward (away from the robot), y is left and z is up" in prompt
        assert re.search("positive yaw turns it anticlockwise", prompt)
        box = numbers(rf"x from {N} to {N} cm, y from {N} to {N} cm, z from {N} to {N} cm").reshape(3, 2)
        self.low, self.high = box.T
        (self.surface,) = numbers(rf"surface at z = {N} cm")
        (self.lowest,) = numbers(rf"gripper's point to z = {N} cm, not lower")
        self.eye = numbers(rf"The camera is at x {N}, y {N}, z {N} cm")
        looks = numbers(rf"looks along the direction \({N}, {N}, {N}\)")
        right = numbers(rf"right is the direction \({N}, {N}, {N}\)")
        down = numbers(rf"down is \({N}, {N}, {N}\)")
        self.rays = np.stack([looks, right, down])
        self.column, self.across, self.row, self.along = numbers(rf"column {N} \+ {N} r / f, row {N} \+ {N} d / f")
        self.at = numbers(rf"gripper's point is at x {N}, y {N}, z {N} cm")
        self.sent = numbers(rf"It was sent to x {N}, y {N}, z {N} cm")
        (self.yaw,) = numbers(rf"It was sent to .*; roll {N[1:-1]}, pitch {N[1:-1]}, yaw {N} degrees")
        first = numbers(rf"gripper's point is at x {N}, y {N}, z {N} cm", prompt[prompt.index("Now your task") :])
        self.travel = max(first[2], self.surface + 13.0)
        assert (self.low < self.high).all()

    def place(self, pixel: np.ndarray, height: float) -> np.ndarray:
        """(3,) [cm] of what appears at `pixel` and is `height` high."""
        ray = np.array([1, (pixel[0] - self.column) / self.across, (pixel[1] - self.row) / self.along]) @ self.rays
        return self.eye + ray * (height - self.eye[2]) / ray[2]


class Seen:
    """An object as an eye sees it, and where the prompt's camera puts that."""

    def __init__(self, body: Body, facts: Facts, camera: PinholeCamera) -> None:
        self.half = 50 * float(body.extents[2])
        height = 100 * float(body.pose.position[2])
        w, x, y, z = body.pose.quaternion
        along = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 0]) * 0.4 * float(body.extents[0])
        ends = camera.project(np.stack([body.pose.position, body.pose.position + along])).round()
        self.at, end = (facts.place(pixel, height) for pixel in ends)
        self.along = np.degrees(np.arctan2(*(end - self.at)[1::-1]))
        self.length, self.width = body.extents[:2]

    def turn_across(self, yaw: float) -> float:
        """[degrees] that bring the fingers, which close along y at yaw 0, across the narrow side."""
        across = self.along + (90 if self.length >= self.width else 0)
        period = 90 if abs(self.length - self.width) < 0.003 else 180
        return float((across - (yaw + 90) + period / 2) % period - period / 2)


def write(rows: list) -> str:
    """Rows of dx, dy, dz, yaw, gripper as an action in the format `vlm2vla`."""
    turns = any(abs(row[3]) >= 1 for row in rows)
    written = []
    for *move, yaw, gripper in rows:
        numbers = [f"{value:.1f}" for value in move] + ([0, 0, f"{yaw:.0f}"] if turns else [])
        written.append(f"[{', '.join(map(str, [*numbers, int(gripper)]))}]")
    assert all(one is not other for one, other in pairwise(written))
    return f"[{', '.join(written)}]"
