"""What becomes of an episode when the link to a real robot fails: a table of fault kinds and outcomes.

    python benchmarks/robot_faults.py --scenarios 208 --seed 0 [--backend manipulator_gym] [--json]

Each scenario is an episode of twelve distinct steps on a mock robot server, through a proxy that injects one seeded
fault into one request (or several, for kind "many"). Afterwards the mock server's record of executed actions is
compared with what was sent: actions executed twice, commands that are not finite or outside the workspace, stale frames
used as fresh ones, waits beyond the timeouts, and faults counted as the policy's failure must all be zero.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fault_scenarios import Scenario, make_scenarios, play_all


def main() -> int:
    """Run, print the table, and end with status 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description="Outcomes of episodes on a failing link, by kind of fault.")
    parser.add_argument("--scenarios", type=int, default=208)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", default="bridge", help="bridge or manipulator_gym")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    args = parser.parse_args()
    scenarios: list[Scenario] = make_scenarios(args.scenarios, random.Random(args.seed))
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    broken: list[str] = []
    longest = 0.0
    for scenario, played in zip(scenarios, play_all(scenarios, args.backend), strict=True):
        outcomes[scenario.kind][played.ending] += 1
        broken += played.broken
        longest = max(longest, played.longest_wait)
    endings = sorted({ending for counts in outcomes.values() for ending in counts})
    print("| fault | " + " | ".join(endings) + " |")
    print("|---|" + "---|" * len(endings))
    for kind in sorted(outcomes):
        print(f"| {kind} | " + " | ".join(str(outcomes[kind][ending] or "") for ending in endings) + " |")
    print(
        f"\n{len(scenarios)} scenarios, seed {args.seed}; longest wait for one answer {longest:.2f} s; "
        f"promises broken: {len(broken)}"
    )
    for line in broken[:20]:
        print(f"  {line}")
    if args.json:
        print(json.dumps({"scenarios": len(scenarios), "broken": len(broken), "outcomes": outcomes}))
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
