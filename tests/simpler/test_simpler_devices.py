"""What can draw is found out beforehand, and what to install is said in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vlm2vla_sim.envs.simpler.devices import RenderDevices, probe, read_summary, select_devices
from vlm2vla_sim.errors import RendererError, UnknownNameError

LAVAPIPE = "GPU: llvmpipe (LLVM 15.0.6, 256 bits)\n  Supported: 1\n  Present:   0\n  cudaId:    -1\n  cudaMode   -1\n"
NVIDIA = "GPU: NVIDIA H100 80GB HBM3\n  Supported: 1\n  Present:   0\n  cudaId:    0\n  cudaMode   0\n"
OLD = "GPU: llvmpipe (LLVM 15.0.6, 256 bits)\n  Supported: 0\n  Present:   0\n  cudaId:    -1\n"
INTEL = "GPU: Intel(R) UHD Graphics 630\n  Supported: 1\n  Present:   1\n  cudaId:    -1\n"


def test_a_gpu_is_chosen_when_there_is_one_and_the_cpu_otherwise() -> None:
    assert select_devices(read_summary(LAVAPIPE + NVIDIA)).choose("auto") == "gpu"
    assert select_devices(read_summary(LAVAPIPE)).choose("auto") == "cpu"
    assert select_devices(read_summary(LAVAPIPE + NVIDIA)).choose("cpu") == "cpu"


def test_asking_for_what_is_not_there_names_what_is() -> None:
    with pytest.raises(RendererError, match=r"render_backend='gpu' cannot render .* 'cpu' \(llvmpipe"):
        select_devices(read_summary(LAVAPIPE)).choose("gpu")
    with pytest.raises(UnknownNameError, match="Did you mean 'gpu'"):
        select_devices(read_summary(LAVAPIPE)).choose("gpus")


@pytest.mark.parametrize("summary", ["", OLD, INTEL])
def test_a_machine_that_cannot_draw_is_told_which_mesa_to_install(summary: str) -> None:
    found = select_devices(read_summary(summary))
    assert found.backends == {}
    with pytest.raises(RendererError, match=r"of Mesa 25 or newer.*apt-get install"):
        found.choose("auto")


def test_without_sapien_the_probe_gives_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = probe.__wrapped__()
    assert isinstance(found, RenderDevices)
    assert "pip install 'vlm2vla_sim[simpler]'" in found.problem


@pytest.mark.simpler
def test_a_machine_without_a_vulkan_driver_is_reported_and_not_crashed(true_scenes: None) -> None:
    code = "from vlm2vla_sim.envs.simpler.devices import probe; print(probe().problem)"
    blind = {**os.environ, "VK_ICD_FILENAMES": "/nonexistent", "VK_DRIVER_FILES": "/nonexistent"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=blind, capture_output=True, text=True, check=True, timeout=120
    )
    assert "SAPIEN found no device it can render with (RuntimeError" in run.stdout
    assert "of Mesa 25 or newer" in run.stdout
