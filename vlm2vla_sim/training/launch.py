"""Starts several processes for one training run: accelerate's launcher with the configurations of this package.

The configurations are plain `accelerate launch` files, so a cluster's own scripts can use them as well:
`config_path("fsdp")`. On CPUs torch's launcher starts the processes, because accelerate's starts only one there unless
MPI is installed.
"""

from __future__ import annotations

import importlib.resources
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vlm2vla_sim.errors import SettingError, unknown_name

CONFIGS = {
    "ddp": "ddp.yaml",
    "deepspeed": "deepspeed_zero2.yaml",
    "fsdp": "fsdp.yaml",
}
"""Name -> file in `configs`: data parallel; DeepSpeed ZeRO-2, as in the paper; fully sharded."""
CPU = "cpu"
"""Data parallel on CPUs; no configuration file."""


def config_path(name: str) -> Path:
    """The configuration file called `name`, for `accelerate launch --config_file`; UnknownNameError for another."""
    if name not in CONFIGS:
        raise unknown_name("launch configuration", name, (*CONFIGS, CPU))
    return Path(str(importlib.resources.files("vlm2vla_sim.training") / "configs" / CONFIGS[name]))


def launch_command(name: str, processes: int, arguments: Sequence[str]) -> list[str]:
    """The command that runs `vlm2vla ARGUMENTS` in `processes` processes."""
    if processes < 1:
        raise SettingError(f"The number of processes is {processes}; expected 1 or more (--processes).")
    if name == CPU:
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    else:
        files = ["--config_file", str(config_path(name))]
        launcher = ["accelerate.commands.launch", *files, "--num_processes", str(processes)]
    return [sys.executable, "-m", *launcher, "-m", "vlm2vla_sim", *arguments]


def launch(name: str, processes: int, arguments: Sequence[str]) -> None:
    """Run `vlm2vla ARGUMENTS` in several processes; SettingError if it fails.

    The processes' standard output is discarded: the caller prints one result for all of them.
    """
    command = launch_command(name, processes, arguments)
    code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    if code:
        raise SettingError(f"The training run ended with exit status {code}; its error is printed above.")


def in_many_processes() -> bool:
    """Whether this process is one of several of the same training run."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
