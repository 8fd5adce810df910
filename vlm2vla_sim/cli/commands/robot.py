"""`vlm2vla robot …`: examination, sessions with an operator, a mock robot, a proxy that injects faults, and sleep."""

from __future__ import annotations

import dataclasses
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.flags import PolicyFlags
from vlm2vla_sim.cli.mock_controller import MockControllerCommand
from vlm2vla_sim.cli.result import STOPPED, CommandResult
from vlm2vla_sim.cli.robot_doctor import DoctorCommand
from vlm2vla_sim.cli.robot_flags import OWN, SERVERS, RobotFlags
from vlm2vla_sim.cli.signals import INTERRUPTED, end_like_ctrl_c
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.core.terminal import to_stderr
from vlm2vla_sim.envs.bridge.protocol import PORT
from vlm2vla_sim.errors import RunFolderError, SettingError, unknown_name


@dataclass(frozen=True, kw_only=True)
class SessionCommand(RobotFlags, PolicyFlags):
    """Run episodes with an operator beside the robot, who arranges, starts and labels them; resumable."""

    out: Path
    """Folder of the session."""
    policies: tuple[str, ...]
    """One or more: names, package.module:NAME, or .toml or .yaml files, each of which specifies one policy."""
    tasks: tuple[str, ...] = ("carrot_on_plate",)
    """Task names; on a real robot also instructions of your own in quotes."""
    episodes: int = 10
    """Number of episodes per task and policy."""
    seed: int = 0
    """Seed for the order of episodes, layouts and policies."""
    blind: bool = False
    """Show letters instead of the policies' names until the end."""
    resume: bool = False
    """Continue the session in --out."""
    park: bool = OWN["park"]
    """Of a real arm: send it to its sleep pose at the end."""
    truth: str = OWN["truth"]
    """Of a mock robot: its state channel, for rehearsals with the scripted policy."""
    answers: Path | None = None
    """Read the operator's answers from this file instead of the terminal."""
    always_ask: bool = False
    """Ask the operator even if the simulator knows the outcome."""
    no_video: bool = False
    """Write no videos."""
    json: bool = False
    """Print the outcome of the session as one line of JSON."""

    def __call__(self) -> CommandResult:
        """Run it."""
        from vlm2vla_sim.evaluation.operator.episode_log import SessionSettings
        from vlm2vla_sim.evaluation.operator.live_view import BUTTONS, FOLDER
        from vlm2vla_sim.evaluation.operator.prompts import ButtonAnswers, Operator, StreamAnswers
        from vlm2vla_sim.evaluation.operator.session import run_session

        settings = SessionSettings(
            tuple(self.spec(policy) for policy in self.policies),
            self.tasks,
            self.episodes,
            backend=self.backend,
            seed=self.seed,
            blind=self.blind,
        )
        check_path(self.out, RunFolderError)
        # A file of answers is small: it is read at once and closed.
        stream = io.StringIO(read_answers(self.answers)) if self.answers else sys.stdin
        sources = [StreamAnswers(stream), ButtonAnswers(self.out / FOLDER / BUTTONS)]
        operator = Operator(sources, say=to_stderr, always_ask=self.always_ask)
        with end_like_ctrl_c():
            end = run_session(
                settings,
                self.out,
                operator,
                resume=self.resume,
                video=not self.no_video,
                env_options=self.env_options(),
                say=_tell,
            )
        lines = [f"{end.done} of {end.planned} episodes are recorded in {end.folder}."]
        lines += [f"Stopped: {end.stopped}"] if end.stopped else []
        code = int(end.fault) or (STOPPED if end.stopped else 0)
        values = dataclasses.asdict(end) | {"folder": str(end.folder)}
        return CommandResult("\n".join([*lines, *end.table.splitlines()]), values, self.json, code=code)


@dataclass(frozen=True)
class MockServerCommand:
    """Serve a mock robot on this machine: the robot server's protocol, with the MuJoCo twin as the arm."""

    port: int = PORT
    """Port to listen on."""
    host: str = "127.0.0.1"
    """Where to listen, on this machine only: 127.0.0.1 or ::1."""
    task: str = "carrot_on_plate"
    """The task whose scene is simulated."""
    truth_port: int | None = None
    """Port of the state channel, from which the scripted policy reads ground truth; by default there is none."""
    clock: str = "wall"
    """"wall", or "lockstep": time passes only while a request is carried out."""
    speed: float = 1.0
    """Simulated seconds per second of the wall clock."""
    seed: int = 0
    """Seed for the camera's noise."""
    backend: str = "bridge"
    """The backend whose server is played: bridge or manipulator_gym."""
    interface: str = ""
    """With manipulator_gym: widowx (ROS 1, the default) or widowx_ros2."""

    def __call__(self) -> CommandResult:
        """Serve until Ctrl-C."""
        from vlm2vla_sim.envs.bridge.mock.server import MockServer as MockBridgeServer
        from vlm2vla_sim.envs.manipulator_gym.mock.server import MockServer as MockManipulatorServer
        from vlm2vla_sim.envs.tasks import get_task

        settings = {name: getattr(self, name) for name in ("host", "port", "truth_port", "clock", "speed", "seed")}
        if self.backend not in SERVERS:
            raise unknown_name("backend with a mock server", self.backend, SERVERS)
        if self.backend == "bridge":
            if self.interface:
                raise SettingError("--interface is for the backend manipulator_gym.")
            server = MockBridgeServer(get_task(self.task), **settings)
        else:
            server = MockManipulatorServer(get_task(self.task), interface=self.interface or "widowx", **settings)
        channel = f", state channel {server.truth_address}" if server.truth_address else ""
        _tell(f"A mock WidowX listens on {server.address}{channel}. Ctrl-C ends it.")
        return _serve(server)


@dataclass(frozen=True)
class FaultProxyCommand:
    """Run a proxy in front of a robot server that injects link faults, by a script or at random."""

    target: int = PORT
    """Port of the robot server."""
    port: int = 5566
    """Port to listen on; point the client here."""
    host: str = "127.0.0.1"
    """Where to listen, on this machine only: 127.0.0.1 or ::1."""
    target_host: str = "127.0.0.1"
    """Where the robot server listens, on this machine: 127.0.0.1 or ::1."""
    script: Path | None = None
    """JSON list of faults: [{"at": 12, "kind": "drop_answer"}, ...]."""
    seed: int = 0
    """Seed for random faults."""
    rate: float = 0.02
    """Fraction of requests with a fault, without a script."""
    seconds: float = 6.0
    """Longest delay, in seconds."""
    truth: str = ""
    """The state channel of a mock server, for the faults "restart" and "crash"."""

    def __call__(self) -> CommandResult:
        """Serve until Ctrl-C."""
        from vlm2vla_sim.envs.robot_link.ground_truth import TruthClient
        from vlm2vla_sim.envs.robot_link.mock.fault_proxy import FaultProxy, describe, random_faults, read_script

        faults = (
            read_script(self.script)
            if self.script
            else random_faults(self.seed, requests=100_000, rate=self.rate, seconds=self.seconds)
        )
        channel = TruthClient(self.truth) if self.truth else None
        hooks: dict[str, Any] = {}
        if channel is not None:
            hooks = {"on_restart": lambda: channel.ask(type="restart"), "on_crash": lambda: channel.ask(type="crash")}
        proxy = FaultProxy(
            self.target, host=self.host, target_host=self.target_host, port=self.port, faults=faults, **hooks
        )
        first = f"; the first: {describe(faults[0])}" if faults else ""
        _tell(f"Faults on {proxy.address} -> {self.target}: {len(faults)} planned{first}. Ctrl-C ends it.")
        return _serve(proxy)


@dataclass(frozen=True, kw_only=True)
class SleepCommand(RobotFlags):
    """Send the arm to its sleep pose (or, where the server knows none, close to its base) and disconnect."""

    force: bool = False
    """Park the arm even if a session uses it, or if it moves."""

    def __call__(self) -> CommandResult:
        """Run it."""
        from vlm2vla_sim.envs.backends import is_real_robot, make_backend
        from vlm2vla_sim.envs.base import find_task

        if not is_real_robot(self.backend):
            raise SettingError(f"The backend {self.backend!r} is no real robot: there is nothing to park.")
        if self.camera:
            raise SettingError("vlm2vla robot sleep uses no camera: leave --camera out.")
        task = find_task("carrot_on_plate", self.backend)
        robot = make_backend(self.backend, task, image_size=None, quality="fast", **self.env_options())
        try:
            robot.sleep(force=self.force)
        finally:
            robot.close()
        return CommandResult(
            f"The arm of {robot.profile} is parked. Cut its power only when it rests.", {"robot": robot.profile}
        )


Command = (
    Annotated[DoctorCommand, tyro.conf.subcommand("doctor")]
    | Annotated[SessionCommand, tyro.conf.subcommand("session")]
    | Annotated[MockServerCommand, tyro.conf.subcommand("mock-server")]
    | Annotated[MockControllerCommand, tyro.conf.subcommand("mock-controller")]
    | Annotated[FaultProxyCommand, tyro.conf.subcommand("faults")]
    | Annotated[SleepCommand, tyro.conf.subcommand("sleep")]
)


def robot(command: Command) -> CommandResult:
    """A real WidowX: examination, sessions with an operator, mock robots, a proxy that injects faults, sleep."""
    return command()


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


def _tell(text: str) -> None:
    to_stderr(f"{text}\n")
