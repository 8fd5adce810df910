"""The motions of a phase that one action text each says, by what a row of the format is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vlm2vla_sim.core.control_steps import CONTROL_HZ
from vlm2vla_sim.data.episode import LabelledTrajectory, Phase
from vlm2vla_sim.language.formats import FormatProperties
from vlm2vla_sim.language.formats.clap import add_up

OTHER_RATE = f"an action of steps at another rate than {CONTROL_HZ} Hz"


def spoken_motions(
    labelled: LabelledTrajectory, phase: Phase, properties: FormatProperties
) -> Iterator[tuple[int, np.ndarray]]:
    """The frame at which each motion begins, and the motion, (T, 7) as `ActionChunk.deltas`.

    A format of motions says the phase's label, once. One of control steps says the recorded commands, as many at a time
    as it takes, and one of seconds the sum of those of a second. Nothing if the recording has steps of another length.
    """
    if properties.span == "motion":
        yield phase.start, phase.chunk.deltas
        return
    if abs(labelled.trajectory.fps - CONTROL_HZ) > 0.01:
        return
    length = CONTROL_HZ if properties.span == "second" else properties.max_rows
    for start in range(phase.start, phase.stop, length):
        steps = labelled.trajectory.actions[start : min(start + length, phase.stop)]
        yield start, add_up(steps.astype(np.float64)) if properties.span == "second" else steps
