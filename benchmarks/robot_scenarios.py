"""Plays the sessions of the table in docs/real_robot.md, and writes the table.

    python benchmarks/robot_scenarios.py

Each row is a test with the mark `scenario`, played on the mock robot. Afterwards the tests compare what they measure
with the page. Look at what has changed before you keep it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import scenario_table  # noqa: E402

TESTS = ("tests/evaluation", "tests/cli/test_robot_docs_and_cli.py", "tests/envs/bridge")


def main() -> int:
    """Play, write, and say how many."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "measured.jsonl"
        path.touch()
        command = [sys.executable, "-m", "pytest", "-q", "-m", "scenario", *TESTS]
        status = subprocess.run(
            command, cwd=ROOT, env=os.environ | {scenario_table.MEASURED: str(path)}, check=False
        ).returncode
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    measured = {line.pop("id"): scenario_table.Measured(**line) for line in lines}
    missing = [identity for identity in scenario_table.SCENARIOS if identity not in measured]
    if status or missing:
        print(f"Nothing is written: pytest ended with {status}; not measured: {', '.join(missing) or 'none'}.")
        return 1
    scenario_table.write(measured)
    print(f"{len(measured)} sessions are in {scenario_table.PAGE}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
