"""lerobot-eval runs our environment and our policies, and its policies run in our loop, doing the same.

Needs the package lerobot, in this environment or in the one whose Python VLM2VLA_LEROBOT_PYTHON names, beside this
package's requirements (`make test-lerobot`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict[str, Any]:
    """What `lerobot_side.py` prints."""
    python = os.environ.get("VLM2VLA_LEROBOT_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import lerobot, mujoco"], capture_output=True, check=False).returncode:
        pytest.skip("needs the package lerobot beside this one: make test-lerobot, or VLM2VLA_LEROBOT_PYTHON")
    script = Path(__file__).with_name("lerobot_side.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [python, str(script), str(tmp_path_factory.mktemp("lerobot"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_lerobot_eval_runs_an_episode_of_our_environment(seen):
    assert seen["success"] == [False]
    assert seen["video"] > 5000
    assert len(seen["sent"]) == 60
    assert np.ptp(np.array(seen["sent"])[:, :3], axis=0).max() > 0.001, "the policy answers to what it sees"


def test_the_same_policy_does_the_same_in_our_loop(seen):
    assert seen["outcome"] == "failure"
    # Results keep five digits.
    assert np.allclose(np.array(seen["sent"]), np.array(seen["ours"]), atol=1e-5)
    weights = seen["provenance"]["weights"]
    assert (weights["type"], len(weights["model"])) == ("act", 64)


def test_a_policy_of_another_convention_is_refused_until_it_is_named(seen):
    assert "observation.state has shape (8,); the convention" in seen["refused"]
    assert "--convention" in seen["refused"]
    assert seen["wide"] == "failure"


def test_our_policies_run_in_lerobot_eval(seen):
    assert seen["text_success"] == [False]
    assert len(seen["held"]) == 60
    assert np.array_equal(np.array(seen["held"])[:, :6], np.zeros((60, 6)))


def test_several_tasks_are_an_evaluation_each_or_refused(seen):
    assert seen["several"] == "4" or "evaluates one task at a time" in seen["several"]
