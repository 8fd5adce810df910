"""What labelling a data set with a model costs, estimated before the first request."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from vlm2vla_sim.data.datasets.base import Skipped, TrajectoryDataset
from vlm2vla_sim.errors import DataError
from vlm2vla_sim.language.label_prompt import label_prompt

CHARACTERS_PER_TOKEN = 2.5
"""For prompts that are mostly numbers; tokenizers encode nearly every digit separately."""
ANSWER_TOKENS = 60
"""Tokens of an answer per phase."""
PHASES = 6
"""Typical number of phases per episode."""


@dataclass(frozen=True)
class Prices:
    """A server's prices per million tokens, in any currency."""

    input: float = 0.0
    output: float = 0.0
    image_tokens: int = 258
    """Tokens per image, as for Gemini and Gemma 3."""


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of labeling a data set, without repeated requests."""

    trajectories: int
    """Each takes one request, and one more for each answer that cannot be used."""
    input_tokens: int
    output_tokens: int
    cost: float
    """In the currency of the prices."""
    most_requests: int
    """If every answer but the last one cannot be used."""

    def __str__(self) -> str:
        return (
            f"{self.trajectories} trajectories, about {self.input_tokens / 1e6:.2f} million input tokens and "
            f"{self.output_tokens / 1e6:.2f} million output tokens; cost {self.cost:.2f} without retries "
            f"({self.trajectories} requests, with retries at most {self.most_requests})"
        )


def estimate(
    dataset: TrajectoryDataset,
    prices: Prices,
    *,
    pictures: int,
    retries: int,
    limit: int = 0,
    done: int = 0,
    sample: int = 20,
) -> Estimate:
    """Estimate the cost of labeling `dataset` from its first trajectories.

    Args:
        dataset: the data set, of which the numbers of the first trajectories are read.
        prices: of the server.
        pictures: images per trajectory.
        retries: repeated requests per trajectory, at most.
        limit: maximum number of trajectories; 0 for all.
        done: trajectories that are labelled or skipped already.
        sample: how many trajectories are read.

    Raises:
        DataError: none of them can be used.
    """
    count = max(0, (min(len(dataset), limit) if limit else len(dataset)) - done)
    looked = [found for found in islice(dataset, sample) if not isinstance(found, Skipped)]
    if not looked:
        raise DataError(f"None of the first {sample} trajectories can be used; nothing was sent.")
    lengths = []
    for one in looked:
        shown = np.linspace(0, len(one) - 1, min(pictures, len(one))).round().astype(int).tolist()
        instruction = one.instruction_en or one.instruction
        lengths.append(len(label_prompt(instruction, one.states, one.actions[:, 6], fps=one.fps, shown=shown)))
    text = sum(lengths) / len(lengths) / CHARACTERS_PER_TOKEN
    inputs = round(count * (text + pictures * prices.image_tokens))
    outputs = count * PHASES * ANSWER_TOKENS
    cost = (inputs * prices.input + outputs * prices.output) / 1e6
    return Estimate(count, inputs, outputs, cost, count * (1 + retries))
