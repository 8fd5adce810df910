"""Finds an executor by its name, for commands."""

from __future__ import annotations

from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.evaluation.executors.base import Executor
from vlm2vla_sim.evaluation.executors.local import LocalExecutor
from vlm2vla_sim.evaluation.executors.ray_executor import RayExecutor

NAMES = ("local", "ray")


def make_executor(
    name: str, address: str = "", *, replicas: int = 1, gpus_per_replica: float | None = None
) -> Executor:
    """The executor `name`, one of `NAMES`; the other arguments are those of `RayExecutor`.

    SettingError for one that was given without "ray".
    """
    if name not in NAMES:
        raise unknown_name("executor", name, NAMES)
    if name == "ray":
        return RayExecutor(address or None, replicas=replicas, gpus_per_replica=gpus_per_replica)
    given = {"address": address != "", "replicas": replicas != 1, "gpus-per-replica": gpus_per_replica is not None}
    for flag in (flag for flag, is_given in given.items() if is_given):
        raise SettingError(f"--{flag} was given without --executor ray; local processes do not use it.")
    return LocalExecutor()
