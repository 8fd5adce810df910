"""Checks what works on this machine: packages, OpenGL, the MuJoCo twin, the video encoder, optional extras.

Most failed installations lack a system library, and the traceback does not name the package that provides it. Checks
that may crash in native code run in a subprocess.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.checks import Check
from vlm2vla_sim.core.versions import distribution_version
from vlm2vla_sim.envs.simpler import assets, devices, original_process
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.video.overlay import Overlay
from vlm2vla_sim.video.writer import EpisodeVideo

DISTRIBUTION = "vlm2vla_sim"
TIMEOUT = 120
"""[s] for a check that runs in a subprocess."""
OPENGL_ADVICE = {
    "egl": "On Debian or Ubuntu: sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri",
    "osmesa": "Only required if EGL does not work. On Debian or Ubuntu: sudo apt-get install libosmesa6",
    "glfw": "Only required to render through the window system; it needs a display (DISPLAY).",
    "cgl": "Part of macOS; it needs a login session with a display.",
}

RENDER = """
import json, time
start = time.perf_counter()
import mujoco
from vlm2vla_sim.envs.mujoco.renderer import OffscreenRenderer
model = mujoco.MjModel.from_xml_string('''<mujoco><worldbody><light pos="0 0 3"/><camera name="eye" pos="0 0 2"/>
  <geom type="sphere" size=".5" rgba="1 0 0 1"/></worldbody></mujoco>''')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = OffscreenRenderer(model, 48, 64)
frame = renderer.render(data, "eye")
assert int(frame[24, 32, 0]) > 2 * int(frame[24, 32, 2]) + 20, f"the red sphere is not red: {frame[24, 32].tolist()}"
name = renderer.device()
renderer.close()
print(json.dumps(f"{name}, first image after {time.perf_counter() - start:.1f} s"))
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


def examine() -> list[Check]:
    """Run every check; rendering, the twin and the video take a few seconds each."""
    return [
        _check_python(),
        *_check_packages(),
        *_check_opengl(),
        _check_twin(),
        _check_video(),
        *_check_simpler(),
        _check_original(),
    ]


def _check_python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()} ({sys.executable})"
    works = sys.version_info >= (3, 11)
    return Check("python", works, True, found, "" if works else "Install Python 3.11 or newer.")


def _check_packages() -> list[Check]:
    """Every declared dependency, including those of the extras, each of which is listed once."""
    extras: dict[str, list[str]] = {}
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"""extra == ["']([\w-]+)["']""", line)
        assert name is not None, line
        extras.setdefault(name[0], []).append(extra[1] if extra else "")
    return [_check_package(name, found) for name, found in extras.items()]


def _check_package(name: str, extras: list[str]) -> Check:
    """extras: those that require the package; "" stands for the base package."""
    version = distribution_version(name)
    required = "" in extras
    label = name if required else f"{name} [{', '.join(extras)}]"
    install = f"pip install '{DISTRIBUTION}{'' if required else f'[{extras[0]}]'}'"
    return Check(label, version is not None, required, version or "not installed", "" if version else install)


def _check_opengl() -> list[Check]:
    """Every OpenGL platform that MuJoCo supports on this system. One is enough, and only the twin needs it."""
    platforms = ["cgl", "glfw"] if sys.platform == "darwin" else ["egl", "osmesa"]
    if sys.platform == "linux" and os.environ.get("DISPLAY"):
        platforms.append("glfw")
    checks = []
    for name in platforms:
        works, found = _run_isolated(RENDER, {"MUJOCO_GL": name})
        checks.append(Check(f"OpenGL ({name})", works, False, found, "" if works else OPENGL_ADVICE[name]))
    return checks


def _check_twin() -> Check:
    works, found = _run_isolated(TWIN, {})
    advice = (
        ""
        if works
        else "Fix what fails above. If nothing does, run the README's example with `python -X faulthandler`."
    )
    return Check("MuJoCo twin", works, True, found, advice)


def _check_video() -> Check:
    caption = Overlay("doctor", "write a video", step=0, steps=1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            video = EpisodeVideo(Path(folder), "check", frame_size=(48, 64), fps=5)
            for _ in range(5):
                video.add(np.zeros((48, 64, 3), np.uint8), caption)
            size = video.finish("done").stat().st_size
    except (RunFolderError, ImportError, OSError, RuntimeError) as error:
        advice = "pip install --upgrade av imageio; until then run without videos (--no-video)."
        return Check("video (H.264)", False, True, f"{type(error).__name__}: {error}", advice)
    return Check("video (H.264)", size > 0, True, f"wrote 5 frames, {size} bytes")


def _check_simpler() -> list[Check]:
    """What the SIMPLER scenes on ManiSkill 3 need besides mani-skill, if that is installed."""
    if importlib.util.find_spec("mani_skill") is None:
        return []
    inventory, rendering = assets.inspect(), devices.probe()
    found = "; ".join(f"{backend}: {device}" for backend, device in rendering.backends.items())
    return [
        Check("SIMPLER assets", not inventory.missing, False, inventory.lines()[0], inventory.advice()),
        Check("SIMPLER renderer", not rendering.problem, False, found or "none works", rendering.problem),
    ]


def _check_original() -> Check:
    """The interpreter of the original SIMPLER, for the profile "original" of the backend "simpler"."""
    name = "original SIMPLER"
    try:
        python = original_process.find_python()
    except SettingError as error:
        return Check(name, False, False, "no interpreter", str(error))
    found = original_process.examine(python, renderer=True)
    if found.problems:
        return Check(name, False, False, f"{python}: {'; '.join(found.problems)}", original_process.HOW)
    return Check(name, True, False, f"{python}: {', '.join(f'{one} {v}' for one, v in found.versions.items())}")


def _run_isolated(code: str, environment: dict[str, str]) -> tuple[bool, str]:
    """Run `code` in a subprocess: whether it succeeded, and the JSON string it printed last or how it failed."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"did not end within {TIMEOUT} s"
    if done.returncode == 0:
        return True, str(json.loads(done.stdout.splitlines()[-1]))
    if done.returncode < 0:
        return False, f"crashed (signal {-done.returncode})"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return False, f"failed: {lines[-1]}" if lines else f"ended with status {done.returncode}"
