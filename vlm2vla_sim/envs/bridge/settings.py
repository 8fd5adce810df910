"""Checked settings of the backend "bridge"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.envs.robot_link.settings import RobotSettings


@dataclass(frozen=True, eq=False)
class BridgeSettings(RobotSettings):
    """Options of `backend.BridgeBackend`, which explains them; SettingError when a number is out of range."""

    backend = "bridge"
    camera_topic: str

    def server_parameters(self) -> dict[str, Any]:
        """The environment parameters of the server's "init" request."""
        low, high = self.workspace.low, self.workspace.high
        return {
            "fix_zangle": 0.1,
            "move_duration": 0.2,
            "adaptive_wait": True,
            "move_to_rand_start_freq": 1,
            # The last two numbers bound pitch and gripper, which "xyz" clipping ignores.
            "override_workspace_boundaries": [[*map(float, low), -1.57, 0.0], [*map(float, high), 1.57, 0.0]],
            "action_clipping": "xyz",
            "catch_environment_except": False,
            "start_state": [*map(float, self.start), 1.0],
            "skip_move_to_neutral": False,
            "return_full_image": True,
            "camera_topics": [{"name": self.camera_topic}],
        }
