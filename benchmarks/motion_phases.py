"""Kinds of phases that the rules find in synthetic, noisy motion of known truth (`awkward_motion`).

    python benchmarks/motion_phases.py              # 200 trajectories, with and without a telling instruction
    python benchmarks/motion_phases.py --seed 1 --json

A phase of the truth is named rightly if more than half of its frames lie in phases of its kind; a phase that is found
is right if more than half of its frames lie in phases of that kind in truth. Neighbouring phases of one kind count as
one on both sides. Both shares are given: the first falls with what is missed, the second with what is invented.
"""

from __future__ import annotations

import json as json_module
from collections import Counter
from collections.abc import Sequence

import tyro
from awkward_motion import GROUPS, Awkward, awkward

from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.data.relabel.rules import LabelingRules, relabel
from vlm2vla_sim.errors import DataError
from vlm2vla_sim.evaluation.rates import Rate

Spans = Sequence[tuple[int, int, str]]


def found_spans(labelled: LabelledTrajectory) -> list[tuple[int, int, str]]:
    """The phases found, neighbours of one kind as one."""
    spans: list[tuple[int, int, str]] = []
    for phase in labelled.phases:
        if spans and spans[-1][2] == phase.kind:
            spans[-1] = (spans[-1][0], phase.stop, phase.kind)
        else:
            spans.append((phase.start, phase.stop, phase.kind))
    return spans


def named(these: Spans, others: Spans) -> list[bool]:
    """For each of `these`, whether more than half of its frames lie in spans of the same kind in `others`."""
    return [
        2 * sum(max(0, min(last, b) - max(first, a)) for a, b, other in others if other == kind) > last - first
        for first, last, kind in these
    ]


def judge(one: Awkward, rules: LabelingRules) -> tuple[list[bool], list[bool], list[tuple[int, int, str]]]:
    """(truth phases named rightly, found phases that are right, the phases found)."""
    try:
        spans = found_spans(relabel(one.trajectory, rules))
    except DataError:
        spans = []
    return named(one.truth, spans), named(spans, one.truth), spans


def taught_tilts(one: Awkward, rules: LabelingRules) -> int:
    """Rows that tilt the gripper, in a trajectory that is not meant to."""
    if one.tilts:
        return 0
    return sum(
        int((abs(phase.chunk.deltas[:, 3:5]) > 1e-6).any(axis=1).sum())
        for phase in relabel(one.trajectory, rules).phases
    )


def main(*, count: int = 200, seed: int = 0, exact: bool = False, show: bool = False, json: bool = False) -> None:
    """Print the table.

    Args:
        count: trajectories.
        seed: of the trajectories.
        exact: without noise.
        show: print every trajectory in which a phase is named wrongly.
        json: print one JSON object as the last line.
    """
    rules, report = LabelingRules(), {}
    for arm, neutral in (("telling instruction", False), ("neutral instruction", True)):
        right: dict[str, list[int]] = {group: [0, 0, 0, 0] for group in GROUPS}
        confused: Counter[tuple[str, str]] = Counter()
        tilts = 0
        for number in range(count):
            one = awkward(seed, number, neutral=neutral, exact=exact)
            truth, said, spans = judge(one, rules)
            tilts += taught_tilts(one, rules)
            right[one.group] = [
                *(a + b for a, b in zip(right[one.group], (sum(truth), len(truth), sum(said), len(said)), strict=True))
            ]
            for (first, last, kind), good in zip(one.truth, truth, strict=True):
                if not good:
                    overlap = Counter({k: 0 for *_, k in spans})
                    for a, b, other in spans:
                        overlap[other] += max(0, min(last, b) - max(first, a))
                    confused[kind, overlap.most_common(1)[0][0] if overlap else "nothing"] += 1
            if show and not (all(truth) and all(said)):
                print(one.trajectory.name, "\n  truth", *one.truth, "\n  found", *spans)
        recall, precision = (Rate(*(sum(v[k] for v in right.values()) for k in ks)) for ks in ((0, 1), (2, 3)))
        print(f"{arm}: named rightly {recall}, found and right {precision}, rows that tilt {tilts}", flush=True)
        for group, (a, b, c, d) in right.items():
            print(f"  {group:12} {a:4}/{b:<4} {c:4}/{d:<4}")
        for (kind, other), times in confused.most_common(8):
            print(f"    {kind} -> {other}: {times}")
        report[arm] = {"named": recall.to_json(), "right": precision.to_json(), "tilts": tilts, "groups": right}
    if json:
        print(json_module.dumps({"count": count, "seed": seed, "exact": exact, **report}))


if __name__ == "__main__":
    tyro.cli(main)
