"""Which device SAPIEN can draw with here, found out before it is needed.

SAPIEN's own message on a machine whose Mesa is too old names a device and not the reason, and a broken driver ends the
process. So the question is asked in a process of its own, and the answer says what to install.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass

from vlm2vla_sim.errors import RendererError, missing_extra, unknown_name

RENDER_BACKENDS = ("auto", "gpu", "cpu")
MESA = 25
"""The Mesa whose software Vulkan SAPIEN 3.0.3 was found to work with (25.0.7); with 22.3.6 it does not."""
SOFTWARE = "llvmpipe"
"""What Mesa's software Vulkan (lavapipe) calls its device."""
HOW_TO_GET_MESA = (
    f"Without an NVIDIA GPU, SAPIEN draws with Mesa's software Vulkan (lavapipe), of Mesa {MESA} or newer; Debian 12 "
    "comes with 22.3, which lacks what SAPIEN asks for. On Debian 12 enable the suite "
    "bookworm-backports, then: sudo apt-get install libvulkan1; sudo apt-get install -t "
    "bookworm-backports mesa-vulkan-drivers. On Debian 13 or Ubuntu 25.04 and later: sudo apt-get install libvulkan1 "
    "mesa-vulkan-drivers. With an NVIDIA GPU: install its driver together with Vulkan."
)
_ASK = "import sapien.render; print(sapien.render.get_device_summary())"
_SECONDS = 120


@dataclass(frozen=True)
class Device:
    """One device that SAPIEN lists."""

    name: str
    supported: bool
    cuda: bool
    """An NVIDIA GPU: the only kind ManiSkill's "gpu" means."""


@dataclass(frozen=True)
class Renderer:
    """What this machine can draw with."""

    backends: dict[str, str]
    """ManiSkill's render backend ("gpu", "cpu") -> name of the device, for those that can draw."""
    problem: str
    """A sentence for the user; empty when at least one backend can draw."""

    def choose(self, wanted: str) -> str:
        """The backend ("gpu", "cpu") for one of `RENDER_BACKENDS`; RendererError if this machine cannot."""
        if wanted not in RENDER_BACKENDS:
            raise unknown_name("render backend", wanted, RENDER_BACKENDS)
        if self.problem:
            raise RendererError(self.problem)
        if wanted == "auto":
            return "gpu" if "gpu" in self.backends else "cpu"
        if wanted not in self.backends:
            have = ", ".join(f"{name!r} ({device})" for name, device in self.backends.items())
            raise RendererError(f"render_backend={wanted!r} cannot draw on this machine, which has {have}.")
        return wanted


@functools.cache
def probe() -> Renderer:
    """Ask SAPIEN, in another process, what it can draw with; never raises. Takes about a second, once per process."""
    if importlib.util.find_spec("sapien") is None:
        return Renderer({}, str(missing_extra("The backend 'simpler'", "sapien", "simpler")))
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Renderer(
            {}, f"SAPIEN did not answer within {_SECONDS} s which device it can draw with. {HOW_TO_GET_MESA}"
        )
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or [f"the process ended with status {answer.returncode}"]
        return Renderer({}, f"SAPIEN found no device it can draw with ({lines[-1]}). {HOW_TO_GET_MESA}")
    return judge_devices(read_summary(answer.stdout))


def read_summary(text: str) -> list[Device]:
    """The devices in the text of `sapien.render.get_device_summary()`."""
    devices = []
    for block in re.split(r"(?m)^GPU:", text)[1:]:
        name = block.splitlines()[0].strip()
        values = dict(re.findall(r"(\w+)[: ]\s*(-?\d+)\s*$", block, flags=re.MULTILINE))
        devices.append(Device(name, values.get("Supported") == "1", int(values.get("cudaId", -1)) >= 0))
    return devices


def judge_devices(devices: list[Device]) -> Renderer:
    """Which of `devices` ManiSkill can be told to use."""
    backends = {}
    for device in devices:
        if device.supported and device.cuda:
            backends.setdefault("gpu", device.name)
        elif device.supported and SOFTWARE in device.name:
            backends.setdefault("cpu", device.name)
    if backends:
        return Renderer(backends, "")
    listed = "; ".join(f"{d.name}{'' if d.supported else ' (not supported)'}" for d in devices) or "none at all"
    return Renderer({}, f"SAPIEN lists these devices: {listed}. None of them will do. {HOW_TO_GET_MESA}")
