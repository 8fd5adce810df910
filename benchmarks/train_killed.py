"""Kills a training at random moments, lets it go on, and compares its end with that of one that was left alone.

A tiny model with random weights and made-up rows, because what is measured is the bookkeeping: a resumed training that
draws other rows, loses the optimizer's state or trusts half a checkpoint ends somewhere else.

    python benchmarks/train_killed.py --kills 5
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from vlm2vla_sim.data.episode import Example
from vlm2vla_sim.data.examples.folder import write_examples
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import action_prompt
from vlm2vla_sim.policies.models.random_model import save_random_model
from vlm2vla_sim.training.progress import STEPS

ROWS = 96
STEPS_IN_ALL = 24


def main() -> None:
    """Train twice, once undisturbed, and print both ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = save_random_model(root / "model")
        write_examples(make_rows(), root / "rows")
        words = [str(root / "rows"), "--model", str(model), "--preset", "small", "--save-every", "2"]
        words += ["--batch", "4", "--per-device", "4", "--learning-rate", "0.002"]
        subprocess.run(command(words, root / "whole"), check=True, stdout=subprocess.DEVNULL)
        moments = kill_and_resume(words, root / "killed", options.kills, random.Random(options.seed))
        whole, killed = (json.loads((root / name / "training.json").read_text()) for name in ("whole", "killed"))
    ends = [record["result"]["final_loss"] for record in (whole, killed)]
    print(f"left alone: {ends[0]:.6f} nats per token after {whole['result']['steps']} steps")
    print(f"killed after steps {moments}, resumed from {killed['result']['resumed']}: {ends[1]:.6f}")
    print(f"difference: {abs(ends[0] - ends[1]):.1e}")
    if options.json:
        print(json.dumps({"benchmark": "train_killed", "kills": moments, "losses": ends}))
    if abs(ends[0] - ends[1]) > 1e-3 or len(killed["result"]["resumed"]) != options.kills:
        sys.exit("It did not end where it would have.")


def make_rows() -> list[Example]:
    """Images of noise, each with an action of its own."""
    rng = np.random.default_rng(0)
    how = get_format("vlm2vla")
    rows = []
    for _ in range(ROWS):
        deltas = np.array([[*rng.integers(-12, 13, 3) / 100, 0, 0, 0, rng.integers(2)]])
        picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
        rows.append(Example("action", (picture,), action_prompt("grasp it", "", how), how.write(deltas)))
    return rows


def command(words: list[str], out: Path) -> list[str]:
    """A training in a process of its own."""
    return [sys.executable, "-m", "vlm2vla_sim", "train", *words, "--out", str(out), "--json"]


def kill_and_resume(words: list[str], out: Path, kills: int, chance: random.Random) -> list[int]:
    """Train to the end, killed so often on the way; how many steps were done each time."""
    marks = sorted(chance.sample(range(2, STEPS_IN_ALL - 1), kills))
    moments = []
    for number, mark in enumerate([*marks, STEPS_IN_ALL]):
        again = ["--resume"] if number else []
        with subprocess.Popen([*command(words, out), *again], stdout=subprocess.DEVNULL) as process:
            while number < kills and process.poll() is None and steps(out) < mark:
                time.sleep(0.002)
            if number < kills:
                time.sleep(chance.uniform(0, 0.2))  # also in the middle of writing a checkpoint
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                moments.append(steps(out))
                if out.exists():
                    sys.exit(f"A killed training left {out}.")
            elif process.wait():
                sys.exit("The last process did not come to its end.")
    return moments


def steps(out: Path) -> int:
    """Steps done so far."""
    path = out.with_name(f"{out.name}.work") / STEPS
    return len(path.read_text().splitlines()) if path.exists() else 0


if __name__ == "__main__":
    main()
