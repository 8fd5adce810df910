"""Client of a BridgeData robot server: its messages, on the rules of every robot link.

rail-berkeley/bridge_data_robot@a902e5b widowx_env_service.py
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.bridge.protocol import IMAGE_SIZE, SERVER, ServerStatus
from vlm2vla_sim.envs.bridge.settings import BridgeSettings
from vlm2vla_sim.envs.robot_link.images import describe_value
from vlm2vla_sim.envs.robot_link.link import RawObservation, RobotLink, fault
from vlm2vla_sim.errors import ActionError, LinkLostError
from vlm2vla_sim.types import Pose

MAX_MOVE_SECONDS = 10.0
OBSERVATION_KEYS = ["image", "state", "full_image"]


class BridgeClient(RobotLink):
    """A connection to one robot behind a BridgeData server."""

    server = SERVER
    prepare_may_reset = True  # a server that was initialised with the same parameters answers an init with a reset

    def observe(self) -> RawObservation:
        """The arm's state and the camera's image; LinkLostError when the robot is not initialised."""
        asked = self._clock()
        reply = self._request({"type": "obs", "keys": OBSERVATION_KEYS}, timeout=self._timeouts.obs, acts=False)
        arrived = self._clock()
        state, jpeg = (reply.get(key) for key in ("state", "full_image")) if isinstance(reply, dict) else (None, None)
        if not isinstance(state, np.ndarray) or state.shape != (7,):
            raise fault("The robot reports no state: it is not initialised. Was its server restarted?")
        if not isinstance(jpeg, bytes):
            raise LinkLostError(
                f"The robot's image is {describe_value(jpeg)}; expected a JPEG. Update bridge_data_robot on the "
                "robot's computer.",
                reason="camera_stale",
            )
        if not np.isfinite(state).all():
            raise fault(f"The robot reports a state that is not finite: {state.tolist()}.")
        return RawObservation(state.astype(np.float64), jpeg, asked, arrived)

    def init(self, env_params: dict[str, Any]) -> None:
        """Initialise the robot, which drives to its neutral pose. "start_state" must lie in the workspace."""
        start = np.asarray(env_params["start_state"], dtype=np.float64)
        self._check(start, (7,), "start pose")
        self._check_inside(start[:3], "start pose")
        payload = {"env_params": env_params, "image_size": IMAGE_SIZE}
        self._act("init", payload, self._timeouts.init)

    def prepare(self, settings: BridgeSettings) -> None:
        """Initialise the robot, which drives to its neutral pose."""
        self.init(settings.server_parameters())

    def reset(self) -> None:
        """Open the gripper and drive to neutral, then to the start pose given to `init`."""
        self._act("reset", {}, self._timeouts.reset)

    def step(self, action: np.ndarray, *, before: Pose, after: Pose, blocking: bool = False) -> None:
        """One control step; see `RobotLink.step`."""
        action = self.check_step(action, before=before, after=after)
        self._act("step_action", {"action": action, "blocking": blocking}, self._timeouts.step)

    def move(self, pose: Pose, seconds: float) -> None:
        """Drive to `pose` in `seconds` and wait; afterwards the controller's target is the measured pose."""
        matrix = frames.pose_to_matrix(pose)
        self._check(matrix, (4, 4), "pose")
        self._check_inside(pose.position, "pose")
        if not 0 < seconds <= MAX_MOVE_SECONDS:
            raise ActionError(
                f"A move of {seconds} s was asked for; expected more than 0, at most {MAX_MOVE_SECONDS} s."
            )
        payload = {"pose": matrix, "duration": float(seconds), "blocking": True}
        self._act("move", payload, self._timeouts.move + seconds)

    def sleep(self) -> bool:
        """Fold the arm, on servers that have the method; the published one has none."""
        if self.identity is None or "sleep" not in self.identity.methods:
            return False
        self._act("sleep", {}, self._timeouts.reset)
        return True

    def _act(self, key: str, payload: Any, timeout: float) -> Any:
        reply = super()._act(key, payload, timeout)
        status = reply.get("status") if isinstance(reply, dict) else None
        if status == ServerStatus.SUCCESS:
            return reply
        if status == ServerStatus.NOT_INITIALIZED:
            raise fault(f"The robot is not initialised, it refused {key!r}. Was its server restarted?")
        if status == ServerStatus.EXECUTION_FAILURE:
            raise fault(f"The robot could not execute {key!r}.")
        raise self._lose(f"The robot replied {key!r} with {str(reply)[:100]!r}; expected a status.")
