"""`vlm2vla robot mock-controller`: serves a mock of the WidowX AI's controller, for rehearsals without the arm."""

from __future__ import annotations

from dataclasses import dataclass

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.cli.signals import INTERRUPTED
from vlm2vla_sim.core.terminal import to_stderr
from vlm2vla_sim.errors import missing_extra


@dataclass(frozen=True)
class MockControllerCommand:
    """Serve a mock of the WidowX AI's controller on this machine: the vendor's driver connects to it.

    It needs the package trossen-arm-sim, and the twin is the arm.
    """

    host: str = "127.0.0.1"
    """Address of this machine to listen on; the ports are the protocol's, 50000 and 50001."""
    task: str = "carrot_on_plate"
    """The task whose scene is simulated."""
    truth_port: int | None = None
    """Port of the state channel, for the scripted policy and as a rendered camera; by default there is none."""
    speed: float = 1.0
    """Simulated seconds per second of the wall clock."""
    image_size: tuple[int, int] = (480, 640)
    """Height and width of the rendered camera's images."""

    def __call__(self) -> CommandResult:
        """Serve until Ctrl-C."""
        from vlm2vla_sim.envs.backends import with_robot_of
        from vlm2vla_sim.envs.tasks import get_task

        try:
            from vlm2vla_sim.envs.widowx_ai.mock import MockController
        except ImportError as error:
            raise missing_extra("The mock controller", "trossen-arm-sim", "") from error
        task = with_robot_of("widowx_ai", get_task(self.task))
        controller = MockController(
            task, host=self.host, truth_port=self.truth_port, speed=self.speed, image_size=self.image_size
        )

        def ready() -> None:
            channel = f", state channel {controller.truth_address}" if controller.truth_address else ""
            to_stderr(f"A mock WidowX AI listens on {self.host}{channel}. Ctrl-C ends it.\n")

        try:
            controller.serve(ready=ready)
        except KeyboardInterrupt:
            return CommandResult("Stopped.", {"stopped": True}, code=INTERRUPTED)
        return CommandResult("Stopped.", {"stopped": True})
