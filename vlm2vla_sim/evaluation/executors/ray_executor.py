"""Runs items as Ray actors, on this machine or on a cluster.

Each environment is an actor, and so is each replica of the model. Results and files come back to the calling process,
which alone writes the run folder. An actor that dies is replaced and its item is run again; a replica that dies is
started again by Ray, on another node if need be, and its questions are asked again. Questions carry their seeds, so the
answers are the same.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import closing, suppress
from typing import Any

from vlm2vla_sim.core.atomic import write_bytes
from vlm2vla_sim.errors import ServerError, SettingError, missing_extra
from vlm2vla_sim.evaluation.executors.base import I, Job, Limits, R
from vlm2vla_sim.evaluation.executors.ray_actors import ModelReplica, WorkerActor, code_versions
from vlm2vla_sim.evaluation.executors.scheduler import Scheduler, WorkerDiedError

GRACE = 10.0
"""[s] an actor is given to close its simulator before it is killed."""
CONNECT = 10.0
"""[s] for the head node to answer."""
QUESTION_ATTEMPTS = 10
"""How often a question is asked again because its replica died."""
CRASHED = "its worker process has died"
"""How Ray says that an actor's process ended, and not its node, and that nobody killed it through Ray."""


class RayExecutor:
    """An `Executor` on a Ray cluster."""

    isolates = True

    def __init__(self, address: str | None = None, *, replicas: int = 1, gpus_per_replica: float | None = None) -> None:
        """Nothing is started before the first job.

        Args:
            address: "auto" or HOST:PORT of a running cluster; None starts one on this machine, which only this machine
                can reach.
            replicas: How many processes hold the model and answer questions.
            gpus_per_replica: GPUs that each of them is given, a fraction to share one; by default 1 where the cluster
                has GPUs, else 0.
        """
        if replicas < 1 or (gpus_per_replica is not None and not gpus_per_replica >= 0):
            raise SettingError(
                f"{replicas} replicas with {gpus_per_replica} GPUs each were asked for; expected 1 or more replicas "
                "and 0 or more GPUs."
            )
        self._address, self._replicas, self._gpus = address, replicas, gpus_per_replica
        self._connected = False

    def run(self, job: Job[I, R], items: Iterable[I], limits: Limits) -> Generator[R, Any, None]:
        """See `Executor.run`. SettingError where a node has another version of the package."""
        self._connect()
        import ray

        replicas = self._start_replicas(limits.workers) if job.asks_models else []
        try:
            with closing(Scheduler(job, items, limits, _Actors(job, replicas))) as scheduler:
                yield from scheduler.run()
        finally:
            for handle in replicas:
                ray.kill(handle)

    def _start_replicas(self, workers: int) -> list[Any]:
        import ray

        callers = -(-workers // self._replicas)
        replica = ray.remote(ModelReplica).options(
            num_cpus=0,  # else the actors of environments could take the place that a replica needs to come back
            num_gpus=self._replica_gpus(),
            max_concurrency=callers + 1,
            max_restarts=-1,
            max_task_retries=QUESTION_ATTEMPTS,
        )
        return [replica.remote(callers) for _ in range(self._replicas)]

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._connected:
            import ray

            ray.shutdown()
            self._connected = False

    def _connect(self) -> None:
        # Ray reads these when it is imported. It must not report its use, nor hide the GPU, which also draws, from the
        # actors that are given none; and what it starts here is for this machine only.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if self._address is None:
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        else:
            _check_address(self._address)
        try:
            import ray
        except ImportError as absent:
            raise missing_extra("The executor ray", "ray", "ray") from absent
        if ray.is_initialized():
            return
        if self._address == "auto" and (found := _current_cluster()):
            _check_address(found)
        quiet = {"log_to_driver": False, "configure_logging": False}
        try:
            if self._address is None:
                ray.init(address="local", include_dashboard=False, **quiet)
            else:
                ray.init(address=self._address, **quiet)
        except Exception as failed:  # of a node that does not start in time, Ray raises no other
            raise ServerError(
                f"The Ray cluster {self._address or 'of this machine'} cannot be used: {failed}. Start one with "
                "`ray start --head`, or give its address (--address HOST:PORT)."
            ) from failed
        self._connected = True

    def _replica_gpus(self) -> float:
        import ray

        there = float(ray.cluster_resources().get("GPU", 0))
        each = self._gpus if self._gpus is not None else float(there > 0)
        if each * self._replicas > there:
            raise SettingError(
                f"{self._replicas} replicas with {each:g} GPUs each were asked for; the cluster has {there:g} GPUs. "
                "Ask for fewer (--replicas, --gpus-per-replica; a fraction shares a GPU), or start the nodes first."
            )
        return each


def _check_address(address: str) -> None:
    """SettingError or ServerError, at once, for what Ray would wait for and then end the process."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal()) or "/" in address:
        raise SettingError(f"The address of a Ray cluster is {address!r}; expected auto or HOST:PORT.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT).close()
    except (OSError, OverflowError) as failed:
        raise ServerError(f"No Ray cluster answers at {address}: {failed}. Start one with `ray start --head`.") from (
            failed
        )


def _current_cluster() -> str | None:
    """The address that Ray takes "auto" for; None if it has none, which it says itself."""
    from ray._private.services import canonicalize_bootstrap_address

    with suppress(ConnectionError):
        return canonicalize_bootstrap_address("auto")
    return None


class _Actors:
    """A `WorkerPool` of Ray actors."""

    start_limit: float | None = None
    """An actor may wait for a free CPU."""
    start_attempts = 5
    start_hint = "See Ray's logs of that node."

    def __init__(self, job: Job[Any, Any], replicas: Sequence[Any]) -> None:
        self._job, self._replicas = job, replicas
        self._started = 0

    def start(self) -> _Actor:
        replica = self._replicas[self._started % len(self._replicas)] if self._replicas else None
        self._started += 1
        return _Actor(self._job, replica)

    def wait(self, workers: Sequence[_Actor], timeout: float | None) -> Collection[_Actor]:
        import ray

        answers = {worker.answer: worker for worker in workers}
        ready, _ = ray.wait(list(answers), num_returns=1, timeout=timeout)
        if ready:
            ready, _ = ray.wait(list(answers), num_returns=len(answers), timeout=0)
        return [answers[answer] for answer in ready]


class _Actor:
    """A worker actor, as the calling process sees it."""

    def __init__(self, job: Job[Any, Any], replica: Any) -> None:
        import ray

        actor: Any = ray.remote(WorkerActor).options(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")
        self._job, self._actor = job, actor.remote(job, replica)
        self._has_started = False
        self.answer: Any = self._actor.start.remote()

    def send(self, item: object) -> None:
        self.answer = self._actor.run.remote(item)

    def receive(self) -> object:
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            value: Any = ray.get(self.answer)
        except RayTaskError as error:  # our own code failed outside of an item, or the item could not be sent
            return error
        except RayError as error:
            if CRASHED in str(error):
                raise WorkerDiedError("ended unexpectedly") from error
            raise WorkerDiedError(f"was lost ({type(error).__name__})", of_its_own=False) from error
        if not self._has_started:
            self._has_started = True
            return _other_version(value)
        answer, files = value
        for name, content in files.items():
            write_bytes(self._job.folder / name, content, sync=False)
        return answer

    def stop(self) -> None:
        import ray
        from ray.exceptions import RayError

        with suppress(RayError):  # it has died, or takes too long; it is killed in either case
            ray.get(self._actor.close.remote(), timeout=GRACE)
        self.kill()

    def kill(self) -> None:
        import ray

        ray.kill(self._actor)


def _other_version(theirs: dict[str, str]) -> SettingError | None:
    """The error for a node with another version of the package than this process has."""
    ours = code_versions()
    for name in ours:
        if name in theirs and theirs[name] != ours[name]:
            return SettingError(
                f"A node of the Ray cluster has {name} {theirs[name]} and this process {ours[name]}: results of two "
                "versions are not results of one run. Install the same version of vlm2vla_sim on every node."
            )
    return None
