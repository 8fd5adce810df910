"""Is the verifier right? What it said about a subtask, against the simulator's truth at the same moment.

The truth is `policies.verifier.is_truly_done`: an object is grasped while both fingers press on it, carried when it is
above the target, put down when it lies on the target, is released, and touches nothing else. The object is the task's,
also where a subtask names another. A subtask of another verb has no truth, and neither has one where the scene is not
known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.evaluation.rates import wilson_interval
from vlm2vla_sim.policies.verifier import subtask_kind
from vlm2vla_sim.types import EpisodeResult

KINDS = {"grasp": "grasp", "carry": "carry", "release": "put"}
"""Kind of subtask (`policies.verifier.subtask_kind`) -> what people read, in the order of an episode."""
COLUMNS = ("passed, of those done", "passed, of those not done", "truth not known")


@dataclass(frozen=True)
class VerdictRate:
    """`k` of `n` verdicts in `episodes` episodes."""

    k: int
    n: int
    episodes: int

    def interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of as many trials as there are episodes, None without any.

        Verdicts of one episode, on attempts at one object, are no independent trials.
        """
        return wilson_interval(self.k / self.n * self.episodes, self.episodes) if self.n else None

    def to_json(self) -> dict[str, object]:
        """k, n, episodes, rate and the ends of its interval; the last three are null if n is 0."""
        low, high = self.interval() or (None, None)
        rate = self.k / self.n if self.n else None
        return {"k": self.k, "n": self.n, "episodes": self.episodes, "rate": rate, "low": low, "high": high}

    def __str__(self) -> str:
        found = self.interval()
        if found is None:
            return "-"
        return f"{self.k}/{self.n} {100 * self.k / self.n:.1f} % ({100 * found[0]:.1f} to {100 * found[1]:.1f})"


@dataclass(frozen=True)
class VerdictTable:
    """The confusion table of one kind of subtask: each row is a `VerdictRate` of "passed"."""

    done: VerdictRate
    """Of the verdicts on a subtask that was done: how many said so."""
    not_done: VerdictRate
    """Of those on a subtask that was not done: how many said that it was."""
    unknown: int
    """Verdicts whose truth is not known."""

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"done": self.done.to_json(), "not_done": self.not_done.to_json(), "unknown": self.unknown}


def verdict_tables(results: Iterable[EpisodeResult]) -> dict[str, VerdictTable]:
    """Kind of subtask, or "other" -> its table; empty where no verifier was asked."""
    found: dict[str, list[tuple[int, bool, bool | None]]] = {kind: [] for kind in (*KINDS, "other")}
    for number, result in enumerate(results):
        for decision in result.decisions:
            verdict = decision.get("verdict")
            if isinstance(verdict, Mapping):
                kind = subtask_kind(str(decision.get("subtask", ""))) or "other"
                found[kind].append((number, bool(verdict["said"]), verdict["truth"]))
    return {kind: _table(verdicts) for kind, verdicts in found.items() if verdicts}


def _table(verdicts: list[tuple[int, bool, bool | None]]) -> VerdictTable:
    def rate(truth: bool) -> VerdictRate:
        those = [(episode, said) for episode, said, true in verdicts if true is truth]
        return VerdictRate(sum(said for _, said in those), len(those), len({episode for episode, _ in those}))

    return VerdictTable(rate(True), rate(False), sum(true is None for _, _, true in verdicts))


def verdict_rows(tables: Mapping[str, VerdictTable]) -> list[list[str]]:
    """A table, heading first: a row for each kind of subtask, a column for each of `COLUMNS`; empty without any."""
    body = [
        [KINDS.get(kind, kind), str(table.done), str(table.not_done), str(table.unknown)]
        for kind, table in tables.items()
    ]
    return [["", *COLUMNS], *body] if body else []


def misjudged(decision: Mapping[str, Any]) -> list[str]:
    """A line where what the verifier said of a decision is not the truth. decision: an entry of `decisions`."""
    verdict = decision.get("verdict")
    if not isinstance(verdict, Mapping) or verdict["truth"] in (None, verdict["said"]):
        return []
    said, true = ("done", "it was not") if verdict["said"] else ("try again", "it was done")
    return [f"the verifier said {said}, and {true}"]
