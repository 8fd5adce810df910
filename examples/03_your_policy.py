"""A policy of your own: look at the image, write text, and let the action format turn the text into motion.

This one finds the carrot by its colour, moves above it, closes the gripper on it and lifts it. It ignores how the
carrot is turned and where the plate is, so it fails the task. Copied to `my_policy.py` in the working
directory it also runs from the command line: `vlm2vla evaluate --policy my_policy:make --tasks carrot_on_plate`.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from vlm2vla_sim import ActionChunk, Decision, PolicyContext, get_format, run_episode

PIXEL_TO_TABLE = np.array([[0.000372, -0.000665], [-0.000949, -0.000544], [0.4375, 0.3652]])
"""(3, 2): [column, row, 1] of the 640 x 480 image -> x, y [m] in the base frame, for points 1.7 cm above the table.
Least squares over the carrot in SIMPLER's 24 layouts on the twin, where it is off by up to 1.8 cm."""


class GraspOrange:
    """Three decisions: above the carrot; down and close; up."""

    def __init__(self, context: PolicyContext) -> None:
        self.format = context.action_format

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode."""
        self.stages = iter(("above", "grasp", "lift"))

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The next motion, or None once it is done."""
        stage = next(self.stages, None)
        if stage is None:
            return None
        if stage == "above":
            dx, dy = self.carrot(observation["pixels"]["primary"]) - observation["agent_pos"][:2]
            return self.decide("move above the carrot", [[dx, dy, 0, 0, 0, 0, 1]])
        if stage == "grasp":
            return self.decide("move down and close the gripper", [[0, 0, -0.11, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0]])
        return self.decide("lift the carrot", [[0, 0, 0.08, 0, 0, 0, 0]])

    def carrot(self, image: np.ndarray) -> np.ndarray:
        """(2,) x, y [m] of the orange pixels in an image (480, 640, 3)."""
        red, green, blue = np.moveaxis(image.astype(int), -1, 0)
        rows, columns = np.nonzero((red > 200) & (green > 90) & (green < 170) & (blue < 70))
        return np.array([columns.mean(), rows.mean(), 1.0]) @ PIXEL_TO_TABLE

    def decide(self, plan: str, rows: list[list[float]]) -> Decision:
        """Write the rows as text and read the text back, as for a language model's answer."""
        text = self.format.write(np.array(rows))
        chunk: ActionChunk = self.format.read(text)
        return Decision(subtask="grasp the carrot", plan=plan, action=text, chunk=chunk)


def make(context: PolicyContext) -> GraspOrange:
    """The factory: called once per task and process."""
    return GraspOrange(context)


def main() -> None:
    """Run a few episodes and print the decisions."""
    env = gym.make("vlm2vla_sim:vlm2vla/WidowXCarrotOnPlate-v0")
    policy = make(PolicyContext(task="carrot_on_plate", steps=60, action_format=get_format("prose")))
    for episode_id in (0, 5):
        result = run_episode(env, policy, episode_id=episode_id)
        print(f"episode {episode_id}: {result.outcome}, grasped: {result.grasped}")
        for decision in result.decisions:
            print("  ", decision["plan"], "->", decision["action"])
    env.close()


if __name__ == "__main__":
    main()
