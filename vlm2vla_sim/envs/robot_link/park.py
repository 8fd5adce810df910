"""Park the arm: at the end of a session, or from a second terminal (`vlm2vla robot sleep`)."""

from __future__ import annotations

import time

import numpy as np

from vlm2vla_sim.envs.robot_link.link import STILL, RobotLink
from vlm2vla_sim.envs.robot_link.server_identity import ROBOT_FAULT
from vlm2vla_sim.envs.robot_link.settings import RobotSettings
from vlm2vla_sim.errors import LinkLostError, RobotInUseError
from vlm2vla_sim.types import Pose

MOVE_SECONDS = 2.0
WATCH_SECONDS = 0.5
"""[s] for which an arm is watched before it is parked from a second terminal."""


def drive_to_park(client: RobotLink, settings: RobotSettings, position: np.ndarray) -> None:
    """Park an arm that can move: `sleep` where the server has it, else straight up and then to `settings.park_pose`.

    position: (3,) [m] of the gripper, base frame. Every pose that is sent lies in the workspace.
    """
    if client.sleep():
        return
    parked = settings.park_pose
    above = np.array([*position[:2], max(position[2], parked.position[2])])
    for corner in (above, parked.position):
        inside = np.clip(corner, settings.workspace.low, settings.workspace.high)
        client.move(Pose(inside, parked.quaternion), MOVE_SECONDS)


def sleep_robot(client: RobotLink, settings: RobotSettings, *, force: bool = False) -> None:
    """Park the arm without a reset, and disconnect.

    A robot that runs is not initialised again, which would open its gripper and drive it to neutral. One that is not
    initialised has to be, because it does not move otherwise. force: park it even if another client uses it.

    Raises:
        RobotInUseError: another client of this machine holds the robot's lock, or the arm is moving.
        LinkLostError: the robot does not answer, or cannot move.
    """
    try:
        if not force:
            client.lock.acquire()
        client.connect()
        drive_to_park(client, settings, _position(client, settings, force=force))
    finally:
        client.close()


def _position(client: RobotLink, settings: RobotSettings, *, force: bool) -> np.ndarray:
    """(3,) [m] where the gripper of an arm that stands still is, base frame; initialises the robot if it is not."""
    try:
        seen = client.observe().state[:3]
    except LinkLostError as lost:
        if lost.reason != ROBOT_FAULT:
            raise
        client.prepare(settings)
        return client.observe().state[:3]
    if force:
        return seen
    time.sleep(WATCH_SECONDS)
    before, seen = seen, client.observe().state[:3]
    moved = float(np.linalg.norm(seen - before))
    if moved > STILL:
        raise RobotInUseError(
            f"The arm moves ({100 * moved:.1f} cm in {WATCH_SECONDS:g} s): another client drives it. End that first, "
            "or park it anyway (--force)."
        )
    return seen
