"""Finds out what works on this machine: packages, OpenGL, the twin, the video encoder, optional extras.

Most first attempts fail on a missing system library, and the traceback of a missing library names everything but the
package to install. Whatever may crash in native code is tried in a process of its own.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.versions import distribution_version
from vlm2vla_sim.envs.simpler import assets, renderer
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.video.overlay import Overlay
from vlm2vla_sim.video.writer import EpisodeVideo

DISTRIBUTION = "vlm2vla_sim"
PATIENCE = 120
"""[s] for one trial in a process of its own."""
OPENGL_ADVICE = {
    "egl": "On Debian or Ubuntu: sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri",
    "osmesa": "Only needed where EGL does not work. On Debian or Ubuntu: sudo apt-get install libosmesa6",
    "glfw": "Only needed to draw with the screen's own OpenGL; it needs a screen (DISPLAY).",
    "cgl": "Part of macOS; it needs a session with a screen.",
}

DRAW = """
import json, time
start = time.perf_counter()
import mujoco
from vlm2vla_sim.envs.mujoco.renderer import Picture
model = mujoco.MjModel.from_xml_string('''<mujoco><worldbody><light pos="0 0 3"/><camera name="eye" pos="0 0 2"/>
  <geom type="sphere" size=".5" rgba="1 0 0 1"/></worldbody></mujoco>''')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
picture = Picture(model, 48, 64)
frame = picture.draw(data, "eye")
assert int(frame[24, 32, 0]) > 2 * int(frame[24, 32, 2]) + 20, f"the red ball is not red: {frame[24, 32].tolist()}"
from OpenGL import GL
name = GL.glGetString(GL.GL_RENDERER).decode()
picture.close()
print(json.dumps(f"{name}, first picture after {time.perf_counter() - start:.1f} s"))
"""

TWIN = """
import json, time
start = time.perf_counter()
import gymnasium as gym
env = gym.make("vlm2vla_sim:vlm2vla/WidowXCarrotOnPlate-v0")
observation, _ = env.reset(seed=0, options={"episode_id": 0})
ready = time.perf_counter() - start
env.step(env.action_space.sample() * 0)
start = time.perf_counter()
for _ in range(5):
    observation, *_ = env.step(env.action_space.sample() * 0)
height, width, _ = observation["pixels"]["primary"].shape
steps = 5 / (time.perf_counter() - start)
env.close()
print(json.dumps(f"carrot on plate at {width}x{height}: ready in {ready:.1f} s, {steps:.0f} steps/s"))
"""


@dataclass(frozen=True)
class Check:
    """One thing that was tried."""

    name: str
    works: bool
    needed: bool
    """Whether the package is of no use without it."""
    found: str
    """What was found, or what went wrong."""
    advice: str = ""
    """What to do about it; empty when nothing is to be done."""


def examine() -> list[Check]:
    """Try everything; the slow parts take a few seconds each."""
    return [_check_python(), *_check_packages(), *_check_opengl(), _check_twin(), _check_video(), *_check_simpler()]


def to_json(checks: list[Check]) -> list[dict[str, object]]:
    """Plain values for programs."""
    return [dataclasses.asdict(check) for check in checks]


def _check_python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()} ({sys.executable})"
    works = sys.version_info >= (3, 11)
    return Check("python", works, True, found, "" if works else "Install Python 3.11 or newer.")


def _check_packages() -> list[Check]:
    """Every package this one declares, those of its extras included."""
    checks = []
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        match = re.match(r"[\w.-]+", line)
        extra = re.search(r"""extra == ["']([\w-]+)["']""", line)
        assert match is not None, line
        name, version = match[0], distribution_version(match[0])
        wanted = line.split(";")[0].strip()
        install = f"pip install '{DISTRIBUTION}[{extra[1]}]'" if extra else f"pip install '{wanted}'"
        label = f"{name} [{extra[1]}]" if extra else name
        checks.append(
            Check(label, version is not None, not extra, version or "not installed", "" if version else install)
        )
    return checks


def _check_opengl() -> list[Check]:
    """OpenGL by every way MuJoCo knows on this system. One of them is enough, and only the twin needs it."""
    ways = ["cgl", "glfw"] if sys.platform == "darwin" else ["egl", "osmesa"]
    if sys.platform == "linux" and os.environ.get("DISPLAY"):
        ways.append("glfw")
    checks = []
    for way in ways:
        works, said = _try_apart(DRAW, {"MUJOCO_GL": way})
        checks.append(Check(f"OpenGL by {way}", works, False, said, "" if works else OPENGL_ADVICE[way]))
    return checks


def _check_twin() -> Check:
    works, said = _try_apart(TWIN, {})
    advice = (
        "" if works else "Mend what fails above; if nothing does, run `python -X faulthandler` on the README's example."
    )
    return Check("the twin", works, True, said, advice)


def _check_video() -> Check:
    overlay = Overlay("doctor", "write a video", step=0, steps=1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            video = EpisodeVideo(Path(folder), "trial", frame_size=(48, 64), fps=5)
            for _ in range(5):
                video.add(np.zeros((48, 64, 3), np.uint8), overlay)
            size = video.finish("done").stat().st_size
    except (RunFolderError, ImportError, OSError, RuntimeError) as error:
        advice = "pip install --upgrade av imageio; until then leave the videos out (--no-video)."
        return Check("video (H.264)", False, True, f"{type(error).__name__}: {error}", advice)
    return Check("video (H.264)", size > 0, True, f"wrote 5 frames, {size} bytes")


def _check_simpler() -> list[Check]:
    """What the true SIMPLER scenes need besides their package, where that is installed."""
    if importlib.util.find_spec("mani_skill") is None:
        return []
    inventory, drawing = assets.inspect(), renderer.probe()
    found = "; ".join(f"{backend}: {device}" for backend, device in drawing.backends.items())
    return [
        Check("SIMPLER's assets", not inventory.missing, False, inventory.lines()[0], inventory.advice()),
        Check("SIMPLER's renderer", not drawing.problem, False, found or "none that works", drawing.problem),
    ]


def _try_apart(code: str, environment: dict[str, str]) -> tuple[bool, str]:
    """Run `code` in a process of its own; whether it worked, and what it said or how it ended."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"it did not end within {PATIENCE} s"
    if done.returncode == 0:
        return True, str(json.loads(done.stdout.splitlines()[-1]))
    if done.returncode < 0:
        return False, f"it crashed (signal {-done.returncode})"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return False, f"it failed: {lines[-1]}" if lines else f"it ended with status {done.returncode}"
