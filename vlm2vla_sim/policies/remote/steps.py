"""What a policy on a server keeps from one control step to the next: earlier images, and earlier answers."""

from __future__ import annotations

from collections import deque

import numpy as np

from vlm2vla_sim.policies.remote.conventions.record import Convention


class FrameHistory:
    """The last images, `Convention.history` of them, `history_interval` control steps apart."""

    def __init__(self, convention: Convention) -> None:
        self._interval = convention.history_interval
        self._length = (convention.history - 1) * convention.history_interval + 1
        self._frames: deque[np.ndarray] = deque(maxlen=self._length)

    def reset(self) -> None:
        """Forget the images of the last episode."""
        self._frames.clear()

    def add(self, image: np.ndarray) -> np.ndarray:
        """Add the image of this control step, (H, W, 3); returns what is sent: (T, H, W, 3), oldest first.

        The first image stands for those before it (simpler-env/SimplerEnv@982db4b
        simpler_env/policies/spatialvla/spatialvla_model.py _add_image_to_history).
        """
        if not self._frames:
            self._frames.extend([image] * self._length)
        else:
            self._frames.append(image)
        return np.stack(list(self._frames)[:: self._interval])


class TemporalEnsemble:
    """Averages what the last answers predict for a control step, in the server's units.

    By age as SimplerEnv does it (simpler-env/SimplerEnv@982db4b simpler_env/utils/action/action_ensemble.py), by
    similarity as CogACT and starVLA do (starVLA/starVLA@0ed0aad
    examples/simBenchmarks/SimplerEnv/eval_files/adaptive_ensemble.py).
    """

    def __init__(self, convention: Convention) -> None:
        self._temperature, self._alpha = convention.ensemble_temperature, convention.ensemble_alpha
        self._answers: deque[np.ndarray] = deque(maxlen=max(convention.ensemble, 1))

    def reset(self) -> None:
        """Forget the answers of the last episode."""
        self._answers.clear()

    def add(self, rows: np.ndarray) -> np.ndarray:
        """Add an answer, (T, width), whose first row is for this control step; returns (width,) for this step."""
        self._answers.append(rows)
        ages = range(len(self._answers) - 1, -1, -1)
        # An answer that is older than it has rows says nothing about this step.
        said = np.stack([answer[age] for age, answer in zip(ages, self._answers, strict=True) if age < len(answer)])
        if self._alpha:
            lengths = np.linalg.norm(said, axis=1) * np.linalg.norm(said[-1])
            weights = np.exp(self._alpha * (said @ said[-1]) / (lengths + 1e-7))
        else:
            weights = np.exp(-self._temperature * np.arange(len(said)))
        return weights @ said / weights.sum()
