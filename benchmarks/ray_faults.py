"""What becomes of a run when parts of its Ray cluster are killed: each round kills one, at a random moment.

    python benchmarks/ray_faults.py --rounds 10 --seed 0

A round is a run of ten episodes of a language policy on a cluster of two nodes on this machine. An actor of an
environment, the replica of the model, or a node is killed with SIGKILL. The results must be those of one process:
nothing lost, nothing repeated, nothing changed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from ray_cluster import KINDS, SETTINGS, TwoNodes, difference, killing, run_on

from vlm2vla_sim.evaluation.suite import run_suite


def main() -> int:
    """Run all rounds; status 1 if one differs."""
    parser = argparse.ArgumentParser(description="Runs on a Ray cluster whose parts are killed.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    broken = 0
    print("| round | killed | after results | notes of attempts | seconds | difference |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as root:
        expected = run_suite(SETTINGS, out=Path(root) / "alone", video=False)
        total = len(expected.results)
        nodes = TwoNodes()
        try:
            for number in range(args.rounds):
                kind, after, delay = rng.choice(KINDS), rng.randrange(1, total - 2), rng.uniform(0, 0.5)
                out, start = Path(root) / str(number), time.perf_counter()
                with killing(nodes, out / "results.jsonl", [(after, delay, kind)]) as killed:
                    made = run_on(nodes, out)
                found = difference(made, expected) or ("" if killed else "nothing was killed")
                notes = sum("This is attempt" in result.reason for result in made.results)
                broken += bool(found)
                print(
                    f"| {number} | {kind} | {after} | {notes} | {time.perf_counter() - start:.1f} | {found} |",
                    flush=True,
                )
        finally:
            nodes.close()
    print(f"\n{args.rounds - broken} of {args.rounds} runs have the results of one process.")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
