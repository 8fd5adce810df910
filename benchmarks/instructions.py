"""How many instructions in the manner of BridgeData V2 are read rightly, and how fast.

    python benchmarks/instructions.py               # the half that was held out, and the other one
    python benchmarks/instructions.py --show-half held-out   # and what is wrong or not read in it

The set is `tests/data/bridge_instructions.jsonl`. An instruction is right if every clause has the verb, object,
relation and goal of the set, and also its source, its tool and where its object or goal lies. It is refused if the
parser itself says that it is not clear, and wrong otherwise. A text that asks for nothing ("does nothing") is right if
nothing is read from it.
"""

from __future__ import annotations

import hashlib
import json as json_module
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from vlm2vla_sim.evaluation.rates import wilson_interval
from vlm2vla_sim.language.instruction_parser import Clause, Phrase, parse

SET = Path(__file__).parents[1] / "tests/data/bridge_instructions.jsonl"
HALVES = {"held-out": True, "other": False}


def read(half: str) -> list[dict[str, Any]]:
    """The rows of one half of the set."""
    rows = [json_module.loads(line) for line in SET.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["held_out"] is HALVES[half]]


def digest_bit(text: str) -> int:
    """1 where `text` belongs to the half that is held out."""
    return hashlib.sha256(text.encode("utf-8")).digest()[0] % 2


def as_row(clause: Clause) -> dict[str, str]:
    """`clause` as the set writes it, without what is empty."""

    def at(phrase: Phrase | None) -> str:
        return phrase.at.text if phrase and phrase.at else ""

    found = {
        "verb": clause.verb,
        "object": clause.object.text if clause.object else "",
        "object_at": at(clause.object),
        "relation": clause.relation,
        "goal": clause.goal.phrase.text if clause.goal else "",
        "goal_at": at(clause.goal.phrase if clause.goal else None),
        "source": clause.source.phrase.text if clause.source else "",
        "tool": clause.tool.text if clause.tool else "",
    }
    return {name: text for name, text in found.items() if text}


def outcome(row: dict[str, Any]) -> str:
    """Whether the parser has `row` "right", "wrong" or "refused"."""
    parsed = parse(row["text"])
    if row["clauses"] and not parsed.is_clear:
        return "refused"
    read_from_it = parsed.asked if parsed.is_clear else ()
    return "right" if [as_row(clause) for clause in read_from_it] == row["clauses"] else "wrong"


def speed(rows: list[dict[str, Any]], seconds: float = 2.0) -> float:
    """Instructions in a second of one core's time, each read anew."""
    texts = [row["text"] for row in rows]
    parse(texts[0])
    count, started = 0, time.process_time()
    while time.process_time() - started < seconds:
        for text in texts:
            parse.__wrapped__(text)
        count += len(texts)
    return count / (time.process_time() - started)


def main(
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False, show_half: Literal["", "held-out", "other"] = ""
) -> None:
    """Print the table.

    Args:
        json: print one JSON object as well.
        show_half: also print what is wrong or refused in this half.
    """
    table: dict[str, Any] = {}
    for half in HALVES:
        rows = read(half)
        counts = Counter(outcome(row) for row in rows)
        intervals = {name: wilson_interval(counts[name], len(rows)) for name in ("right", "wrong", "refused")}
        table[half] = {"instructions": len(rows), **{name: counts[name] for name in intervals}}
        shares = ", ".join(
            f"{name} {counts[name]} ({100 * low:.1f} to {100 * high:.1f} %)" for name, (low, high) in intervals.items()
        )
        print(f"{half}: {len(rows)} instructions: {shares}")
        for row in rows if half == show_half else []:
            if (found := outcome(row)) != "right":
                parsed = parse(row["text"])
                print(f"  {found}: {row['text']}\n    {[as_row(one) for one in parsed.asked]} {parsed.unread}")
    table["per_second"] = round(speed(read("other")))
    print(f"{table['per_second']:,} instructions in a second of one core's time")
    if json:
        print(json_module.dumps(table))


if __name__ == "__main__":
    tyro.cli(main)
