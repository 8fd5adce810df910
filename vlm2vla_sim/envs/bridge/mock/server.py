"""A mock BridgeData robot server: the protocol and the behaviour of the real one, with the MuJoCo twin as its arm.

Like the real server it handles one request at a time, does not reply during the ten seconds of an init, reports SUCCESS
when the arm did not move, and after any exception drives to neutral with the gripper open, without a reply.

rail-berkeley/bridge_data_robot@a902e5b widowx_env_service.py, robot_base_env.py; youliangtan/edgeml@b4b8495 action.py
"""

from __future__ import annotations

from typing import Any

from vlm2vla_sim.envs.bridge.mock.robot import SECONDS, MockBridgeRobot
from vlm2vla_sim.envs.bridge.protocol import PORT
from vlm2vla_sim.envs.robot_link.mock import server
from vlm2vla_sim.envs.tasks import Task


class MockServer(server.MockServer):
    """Serves one `MockBridgeRobot`; options as `robot_link.mock.server.MockServer`."""

    robot: MockBridgeRobot

    def __init__(self, task: Task, *, port: int = PORT, obs_seconds: float = SECONDS["obs"], **options: Any) -> None:
        """Start the robot and bind the ports."""
        super().__init__(task, MockBridgeRobot, port=port, obs_seconds=obs_seconds, **options)
