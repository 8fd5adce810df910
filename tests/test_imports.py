"""`import vlm2vla_sim` is quick because it brings NumPy and Gymnasium and nothing heavier; each part brings its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("mujoco", "torch", "PIL", "imageio", "av", "tyro", "tqdm", "mani_skill", "sapien", "OpenGL", "zmq")


def brought_by(code: str) -> set[str]:
    """The heavy packages that a fresh process has imported after `code`."""
    tail = f"\nimport json, sys\nprint(json.dumps([n for n in {HEAVY} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import vlm2vla_sim",
        "from vlm2vla_sim import FORMATS, TASKS, POLICIES, get_format, load_policy, ActionChunk, Decision",
        "from vlm2vla_sim import WidowXEnv, LanguageActions, make_vec",
        "import gymnasium\n"
        "env = gymnasium.make('vlm2vla_sim:vlm2vla/WidowXStackCube-v0', backend='point', image_size=(32, 48))\n"
        "env.reset()",
        "from vlm2vla_sim import get_format\nget_format('prose').read('close gripper')",
    ],
)
def test_what_needs_no_heavy_package_brings_none(code):
    assert brought_by(code) == set()


def test_the_twin_brings_mujoco_when_it_is_asked_for():
    brought = brought_by("from vlm2vla_sim import WidowXEnv\nWidowXEnv('stack_cube', image_size=(32, 48))")
    assert "mujoco" in brought, "the list above can see it"
    assert not {"torch", "imageio", "av", "tyro", "tqdm", "mani_skill", "sapien"} & brought


def test_importing_prints_nothing_and_warns_of_nothing():
    command = [sys.executable, "-W", "error", "-c", "import vlm2vla_sim"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
