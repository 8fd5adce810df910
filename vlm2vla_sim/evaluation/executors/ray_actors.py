"""The Ray actors: one for each environment, and one for each replica of the model.

Their classes are ordinary ones of the installed package; `ray_executor` makes actors of them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from vlm2vla_sim.core.versions import collect_versions
from vlm2vla_sim.evaluation.executors.base import Job
from vlm2vla_sim.evaluation.executors.serving import answer_of
from vlm2vla_sim.language.prompts import prompts_hash
from vlm2vla_sim.policies.models.shared_model import ModelClient, ModelService
from vlm2vla_sim.policies.vlm import make_text_model, model_options


class WorkerActor:
    """Runs items of a job, one after the other."""

    def __init__(self, job: Job[Any, Any], replica: Any) -> None:
        """replica: the handle of the `ModelReplica` that answers the questions of this actor's policies, or None."""
        # The node may see none of the caller's folders: files are made here and sent with the result.
        self._scratch = tempfile.TemporaryDirectory(prefix="vlm2vla-")
        self._folder = Path(self._scratch.name)
        self._runner = job.within(self._folder).open(
            None if replica is None else lambda o: ModelClient(_ReplicaConnection(replica), model_options(o))
        )

    def start(self) -> dict[str, str]:
        """The versions of the package on this node."""
        return code_versions()

    def run(self, item: Any) -> tuple[object, dict[str, bytes]]:
        """The result of `item` or its error, and the files it left, by their names relative to the job's folder."""
        answer = answer_of(self._runner, item)
        files: dict[str, bytes] = {}
        for path in sorted(path for path in self._folder.rglob("*") if path.is_file()):
            files[path.relative_to(self._folder).as_posix()] = path.read_bytes()
            path.unlink()
        return answer, files

    def close(self) -> None:
        """Release environment and policy."""
        self._runner.close()
        self._scratch.cleanup()


class ModelReplica:
    """A model and the batches of questions that it answers."""

    def __init__(self, callers: int) -> None:
        """callers: how many worker actors ask it."""
        self._service = ModelService(make_text_model, callers=callers)

    def call(self, key: Any, method: str, arguments: tuple[Any, ...]) -> Any:
        """See `ModelService.call`. Several threads call it, and wait for one batch."""
        return self._service.call(key, method, arguments)


class _ReplicaConnection:
    """What a `ModelClient` sends through, with a replica at the other end."""

    def __init__(self, replica: Any) -> None:
        self._replica = replica
        self._answer: Any = None

    def send(self, request: tuple[Any, str, tuple[Any, ...]]) -> None:
        self._answer = self._replica.call.remote(*request)

    def recv(self) -> Any:
        import ray
        from ray.exceptions import RayError

        try:
            # A replica that dies is started again by Ray, which then repeats the question.
            return ray.get(self._answer)
        except RayError as error:
            raise EOFError(str(error)) from error


def code_versions() -> dict[str, str]:
    """The versions that must be the same on every node; of a checkout, its commit."""
    found = collect_versions(prompts=prompts_hash())
    named = ("vlm2vla_sim", "prompts", "commit")
    return {name: found[name].removesuffix("-dirty") for name in named if name in found}
