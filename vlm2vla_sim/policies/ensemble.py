"""The mean of the last predictions for each control step, as VLA-0 acts.

A policy that predicts more steps than it carries out has predicted each step several times. (NVlabs/vla0@731bef2
libs/RoboVerse/roboverse/evals/libero/eval.py:531-563, `ensemble_version` 1: older predictions weigh half.)
"""

from __future__ import annotations

import numpy as np

OLDER = 0.5
"""The weight of a prediction that is not the newest, which weighs 1."""


class Ensemble:
    """Keeps the last predictions of one episode."""

    def __init__(self, size: int) -> None:
        """size: how many predictions are used, 1 or more."""
        self._size = size
        self._kept: list[np.ndarray] = []
        """What is left of each prediction, oldest first: its first row is the step that comes next."""

    def reset(self) -> None:
        """Forget all predictions."""
        self._kept = []

    def add(self, deltas: np.ndarray) -> np.ndarray:
        """The mean of `deltas`, (T, 7) control steps from now on, and of the predictions before, as (T, 7).

        The gripper is open if its mean is above one half.
        """
        newest = np.asarray(deltas, dtype=np.float64)
        total, weights = newest.copy(), np.ones((len(newest), 1))
        for older in self._kept[1 - self._size :] if self._size > 1 else []:
            shared = min(len(older), len(newest))
            total[:shared] += OLDER * older[:shared]
            weights[:shared] += OLDER
        self._kept = [*self._kept, newest][-self._size :]
        mean = total / weights
        mean[:, 6] = mean[:, 6] > 0.5
        return mean

    def carried_out(self, steps: int) -> None:
        """The first `steps` steps of the last prediction are carried out before the next one."""
        self._kept = [rest for kept in self._kept if len(rest := kept[steps:])]
