"""The interpreter of the original SIMPLER: which one it is, what it lacks, and the process that runs in it.

`simpler_env` needs NumPy below 2, Gymnasium below 1 and SAPIEN 2, so it has an interpreter of its own, which runs
`original_worker`, and `original_check` to say what it lacks.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import queue
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vlm2vla_sim.envs.simpler import original_check, original_worker
from vlm2vla_sim.envs.simpler.original_worker import LENGTHS
from vlm2vla_sim.errors import BackendFaultError, SettingError

VARIABLE = "VLM2VLA_SIMPLER_PYTHON"
"""Environment variable that names the interpreter."""
CONDA_NAME = "simpler_env"
"""Name of the conda environment in simpler-env's own installation guide."""
CHECK, WORKER = Path(original_check.__file__), Path(original_worker.__file__)
HOW = 'docs/howto/use_the_simpler_scenes.md, "The original SIMPLER", has the commands that install it.'
START_SECONDS, SECONDS = 600.0, 120.0
"""[s] that the worker may take to load the scene, and for every other answer. On two busy cores loading took 35 s."""
CLOSE_SECONDS = 10.0
CHECK_SECONDS = 180.0


@dataclass(frozen=True)
class Interpreter:
    """What an interpreter has of the original SIMPLER."""

    python: str
    versions: Mapping[str, str]
    problems: tuple[str, ...]
    """Sentences; empty when the original SIMPLER can run in it."""


def find_python(python: str = "") -> str:
    """The interpreter for the original SIMPLER; SettingError if there is none.

    The first of: `python`, the environment variable `VLM2VLA_SIMPLER_PYTHON`, and that of a conda environment with the
    name "simpler_env".
    """
    chosen = python or os.environ.get(VARIABLE, "")
    if chosen:
        path = Path(chosen).expanduser()
        if not path.is_file():
            where = f"python={python!r}" if python else f"the environment variable {VARIABLE}={chosen!r}"
            raise SettingError(f"The interpreter of the original SIMPLER is not there: {where} names no file. {HOW}")
        return str(path.absolute())  # not resolved: a virtual environment's interpreter is a link to its base's
    for path in _conda_pythons():
        if path.is_file():
            return str(path)
    raise SettingError(
        "The profile 'original' runs in an interpreter that has simpler-env, and none was found: name it with "
        f"`--backend-options python=PATH` or the environment variable {VARIABLE}. {HOW}"
    )


def _conda_pythons() -> Iterator[Path]:
    bases = [os.environ.get("MAMBA_ROOT_PREFIX"), os.environ.get("CONDA_PREFIX")]
    if os.environ.get("CONDA_EXE"):
        bases.append(str(Path(os.environ["CONDA_EXE"]).parents[1]))
    bases += [str(Path.home() / name) for name in ("miniconda3", "miniforge3", "anaconda3", "micromamba")]
    for base in bases:
        if base:
            # CONDA_PREFIX is the active environment: the base one, or one of its `envs`.
            yield Path(base) / "envs" / CONDA_NAME / "bin" / "python"
            yield Path(base).parent / CONDA_NAME / "bin" / "python"


@functools.cache
def examine(python: str, *, renderer: bool = False) -> Interpreter:
    """Ask an interpreter what it has, once per process; takes about half a second.

    renderer: also whether SAPIEN can render there, which takes some seconds and may need a display driver.
    """
    command = [python, "-I", str(CHECK), *(["--renderer"] if renderer else [])]
    try:
        done = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Interpreter(python, {}, (f"it does not run ({type(error).__name__}: {error})",))
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        ended = describe_exit(done.returncode)
        return Interpreter(python, {}, (f"its check {ended}. {_last_lines(done.stderr)}",))
    return Interpreter(python, answer["versions"], tuple(answer["problems"]))


def check_interpreter(python: str) -> Interpreter:
    """What an interpreter has; SettingError if the original SIMPLER cannot run in it."""
    found = examine(python)
    if found.problems:
        raise SettingError(f"The original SIMPLER cannot run in {python}: {'; '.join(found.problems)}. {HOW}")
    return found


class OriginalProcess:
    """The worker's process; it ends when this object is collected, and when this process ends."""

    def __init__(self, python: str) -> None:
        """Start it; BackendFaultError if it does not start."""
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - open as long as the process
        try:
            self._process = subprocess.Popen(
                [python, "-I", str(WORKER), str(os.getpid())],
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
        except OSError as error:
            self._log.close()
            raise BackendFaultError(f"The interpreter of the original SIMPLER does not start: {error}") from error
        self._numbers = itertools.count(1)
        self._answers: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        assert self._process.stdout is not None
        threading.Thread(target=_collect, args=(self._process.stdout, self._answers), daemon=True).start()
        self._finalizer = weakref.finalize(self, _end, self._process, self._log, os.getpid())

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._finalizer.alive and self._process.poll() is None

    def ask(self, what: str, *, seconds: float | None = None, **values: Any) -> tuple[dict[str, Any], bytes]:
        """Have the worker do `what`, a method of `original_worker.Worker`, and return its answer.

        BackendFaultError if it fails, ends, or takes longer than `seconds`; the process is then gone.
        """
        seconds = SECONDS if seconds is None else seconds
        number = next(self._numbers)
        text = json.dumps({"id": number, "do": what, "seconds": seconds, **values}).encode()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(LENGTHS.pack(len(text), 0) + text)
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise self._fault(what) from None
        while True:
            try:
                found = self._answers.get(timeout=seconds)
            except queue.Empty:
                self.kill()
                raise BackendFaultError(
                    f"The original SIMPLER did not answer {what!r} within {seconds:g} s; its process was ended."
                ) from None
            if found is None:
                raise self._fault(what)
            answer, blob = found
            if answer["id"] != number:
                continue  # of a request that Ctrl-C interrupted
            if "error" in answer:
                self.kill()
                raise BackendFaultError(f"The original SIMPLER failed during {what!r}: {answer['error']}")
            return answer, blob

    def kill(self) -> None:
        """End the process at once."""
        self._finalizer()

    def close(self) -> None:
        """Let the process release its scene, then end it. May be called twice."""
        if self.alive:
            with contextlib.suppress(BackendFaultError):  # it is gone, which is what was wanted
                self.ask("close", seconds=CLOSE_SECONDS)
        self.kill()

    def _fault(self, what: str) -> BackendFaultError:
        """What is said of a process that ended by itself."""
        try:
            ended = describe_exit(self._process.wait(timeout=CLOSE_SECONDS))
        except subprocess.TimeoutExpired:
            ended = "closed its pipe"
        said = ""
        if not self._log.closed:
            self._log.seek(0)
            said = _last_lines(self._log.read())
        self.kill()
        return BackendFaultError(f"The process of the original SIMPLER {ended} during {what!r}. {said}".strip())


def describe_exit(status: int) -> str:
    """How a process ended, as the end of a sentence."""
    return f"crashed (signal {-status})" if status < 0 else f"ended with status {status}"


def _collect(stream: IO[bytes], answers: queue.Queue[tuple[dict[str, Any], bytes] | None]) -> None:
    """Put the answers that come in `stream` into `answers`, and None at its end."""
    try:
        while len(header := stream.read(LENGTHS.size)) == LENGTHS.size:
            sizes = LENGTHS.unpack(header)
            text, blob = (stream.read(size) for size in sizes)
            if (len(text), len(blob)) != sizes:
                break
            answers.put((json.loads(text), blob))
    except (OSError, ValueError):
        pass  # the pipe was closed under us, with the process: its end is what is reported
    answers.put(None)


def _end(process: subprocess.Popen[bytes], log: IO[str], owner: int) -> None:
    """End the process; owner: the process that started it, which alone may: one that it has forked leaves it alone."""
    if os.getpid() != owner:
        return
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        with contextlib.suppress(OSError):  # a request that the process did not take
            stream.close()
    log.close()


def _environment() -> dict[str, str]:
    """This process's environment, without what concerns its own interpreter."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _last_lines(text: str) -> str:
    """The end of what a process wrote, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"It said last: {' | '.join(lines[-3:])}" if lines else ""
