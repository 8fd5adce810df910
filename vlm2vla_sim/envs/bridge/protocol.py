"""The protocol of the BridgeData robot server: methods, statuses, limits. Shared by client and mock server.

rail-berkeley/bridge_data_robot@a902e5b widowx_env_service.py; youliangtan/edgeml@b4b8495 action.py.
"""

from __future__ import annotations

import enum

from vlm2vla_sim.envs.robot_link.server_identity import ServerKind

PORT = 5556
SERVER = ServerKind("BridgeData robot server", ("init", "move", "reset", "step_action"), "bridge_data_robot", PORT)
IMAGE_SIZE = 64
"""[px] of the square float image that the server makes besides the camera's; we do not use it, so a small one."""
MAX_STEP, MAX_TURN = 0.05, 0.25
"""[m], [rad] per axis: the server clips a step to these. robot_base_env.py, action_space"""


class ServerStatus(enum.IntEnum):
    """The server's status of an action. widowx_env_service.py:52-56."""

    NO_CONNECTION = 0
    SUCCESS = 1
    EXECUTION_FAILURE = 2
    NOT_INITIALIZED = 3
