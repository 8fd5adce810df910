"""A Ray cluster of two nodes on this machine, runs on it, and what kills its parts while a run is under way."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlm2vla_sim.evaluation.executors.ray_executor import RayExecutor
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import SuiteRun, run_suite
from vlm2vla_sim.types import EpisodeResult

SETTINGS = RunSettings(
    policy="vlm",
    policy_options={"model": "fakes:SeededModel", "max_attempts": 4},
    tasks=("spoon_on_towel", "carrot_on_plate"),
    episodes=5,
    backend="fakes:PacedBackend",
    image_size=(48, 64),
)
KINDS = ("actor", "replica", "node")
STORE = 100_000_000
"""[bytes] of shared memory of a node."""


class TwoNodes:
    """The cluster. It listens on the loopback interface only, reports nothing, and has no dashboard."""

    def __init__(self) -> None:
        here = str(Path(__file__).parent)
        path = os.environ.get("PYTHONPATH", "")
        os.environ.update(
            PYTHONPATH=path if here in path else f"{here}{os.pathsep}{path}",  # the nodes import `fakes`
            RAY_USAGE_STATS_ENABLED="0",
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
            RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
        )
        from ray.cluster_utils import Cluster

        health = {"health_check_period_ms": 300, "health_check_failure_threshold": 3, "health_check_timeout_ms": 3000}
        head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": STORE, "_system_config": health}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.address = str(self._cluster.address)
        self._second: Any = None
        self.complete()

    def complete(self) -> None:
        """Start the second node if it was killed."""
        if self._second is None:
            self._second = self._cluster.add_node(num_cpus=2, object_store_memory=STORE)

    def kill(self, kind: str) -> None:
        """Kill, with SIGKILL, an actor that is in an episode, the replica, or the second node."""
        if kind == "node":
            self._cluster.remove_node(self._second, allow_graceful=False)
            self._second = None
            return
        name = {"actor": b"ray::WorkerActor.run", "replica": b"ray::ModelReplica"}[kind]
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if found := self._processes(name):
                os.kill(random.choice(found), signal.SIGKILL)
                return
            time.sleep(0.01)
        raise TimeoutError(f"No process {name.decode()} was found to kill.")

    def close(self) -> None:
        """End all processes of the cluster."""
        self._cluster.shutdown()

    def _processes(self, name: bytes) -> list[int]:
        raylets = {node.all_processes["raylet"][0].process.pid for node in self._cluster.list_all_nodes()}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "cmdline").read_bytes().startswith(name):
                    parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    found += [int(folder.name)] if parent in raylets else []
            except OSError:
                continue  # it has ended meanwhile
        return found


@contextmanager
def killing(nodes: TwoNodes, results: Path, kills: Sequence[tuple[int, float, str]]) -> Iterator[list[str]]:
    """Kill while the block runs, each after so many results and seconds; yields the kinds that were killed so far."""
    done: list[str] = []
    stop = threading.Event()

    def work() -> None:
        for count, delay, kind in kills:
            while not (results.exists() and results.read_bytes().count(b"\n") >= count):
                if stop.wait(0.02):
                    return
            time.sleep(delay)
            nodes.kill(kind)
            done.append(kind)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join(60)


def run_on(nodes: TwoNodes, out: Path, settings: RunSettings = SETTINGS, **options: Any) -> SuiteRun:
    """A run on the cluster, two episodes at a time."""
    nodes.complete()
    executor = RayExecutor(nodes.address)
    try:
        return run_suite(settings, out=out, **{"video": False, "workers": 2, "executor": executor, **options})
    finally:
        executor.close()


def content(result: EpisodeResult) -> EpisodeResult:
    """The result without what depends on the process, on the other episodes, or on an earlier attempt."""
    decisions = tuple(
        {**decision, "stages": [{**stage, "seconds": 0} for stage in decision["stages"]]}  # type: ignore[union-attr]
        for decision in result.decisions
    )
    return dataclasses.replace(result, seconds=0, versions={}, reason="", decisions=decisions)


def difference(run: SuiteRun, expected: SuiteRun, *, shown: Callable[[EpisodeResult], Any] = content) -> str:
    """What `run` has lost, repeated or changed against `expected`; empty if nothing."""
    lines = (run.folder / "results.jsonl").read_text().count("\n")
    if lines != len(expected.results):
        return f"{lines} lines in place of {len(expected.results)}"
    for one, two in zip(run.results, expected.results, strict=True):
        if shown(one) != shown(two):
            return f"{one.task} episode {one.episode_id} differs: {one.outcome.value} {one.reason}"
    return ""
