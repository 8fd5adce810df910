"""A thread that owns an OpenGL context, so that an environment may be used and closed in any thread.

An OpenGL context is current in one thread at a time. Drawn with in one thread and then in another, it fails; freed
while another context is current, it takes that one's images with it. Here everything that needs the context runs in
one thread that has no other. A call costs less than 0.1 ms.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from vlm2vla_sim.errors import RendererError

Result = TypeVar("Result")
CLOSED = "The renderer is closed and draws no more images. Reset the environment, or make another one."


class GlThread:
    """Runs jobs one after the other in a thread of its own, until `end`."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._ended = False
        self._process = os.getpid()
        threading.Thread(target=_work, args=(self._jobs,), name="vlm2vla-opengl", daemon=True).start()

    def call(self, job: Callable[[], Result]) -> Result:
        """What `job` returns or raises; RendererError after `end`."""
        return self._post(job).result()

    def end(self, job: Callable[[], object] = lambda: None) -> Future[object]:
        """Run a last `job`, then end the thread. Nothing is waited for: this may be called by the garbage collector."""
        if self._process != os.getpid():  # forked: there is no such thread in this process
            return _done()
        last = self._post(job)
        with self._lock:
            self._ended = True
            self._jobs.put(None)
        return last

    def _post(self, job: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()
        with self._lock:
            if self._ended:
                raise RendererError(CLOSED)
            self._jobs.put((future, job))
        return future


class MainThread:
    """The interface of `GlThread` for the main thread: GLFW draws in no other on macOS."""

    def call(self, job: Callable[[], Result]) -> Result:
        """What `job` returns or raises; RendererError in another thread."""
        if threading.current_thread() is not threading.main_thread():
            raise RendererError(
                "With MUJOCO_GL=glfw, macOS draws in the main thread only. Use the environment in the main thread, or "
                "leave MUJOCO_GL unset."
            )
        return job()

    def end(self, job: Callable[[], object] = lambda: None) -> Future[object]:
        """Run a last `job`."""
        job()
        return _done()


def _work(jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    while (item := jobs.get()) is not None:
        future, job = item
        try:
            future.set_result(job())
        except BaseException as error:
            future.set_exception(error)
        # Nothing of the renderer is kept alive while the next job is waited for.
        del item, future, job


def _done() -> Future[object]:
    done: Future[object] = Future()
    done.set_result(None)
    return done
