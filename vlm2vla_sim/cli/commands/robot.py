"""`vlm2vla robot …`: sessions on a real arm, a stand-in to rehearse with, a proxy that breaks the link, and sleep."""

from __future__ import annotations

import dataclasses
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.envs.bridge.protocol import PORT
from vlm2vla_sim.errors import SettingError

INTERRUPTED = 130


@dataclass(frozen=True)
class Session:
    """Run trials with a person beside the robot: scene, start, label; in random order, resumable."""

    out: Path
    """Folder of the session."""
    policies: tuple[str, ...]
    """One or more, by name or as package.module:factory."""
    tasks: tuple[str, ...] = ("carrot_on_plate",)
    """Task names, or instructions of your own in quotes."""
    episodes: int = 10
    """Of every task."""
    backend: str = "bridge"
    """bridge, or a simulator to rehearse with."""
    format: str = "vlm2vla"
    """How the policies write their actions."""
    seed: int = 0
    """Of the order of trials."""
    blind: bool = False
    """Show letters instead of the policies' names until the end."""
    resume: bool = False
    """Go on with the session in --out."""
    host: str = "127.0.0.1"
    """Of the robot server; other machines need --allow-remote (better: an ssh tunnel)."""
    port: int = PORT
    """Of the robot server."""
    allow_remote: bool = False
    """Let --host be another machine."""
    park: bool = False
    """Send the arm to sleep at the end."""
    camera: tuple[str, ...] = ()
    """Further cameras on this machine, NAME=DEVICE, such as wrist=/dev/video2."""
    answers: Path | None = None
    """Read the operator's answers from this file instead of the terminal."""
    always_ask: bool = False
    """Ask also where a simulator knows the outcome."""
    no_video: bool = False
    """Leave the videos out."""
    truth: str = ""
    """A stand-in's state channel, for rehearsals with the scripted policy."""
    json: bool = False
    """Print what became of it as one line of JSON."""

    def __call__(self) -> CommandResult:
        """Run it."""
        from vlm2vla_sim.evaluation.operator.episode_log import Contender, SessionSettings
        from vlm2vla_sim.evaluation.operator.live_view import BUTTONS, FOLDER
        from vlm2vla_sim.evaluation.operator.prompts import ButtonAnswers, Operator, StreamAnswers
        from vlm2vla_sim.evaluation.operator.session import run_session

        settings = SessionSettings(
            tuple(Contender(policy, self.format) for policy in self.policies),
            self.tasks,
            self.episodes,
            backend=self.backend,
            seed=self.seed,
            blind=self.blind,
        )
        # A file of answers is small, and read at once it need not be kept open.
        stream = io.StringIO(read_answers(self.answers)) if self.answers else sys.stdin
        sources = [StreamAnswers(stream), ButtonAnswers(self.out / FOLDER / BUTTONS)]
        operator = Operator(sources, say=_say, always_ask=self.always_ask)
        end = run_session(
            settings,
            self.out,
            operator,
            resume=self.resume,
            video=not self.no_video,
            env_options=self._options(),
            say=_tell,
        )
        lines = [f"{end.done} of {end.planned} trials are recorded in {end.folder}."]
        lines += [f"Stopped: {end.stopped}"] if end.stopped else []
        values = dataclasses.asdict(end) | {"folder": str(end.folder)}
        return CommandResult("\n".join([*lines, *end.table.splitlines()]), values, self.json)

    def _options(self) -> dict[str, Any]:
        if self.backend != "bridge":
            return {}
        options = {name: getattr(self, name) for name in ("host", "port", "allow_remote", "park", "truth")}
        return options | {"cameras": read_cameras(self.camera)}


@dataclass(frozen=True)
class StandIn:
    """Serve a stand-in robot on this machine: the true server's wire and habits, with the MuJoCo twin for an arm."""

    port: int = PORT
    """On 127.0.0.1."""
    task: str = "carrot_on_plate"
    """Whose scene stands before it."""
    truth_port: int | None = None
    """Also serve the state channel here, for the scripted policy."""
    clock: str = "wall"
    """"wall", or "lockstep": time passes only through what is asked for."""
    speed: float = 1.0
    """How much faster than the wall clock."""
    seed: int = 0
    """Of the camera's noise."""

    def __call__(self) -> CommandResult:
        """Serve until Ctrl-C."""
        from vlm2vla_sim.envs.bridge.mock.server import MockServer
        from vlm2vla_sim.envs.tasks import get_task

        settings = {name: getattr(self, name) for name in ("port", "truth_port", "clock", "speed", "seed")}
        server = MockServer(get_task(self.task), **settings)
        channel = f", state channel {server.truth_address}" if server.truth_address else ""
        _tell(f"A stand-in WidowX listens on tcp://127.0.0.1:{server.port}{channel}. Ctrl-C ends it.")
        return _serve(server)


@dataclass(frozen=True)
class Faults:
    """Put a proxy before a robot server that breaks the link, by a script or at random."""

    target: int = PORT
    """Port of the robot server."""
    port: int = 5566
    """Port to listen on; point the client here."""
    script: Path | None = None
    """JSON list of faults: [{"at": 12, "kind": "drop_answer"}, ...]."""
    seed: int = 0
    """Of random faults."""
    rate: float = 0.02
    """Share of questions to which something happens, without a script."""
    seconds: float = 6.0
    """How long a delay may last."""
    truth: str = ""
    """A stand-in's state channel, for "restart" and "crash"."""

    def __call__(self) -> CommandResult:
        """Serve until Ctrl-C."""
        from vlm2vla_sim.envs.bridge.ground_truth import TruthClient
        from vlm2vla_sim.envs.bridge.mock.fault_proxy import FaultProxy, describe, random_faults, read_script

        faults = (
            read_script(self.script)
            if self.script
            else random_faults(self.seed, requests=100_000, rate=self.rate, seconds=self.seconds)
        )
        channel = TruthClient(self.truth) if self.truth else None
        hooks: dict[str, Any] = {}
        if channel is not None:
            hooks = {"on_restart": lambda: channel.ask(type="restart"), "on_crash": lambda: channel.ask(type="crash")}
        proxy = FaultProxy(self.target, port=self.port, faults=faults, **hooks)
        first = f"; the first: {describe(faults[0])}" if faults else ""
        _tell(f"Faults on tcp://127.0.0.1:{proxy.port} -> {self.target}: {len(faults)} planned{first}. Ctrl-C ends it.")
        return _serve(proxy)


@dataclass(frozen=True)
class Sleep:
    """Send the arm to its sleep pose (or, where the server knows none, close to its base) and hang up."""

    host: str = "127.0.0.1"
    """Of the robot server."""
    port: int = PORT
    """Of the robot server."""
    allow_remote: bool = False
    """Let --host be another machine."""

    def __call__(self) -> CommandResult:
        """Do it."""
        import numpy as np

        from vlm2vla_sim.envs.bridge.backend import BridgeBackend
        from vlm2vla_sim.envs.tasks import get_task

        task = get_task("carrot_on_plate")
        robot = BridgeBackend(task, host=self.host, port=self.port, allow_remote=self.allow_remote, park=True)
        try:
            robot.reset(task.layouts[0], np.random.default_rng(0))
        finally:
            robot.close()
        return CommandResult(
            f"The arm of {robot.profile} is parked. Cut its power only when it rests.", {"robot": robot.profile}
        )


Command = (
    Annotated[Session, tyro.conf.subcommand("session")]
    | Annotated[StandIn, tyro.conf.subcommand("stand-in")]
    | Annotated[Faults, tyro.conf.subcommand("faults")]
    | Annotated[Sleep, tyro.conf.subcommand("sleep")]
)


def robot(command: Command) -> CommandResult:
    """A real WidowX 250 S: sessions, a stand-in to rehearse with, a proxy that breaks the link, sleep."""
    return command()


def read_cameras(words: tuple[str, ...]) -> dict[str, str]:
    """NAME=DEVICE words as a table; SettingError for anything else."""
    cameras: dict[str, str] = {}
    for word in words:
        name, sign, source = word.partition("=")
        if not (name.isidentifier() and sign and source) or name == "primary" or name in cameras:
            raise SettingError(f"A camera was given as {word!r}; expected NAME=DEVICE, such as wrist=/dev/video2.")
        cameras[name] = source
    return cameras


def read_answers(path: Path) -> str:
    """The operator's answers in a file; SettingError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"The answers {path} cannot be read: {error}.") from error


def _serve(server: Any) -> CommandResult:
    try:
        server.serve()
    except KeyboardInterrupt:
        return CommandResult("Stopped.", {"stopped": True}, code=INTERRUPTED)
    return CommandResult("Stopped.", {"stopped": True})


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)  # noqa: T201


def _say(words: str) -> None:
    print(words, end="", file=sys.stderr, flush=True)  # noqa: T201
