"""Converts actions and observations between this package's units and those that a `Convention` declares.

Every conversion has its inverse beside it. A round trip cannot see a sign that is wrong in both directions, so the
tests pin values that were worked out by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm2vla_sim.core.rotations import (
    euler_sxyz_to_matrix,
    euler_sxyz_to_rotvec,
    euler_XYZ_to_rotvec,
    matrix_to_euler_sxyz,
    matrix_to_quaternion,
    matrix_to_rotvec,
    quaternion_to_matrix,
    rotvec_to_euler_sxyz,
    rotvec_to_euler_XYZ,
    rotvec_to_matrix,
)
from vlm2vla_sim.errors import ServerError, SettingError
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.types import ACTION_SIZE, RobotState

_TO_ROTVEC = {"rotvec": np.asarray, "euler sxyz": euler_sxyz_to_rotvec, "euler XYZ": euler_XYZ_to_rotvec}
_FROM_ROTVEC = {"rotvec": np.asarray, "euler sxyz": rotvec_to_euler_sxyz, "euler XYZ": rotvec_to_euler_XYZ}
MOST_ROWS = 1024
"""The most rows in one answer; pi0 sends 50."""
LARGEST = 1e6
"""The largest magnitude in an answer, in any unit."""

INTERBOTIX_OPEN = 0.39
"""The reading of an open gripper in manipulator_gym (rail-berkeley/manipulator_gym@c547d41 interfaces/widowx.py)."""

# Actions --------------------------------------------------------------------------------------------------------------


def check_rows(answer: Any, convention: Convention) -> np.ndarray:
    """`answer` as (T, width) float64, in the server's units; ServerError if it cannot be actions of the convention."""
    rows = np.asarray(answer)
    if rows.dtype.kind not in "fiu":
        raise ServerError(f"The server's actions are {rows.dtype}, not numbers ({convention.about}).")
    if rows.ndim == 1:
        rows = rows[None]
    if rows.ndim != 2 or rows.shape[1] != convention.width or not 1 <= len(rows) <= MOST_ROWS:
        raise ServerError(
            f"The server's actions have shape {np.shape(answer)}; expected ({convention.width},) or 1 to {MOST_ROWS} "
            f"rows of {convention.width} ({convention.about}). Is the convention the right one for this model?"
        )
    sound = (np.abs(rows) <= LARGEST).all(axis=1)  # a comparison with NaN is false
    if not sound.all():
        raise ServerError(
            f"The server's actions hold a number that is not finite or beyond {LARGEST:g}: {rows[~sound][0].tolist()}. "
            "Is the model un-normalised with the right statistics?"
        )
    return rows.astype(np.float64)


def read_deltas(rows: np.ndarray, convention: Convention) -> np.ndarray:
    """The server's rows, as `check_rows` returns them -> (T, 7) float64 as `ActionChunk.deltas`."""
    return np.stack([_read_row(row, convention) for row in rows])


def write_deltas(deltas: np.ndarray, convention: Convention) -> np.ndarray:
    """(T, 7) as `ActionChunk.deltas` -> the client's rows, (T, width) float32; SettingError for absolute poses."""
    if convention.absolute:
        raise SettingError(
            f"Relative actions cannot be sent as absolute poses ({convention.about}); choose another convention."
        )
    return np.stack([_write_row(row, convention) for row in np.asarray(deltas, np.float64)]).astype(np.float32)


def delta_to(row: np.ndarray, convention: Convention, robot: RobotState) -> np.ndarray:
    """One absolute row -> the (7,) delta that moves the controller's target to that pose.

    The inverse of `frames.advance_target`, whose rotation is about the *measured* position.
    """
    wanted = _read_row(row, convention)
    orientation = rotvec_to_matrix(wanted[3:6])
    if convention.upright == "down":
        orientation = orientation @ WIDOWX_250S.down
    turn = orientation @ quaternion_to_matrix(robot.target.quaternion).T
    if convention.rotation == "none":
        turn = np.eye(3)
    pivot = robot.tcp.position
    shift = wanted[:3] - pivot - turn @ (robot.target.position - pivot)
    return np.concatenate([shift, matrix_to_rotvec(turn), wanted[6:]])


def _read_row(row: np.ndarray, convention: Convention) -> np.ndarray:
    ours = np.zeros(ACTION_SIZE)
    ours[:3] = row[:3] * convention.metre
    if convention.rotation != "none":
        ours[3:6] = _TO_ROTVEC[convention.rotation](row[3:6] * convention.radian)
    opening = (row[-1] - convention.gripper_closed) / (convention.gripper_open - convention.gripper_closed)
    if convention.gripper_threshold is not None:
        opening = float(opening > convention.gripper_threshold)
    ours[6] = np.clip(opening, 0.0, 1.0)
    return ours


def _write_row(row: np.ndarray, convention: Convention) -> np.ndarray:
    gripper = convention.gripper_closed + row[6] * (convention.gripper_open - convention.gripper_closed)
    if convention.rotation == "none":
        if np.abs(row[3:6]).max() > 1e-6:
            raise SettingError(
                f"The policy rotates the gripper, which this convention cannot express ({convention.about})."
            )
        return np.array([*row[:3] / convention.metre, gripper])
    turn = _FROM_ROTVEC[convention.rotation](row[3:6]) / convention.radian
    return np.array([*row[:3] / convention.metre, *turn, gripper])


# Observations ---------------------------------------------------------------------------------------------------------


def resize(image: np.ndarray, convention: Convention) -> np.ndarray:
    """`image`, (H, W, 3) uint8 RGB, resized as the convention's model was trained."""
    image = np.ascontiguousarray(image)
    if convention.image_size is None or image.shape[:2] == convention.image_size:
        return image
    from PIL import Image

    height, width = convention.image_size
    source = Image.fromarray(image)
    if convention.resize == "pad":
        # Sizes and corner rounded down as openpi-client 0.1.2 does, image_tools.py:37-58.
        ratio = max(source.width / width, source.height / height)
        inner = source.resize((int(source.width / ratio), int(source.height / ratio)), Image.Resampling.BILINEAR)
        whole = Image.new("RGB", (width, height))
        whole.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
        return np.asarray(whole)
    way = Image.Resampling.BOX if convention.resize == "area" else Image.Resampling.LANCZOS
    return np.asarray(source.resize((width, height), way))


def write_proprio(agent_pos: np.ndarray, convention: Convention) -> np.ndarray:
    """(7,) as `Robot.agent_pos` -> (7,) or (8,) float32 as the convention's `proprio` says."""
    if convention.proprio == "bridge7":
        return np.asarray(agent_pos, np.float32)
    if convention.proprio == "bridge8":
        return np.array([*agent_pos[:6], 0.0, agent_pos[6]], np.float32)
    if convention.proprio == "servo8":
        return np.array([*agent_pos[:6], 0.0, WIDOWX_250S.opening_to_bridge(float(agent_pos[6]))], np.float32)
    matrix = euler_sxyz_to_matrix(np.asarray(agent_pos[3:6], np.float64)) @ WIDOWX_250S.down
    if convention.proprio == "absolute8":
        euler = matrix_to_euler_sxyz(matrix)
        return np.array([*agent_pos[:3], *euler, 0.0, INTERBOTIX_OPEN * agent_pos[6]], np.float32)
    return np.array([*agent_pos[:3], *matrix_to_quaternion(matrix), agent_pos[6]], np.float32)


def read_proprio(state: np.ndarray, convention: Convention) -> np.ndarray:
    """The inverse of `write_proprio`; SettingError unless `state` has the convention's length and is finite."""
    state = np.asarray(state)
    length = 7 if convention.proprio == "bridge7" else 8
    if state.shape != (length,) or state.dtype.kind not in "fiu" or not np.isfinite(state).all():
        raise SettingError(
            f"The state has shape {state.shape} and type {state.dtype}; expected {length} finite numbers: "
            f"{convention.proprio} of {convention.about}."
        )
    if convention.proprio == "bridge7":
        return state.astype(np.float32)
    if convention.proprio == "bridge8":
        return np.array([*state[:6], state[7]], np.float32)
    if convention.proprio == "servo8":
        return np.array([*state[:6], WIDOWX_250S.opening_from_bridge(float(state[7]))], np.float32)
    if convention.proprio == "absolute8":
        euler = matrix_to_euler_sxyz(euler_sxyz_to_matrix(np.asarray(state[3:6], np.float64)) @ WIDOWX_250S.down.T)
        return np.array([*state[:3], *euler, np.clip(state[7] / INTERBOTIX_OPEN, 0, 1)], np.float32)
    if np.linalg.norm(state[3:7]) < 1e-6:
        raise SettingError(f"The state's quaternion is {state[3:7].tolist()}, which is not a rotation.")
    euler = matrix_to_euler_sxyz(quaternion_to_matrix(state[3:7]) @ WIDOWX_250S.down.T)
    return np.array([*state[:3], *euler, state[7]], np.float32)
