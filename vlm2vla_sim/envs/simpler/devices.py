"""Which device SAPIEN can render with on this machine.

SAPIEN's own message on a machine whose Mesa is too old does not name the reason, and a broken driver ends the process.
So SAPIEN is asked in a separate process, and the error says what to install.
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
"""Part of the device name of Mesa's software Vulkan (lavapipe)."""
HOW_TO_GET_MESA = (
    f"Without an NVIDIA GPU, SAPIEN renders with Mesa's software Vulkan (lavapipe), of Mesa {MESA} or newer; Debian 12 "
    "comes with 22.3, which lacks a Vulkan feature that SAPIEN needs. On Debian 12 enable the suite "
    "bookworm-backports, then: sudo apt-get install libvulkan1; sudo apt-get install -t "
    "bookworm-backports mesa-vulkan-drivers. On Debian 13 or Ubuntu 25.04 and later: sudo apt-get install libvulkan1 "
    "mesa-vulkan-drivers. With an NVIDIA GPU: install its driver together with Vulkan."
)
_QUERY = "import sapien.render; print(sapien.render.get_device_summary())"
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Device:
    """One device that SAPIEN lists."""

    name: str
    supported: bool
    cuda: bool
    """An NVIDIA GPU: the only kind ManiSkill's "gpu" means."""


@dataclass(frozen=True)
class RenderDevices:
    """The devices this machine can render with."""

    backends: dict[str, str]
    """ManiSkill's render backend ("gpu", "cpu") -> name of the device."""
    problem: str
    """What is wrong; empty when at least one backend can render."""

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
            raise RendererError(f"render_backend={wanted!r} cannot render on this machine, which has {have}.")
        return wanted


@functools.cache
def probe() -> RenderDevices:
    """Ask SAPIEN, in another process, for its devices; never raises. Takes about a second, once per process."""
    if importlib.util.find_spec("sapien") is None:
        return RenderDevices({}, str(missing_extra("The backend 'simpler'", "sapien", "simpler")))
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _QUERY], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return RenderDevices(
            {}, f"SAPIEN did not answer within {_TIMEOUT_SECONDS} s which device it can render with. {HOW_TO_GET_MESA}"
        )
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or [f"the process ended with status {answer.returncode}"]
        return RenderDevices({}, f"SAPIEN found no device it can render with ({lines[-1]}). {HOW_TO_GET_MESA}")
    return select_devices(read_summary(answer.stdout))


def read_summary(text: str) -> list[Device]:
    """The devices in the text of `sapien.render.get_device_summary()`."""
    devices = []
    for block in re.split(r"(?m)^GPU:", text)[1:]:
        name = block.splitlines()[0].strip()
        values = dict(re.findall(r"(\w+)[: ]\s*(-?\d+)\s*$", block, flags=re.MULTILINE))
        devices.append(Device(name, values.get("Supported") == "1", int(values.get("cudaId", -1)) >= 0))
    return devices


def select_devices(devices: list[Device]) -> RenderDevices:
    """Those of `devices` that ManiSkill can use."""
    backends = {}
    for device in devices:
        if device.supported and device.cuda:
            backends.setdefault("gpu", device.name)
        elif device.supported and SOFTWARE in device.name:
            backends.setdefault("cpu", device.name)
    if backends:
        return RenderDevices(backends, "")
    listed = "; ".join(f"{d.name}{'' if d.supported else ' (not supported)'}" for d in devices) or "none"
    return RenderDevices({}, f"SAPIEN lists these devices: {listed}. None of them can render. {HOW_TO_GET_MESA}")
