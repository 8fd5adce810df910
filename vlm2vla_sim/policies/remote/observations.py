"""What a model is sent: the camera's images and the arm's state, as its `Convention` declares them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from vlm2vla_sim.core.rotations import (
    columns_to_matrix,
    euler_sxyz_to_matrix,
    matrix_to_euler_sxyz,
    matrix_to_quaternion,
    quaternion_to_matrix,
)
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.remote.conventions.record import Convention, Key
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S

INTERBOTIX_OPEN = 0.39
"""The reading of an open gripper in manipulator_gym (rail-berkeley/manipulator_gym@c547d41 interfaces/widowx.py)."""
FRANKA = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
"""The axes of a Franka's gripper in those of the WidowX's, which points along its x: z where it points, x the WidowX's
z, which is forward when it points down."""
NO_TURN = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
"""The identity as "rot6d"."""


def put(message: dict[str, Any], key: Key, value: Any) -> None:
    """Put `value` at `key` into `message`, with the maps and lists on the way."""
    path = (key,) if isinstance(key, str) else key
    place: Any = message
    for step, following in itertools.pairwise(path):
        fresh: Any = {} if isinstance(following, str) else []
        if isinstance(place, dict):
            place = place.setdefault(step, fresh)
        else:
            if len(place) == step:
                place.append(fresh)
            place = place[step]
    if isinstance(place, dict):
        place[path[-1]] = value
    else:
        place.append(value)


def get(message: Any, key: Key) -> Any:
    """What stands at `key` in `message`; None where there is nothing."""
    for step in (key,) if isinstance(key, str) else key:
        if isinstance(step, str):
            message = message.get(step) if isinstance(message, dict) else None
        else:
            message = message[step] if isinstance(message, (list, np.ndarray)) and step < len(message) else None
    return message


def write_proprio(agent_pos: np.ndarray, convention: Convention, last_row: np.ndarray | None = None) -> np.ndarray:
    """(7,) as `Robot.agent_pos` -> float32 as the convention's `proprio` says.

    last_row: the last row that was carried out, in the server's units; None before the first.
    """
    kind, position, opening = convention.proprio, agent_pos[:3], float(agent_pos[6])
    if kind == "bridge7":
        return np.asarray(agent_pos, np.float32)
    if kind == "bridge8":
        return np.array([*agent_pos[:6], 0.0, opening], np.float32)
    if kind == "servo8":
        return np.array([*agent_pos[:6], 0.0, WIDOWX_250S.opening_to_bridge(opening)], np.float32)
    if kind == "rot6d20":
        known = last_row is not None and convention.rotation == "rot6d"
        first = last_row[:10] if known and last_row is not None else [*position, *NO_TURN, 0.0]
        return np.array([*first, *np.zeros(10)], np.float32)
    matrix = euler_sxyz_to_matrix(np.asarray(agent_pos[3:6], np.float64)) @ WIDOWX_250S.down
    if kind == "franka10":
        turned = matrix @ FRANKA
        return np.array([*position, *turned[:, 0], *turned[:, 1], opening], np.float32)
    if kind == "absolute8":
        return np.array([*position, *matrix_to_euler_sxyz(matrix), 0.0, INTERBOTIX_OPEN * opening], np.float32)
    return np.array([*position, *matrix_to_quaternion(matrix), opening], np.float32)


def read_proprio(state: np.ndarray, convention: Convention) -> np.ndarray:
    """The inverse of `write_proprio`; SettingError unless `state` has the convention's length and is finite."""
    state, kind, length = np.asarray(state), convention.proprio, convention.proprio_length
    if state.shape != (length,) or state.dtype.kind not in "fiu" or not np.isfinite(state).all():
        raise SettingError(
            f"The state has shape {state.shape} and type {state.dtype}; expected {length} finite numbers: "
            f"{kind} of {convention.about}."
        )
    if kind == "rot6d20":
        raise SettingError(
            f"The state ({convention.about}) holds the model's own last action, not the arm's pose; choose another "
            "convention."
        )
    if kind == "bridge7":
        return state.astype(np.float32)
    if kind == "bridge8":
        return np.array([*state[:6], state[7]], np.float32)
    if kind == "servo8":
        return np.array([*state[:6], WIDOWX_250S.opening_from_bridge(float(state[7]))], np.float32)
    opening = np.clip(state[7] / INTERBOTIX_OPEN, 0, 1) if kind == "absolute8" else state[-1]
    matrix = _orientation(state, kind)
    return np.array([*state[:3], *matrix_to_euler_sxyz(matrix @ WIDOWX_250S.down.T), opening], np.float32)


def _orientation(state: np.ndarray, kind: str) -> np.ndarray:
    """(3, 3) orientation of the gripper in the base's axes; SettingError for numbers that are none."""
    if kind == "absolute8":
        return euler_sxyz_to_matrix(np.asarray(state[3:6], np.float64))
    if kind == "franka10":
        first, second = np.asarray(state[3:6], np.float64), np.asarray(state[6:9], np.float64)
        if np.linalg.norm(np.cross(first, second)) < 1e-6:
            raise SettingError(f"The state's columns are {state[3:9].tolist()}, which is not a rotation.")
        return columns_to_matrix(first, second) @ FRANKA.T
    if np.linalg.norm(state[3:7]) < 1e-6:
        raise SettingError(f"The state's quaternion is {state[3:7].tolist()}, which is not a rotation.")
    return quaternion_to_matrix(state[3:7])
