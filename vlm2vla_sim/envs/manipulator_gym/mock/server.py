"""A mock manipulator_gym server: the protocol and the behaviour of the real one, with the MuJoCo twin as its arm.

Like the real server it handles one request at a time, answers True when the arm did not move, and is gone after an
exception of its robot.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from vlm2vla_sim.envs.manipulator_gym.mock.robot import OBS_SECONDS, MockManipulator
from vlm2vla_sim.envs.manipulator_gym.protocol import PORT, find_interface
from vlm2vla_sim.envs.robot_link.mock import server
from vlm2vla_sim.envs.tasks import Task


class MockServer(server.MockServer):
    """Serves one `MockManipulator`; further options as `robot_link.mock.server.MockServer`."""

    robot: MockManipulator

    def __init__(
        self,
        task: Task,
        *,
        port: int = PORT,
        interface: str = "widowx",
        blocking: bool = True,
        obs_seconds: float = OBS_SECONDS,
        **options: Any,
    ) -> None:
        """Start the robot and bind the ports. interface, blocking: see `MockManipulator`."""
        make = partial(MockManipulator, interface=find_interface(interface), blocking=blocking)
        super().__init__(task, make, port=port, obs_seconds=obs_seconds, **options)
