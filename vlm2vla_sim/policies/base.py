"""What a policy, a text model and a verifier must be able to do; everything else about them is their own business."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from vlm2vla_sim.types import Decision, Stage


class Policy(Protocol):
    """Decides, from what the camera shows, what to do next."""

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode. Any randomness of the policy comes from `seed`."""
        ...

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The next decision, given the latest observation (`envs.base.Observation`); None: it thinks it is done.

        Called again once the chunk of the last decision has been carried out.
        """
        ...


class TextModel(Protocol):
    """A vision-language model: images and a prompt in, words out."""

    def generate(self, images: list[np.ndarray], prompt: str, *, stage: str, seed: int = 0) -> Stage:
        """The answer to `prompt` about `images`, each (H, W, 3) uint8 RGB. `stage` names the question ("plan", ...)."""
        ...


class Verifier(Protocol):
    """Says whether a subtask is done."""

    def judge(self, before: np.ndarray, after: np.ndarray, *, current: str, following: str) -> bool:
        """True to advance to `following`, False to try `current` again. Pictures (H, W, 3) uint8 RGB."""
        ...
