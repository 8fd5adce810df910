"""One text model for the policies of many worker processes.

The process that starts the workers loads the model, once, and answers their questions in batches (`ModelService`). A
worker's policy asks it through a pipe (`ModelClient`), and needs neither torch nor the memory of the model.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from vlm2vla_sim.core.portable import portable
from vlm2vla_sim.errors import ServerError
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.policies import base
from vlm2vla_sim.policies.base import Question, TextModel
from vlm2vla_sim.policies.models.batcher import Batcher
from vlm2vla_sim.types import Stage

K = TypeVar("K", bound=Hashable)


class ModelService(Generic[K]):
    """Loads the models that workers ask for, by a key that says which, and answers their questions."""

    def __init__(self, load: Callable[[K], TextModel], *, callers: int | None = None) -> None:
        """load: makes the text model for a key; an error goes to the worker that asked.

        callers: how many may ask at the same time; by default as many as have a connection.
        """
        self._load, self._callers = load, callers
        self._loading, self._counting = threading.Lock(), threading.Lock()
        self._loaded: dict[K, _Loaded] = {}
        self._workers = 0

    def serve(self, connection: Any) -> None:
        """Answer one worker's questions in a thread, until its end of the pipe is closed."""
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Any) -> None:
        with self._counting:
            self._workers += 1
        try:
            while True:
                key, method, arguments = connection.recv()
                connection.send(self.call(key, method, arguments))
        except (EOFError, OSError):
            return  # the worker has ended
        finally:
            connection.close()
            with self._counting:
                self._workers -= 1

    def call(self, key: K, method: str, arguments: tuple[Any, ...]) -> Any:
        """The answer to one request of a `ModelClient`, which raises it where it is an error."""
        try:
            with self._loading:
                if key not in self._loaded:
                    self._loaded[key] = _Loaded(self._load(key), lambda: self._callers or self._workers)
            return getattr(self._loaded[key], method)(*arguments)
        except Exception as error:  # raised in the worker
            return _Failure(portable(error))


class _Loaded:
    """A loaded model, and the methods that a client may call."""

    def __init__(self, model: TextModel, callers: Callable[[], int]) -> None:
        self._model = model
        # A model on a server takes many requests at the same time, and batches them itself.
        self._batcher = None if getattr(model, "concurrent", False) else Batcher(model, callers=callers)

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        return self._model.answer(questions) if self._batcher is None else self._batcher.answers(questions)

    def describe(self) -> _Description:
        return _Description(base.provenance(self._model), bool(getattr(self._model, "places_images", False)))

    def prepare(self, grammars: Sequence[Grammar]) -> None:
        base.prepare(self._model, grammars)

    def prepare_thinking(self, tokens: int) -> None:
        base.prepare_thinking(self._model, tokens)


@dataclasses.dataclass(frozen=True)
class _Description:
    provenance: dict[str, Any]
    places_images: bool


@dataclasses.dataclass(frozen=True)
class _Failure:
    error: Exception


class ModelClient:
    """A `TextModel` in a worker process; the model itself is in the process with the `ModelService`."""

    def __init__(self, connection: Any, key: Hashable) -> None:
        """Have the service load the model, or find it loaded; its error is raised here."""
        self._connection, self._key = connection, key
        self._lock = threading.Lock()
        self._description: _Description = self._call("describe")
        self.places_images = self._description.places_images

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """See `TextModel.answer`."""
        return self._call("answer", list(questions))

    def provenance(self) -> dict[str, Any]:
        """What the model really uses; see `policies.base.provenance`."""
        return self._description.provenance

    def prepare(self, grammars: Sequence[Grammar]) -> None:
        """See `policies.base.prepare`."""
        self._call("prepare", list(grammars))

    def prepare_thinking(self, tokens: int) -> None:
        """See `policies.base.prepare_thinking`."""
        self._call("prepare_thinking", tokens)

    def _call(self, method: str, *arguments: Any) -> Any:
        with self._lock:
            try:
                self._connection.send((self._key, method, arguments))
                answer = self._connection.recv()
            except (EOFError, OSError) as gone:
                raise ServerError("The process that holds the model has ended.") from gone
        if isinstance(answer, _Failure):
            raise answer.error
        return answer
