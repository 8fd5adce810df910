"""Several processes for one training: accelerate's launcher with the configurations that come with this package.

Written by hand, such a file is where most multi-GPU trainings go wrong. These are read by `accelerate launch` itself,
so that a cluster's own script can use them as well: `config_path("fsdp")`. On CPUs torch's own launcher starts the
processes: accelerate's starts one there, however many it is asked for, unless MPI is installed.
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
"""Name -> file in `configs`: a copy on every GPU; the paper's ZeRO-2; weights shared out as well."""
CPU = "cpu"
"""A copy in every process, without a GPU; no file."""


def config_path(name: str) -> Path:
    """The configuration called `name`, as `accelerate launch --config_file` takes it."""
    if name not in CONFIGS:
        raise unknown_name("launch configuration", name, (*CONFIGS, CPU))
    return Path(str(importlib.resources.files("vlm2vla_sim.training") / "configs" / CONFIGS[name]))


def launch_command(name: str, processes: int, words: Sequence[str]) -> list[str]:
    """What runs `vlm2vla WORDS` in so many processes."""
    if processes < 1:
        raise SettingError(f"{processes} processes were asked for; expected 1 or more (--processes).")
    if name == CPU:
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    else:
        files = ["--config_file", str(config_path(name))]
        launcher = ["accelerate.commands.launch", *files, "--num_processes", str(processes)]
    return [sys.executable, "-m", *launcher, "-m", "vlm2vla_sim", *words]


def launch(name: str, processes: int, words: Sequence[str]) -> None:
    """Run it to its end; SettingError when it fails, whose own error stands above.

    What each of the processes answers at the end goes nowhere: whoever launched them has one answer for all.
    """
    code = subprocess.run(launch_command(name, processes, words), check=False, stdout=subprocess.DEVNULL).returncode
    if code:
        raise SettingError(f"The training ended with status {code}; its own error stands above.")


def in_many_processes() -> bool:
    """Whether this process is one of several that train together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
