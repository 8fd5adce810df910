"""Of a set of episodes: how often each cause of failure was found, and how often words and motion agreed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vlm2vla_sim.evaluation.agreement import PAIRS
from vlm2vla_sim.evaluation.failures import LABELS
from vlm2vla_sim.evaluation.rates import Mean, Rate
from vlm2vla_sim.types import EpisodeResult

PAIR_NAMES = {
    "said_written": "plan and action text",
    "written_moved": "action text and arm",
    "said_moved": "plan and arm",
}


def failure_shares(results: Iterable[EpisodeResult]) -> dict[str, Rate]:
    """Every label of `failures.LABELS` -> its share of the failures whose cause is known; empty without any."""
    known = [result.failure for result in results if result.failure is not None]
    return {label: Rate(known.count(label), len(known)) for label in LABELS} if known else {}


def word_shares(results: Iterable[EpisodeResult]) -> dict[str, Mean]:
    """Pair of `agreement.PAIRS` -> the mean of the episodes' shares, 0 .. 100, over those for which it is known.

    The interval is Wilson's over episodes: decisions of one episode are no independent trials.
    """
    found = [result.words for result in results if result.words is not None]
    shares = {pair: [words[pair] for words in found if words.get(pair) is not None] for pair in PAIRS}
    return {pair: Mean.of_progress([100 * share for share in known]) for pair, known in shares.items() if known}


def failure_rows(parts: Mapping[str, Mapping[str, Rate]]) -> list[list[str]]:
    """A table, heading first: a row for each label that occurs, a column for each of `parts`; else empty."""
    labels = [label for label in LABELS if any(shares and shares[label].k for shares in parts.values())]
    body = [[LABELS[label], *(str(shares.get(label, "-")) for shares in parts.values())] for label in labels]
    return [["", *parts], *body] if labels else []


def word_rows(parts: Mapping[str, Mapping[str, Mean]]) -> list[list[str]]:
    """A table, heading first: a row for each of `parts`, a column for each pair; empty where nothing was compared."""
    if not any(parts.values()):
        return []
    return [
        ["", *PAIR_NAMES.values()],
        *([name, *(_percent(shares.get(pair)) for pair in PAIR_NAMES)] for name, shares in parts.items()),
    ]


def align(cells: Sequence[Sequence[str]]) -> list[str]:
    """A line of text for each row, the columns one below the other."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _percent(mean: Mean | None) -> str:
    if mean is None or mean.mean is None or mean.low is None or mean.high is None:
        return "-"
    return f"{mean.mean:.1f} % ({mean.low:.1f} to {mean.high:.1f})"
