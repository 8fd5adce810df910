"""Converts actions and observations between this package's units and those that a `Convention` declares.

Every conversion of relative rows has its inverse beside it. A round trip cannot see a sign that is wrong in both
directions, so the tests pin values that were worked out by hand. `observations.py` converts what is sent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm2vla_sim.core.rotations import (
    euler_sxyz_to_matrix,
    euler_sxyz_to_rotvec,
    euler_XYZ_to_rotvec,
    matrix_to_euler_sxyz,
    matrix_to_rotvec,
    quaternion_to_matrix,
    rot6d_to_matrix,
    rotvec_to_euler_sxyz,
    rotvec_to_euler_XYZ,
    rotvec_to_matrix,
)
from vlm2vla_sim.errors import ServerError, SettingError
from vlm2vla_sim.policies.remote.conventions.record import ROTATIONS, Convention
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.types import ACTION_SIZE, RobotState


def _rot6d_to_rotvec(numbers: np.ndarray) -> np.ndarray:
    return matrix_to_rotvec(rot6d_to_matrix(numbers))


def _rotvec_to_rot6d(rotvec: np.ndarray) -> np.ndarray:
    return rotvec_to_matrix(rotvec)[:, :2].ravel()


_TO_ROTVEC = {
    "rotvec": np.asarray,
    "euler sxyz": euler_sxyz_to_rotvec,
    "euler XYZ": euler_XYZ_to_rotvec,
    "rot6d": _rot6d_to_rotvec,
}
_FROM_ROTVEC = {
    "rotvec": np.asarray,
    "euler sxyz": rotvec_to_euler_sxyz,
    "euler XYZ": rotvec_to_euler_XYZ,
    "rot6d": _rotvec_to_rot6d,
}
MOST_ROWS = 1024
"""The most rows in one answer; pi0 sends 50."""
LARGEST = 1e6
"""The largest magnitude in an answer, in any unit."""
FURTHEST_STEP = 0.25
"""[m] No policy for this arm moves further along an axis in one control step of 0.2 s; BridgeData's do 0.05."""
REACH = 0.9
"""[m] from the base, beyond which no pose of the arm lies (WidowX 250 S: 0.65)."""


def check_rows(answer: Any, convention: Convention) -> np.ndarray:
    """`answer` as (T, width) float64, in the server's units; ServerError if it cannot be actions of the convention.

    Rows without their gripper value, where the convention allows them, have NaN in its place.
    """
    try:
        rows = np.asarray(answer)
    except ValueError:  # lists of different lengths
        rows = np.asarray(None)
    if rows.dtype.kind not in "fiu":
        raise ServerError(f"The server's actions are {rows.dtype}, not numbers ({convention.about}).")
    if rows.ndim == 1:
        rows = rows[None]
    without_gripper = convention.gripper_optional and rows.ndim == 2 and rows.shape[1] == convention.width - 1
    if (
        rows.ndim != 2
        or (rows.shape[1] != convention.width and not without_gripper)
        or not 1 <= len(rows) <= MOST_ROWS
        or (convention.sums and len(rows) > 1)
    ):
        several = (
            f"one row of {convention.width}" if convention.sums else f"1 to {MOST_ROWS} rows of {convention.width}"
        )
        raise ServerError(
            f"The server's actions have shape {np.shape(answer)}; expected ({convention.width},) or {several} "
            f"({convention.about}). Is the convention the right one for this model?"
        )
    sound = (np.abs(rows) <= LARGEST).all(axis=1)  # a comparison with NaN is false
    if not sound.all():
        raise ServerError(
            f"The server's actions hold a number that is not finite or beyond {LARGEST:g}: {rows[~sound][0].tolist()}. "
            "Is the model un-normalised with the right statistics?"
        )
    rows = rows.astype(np.float64)
    if convention.rotation == "rot6d":
        columns = rows[:, 3:9].reshape(-1, 3, 2)
        flat = np.linalg.norm(np.cross(columns[:, :, 0], columns[:, :, 1]), axis=1) < 1e-6
        if flat.any():
            raise ServerError(
                f"The server's actions hold {rows[flat][0, 3:9].tolist()} in place of a rotation ({convention.about}): "
                "two columns that are parallel, or zero."
            )
    return np.column_stack([rows, np.full(len(rows), np.nan)]) if without_gripper else rows


def fill_gripper(rows: np.ndarray, opening: float, convention: Convention) -> np.ndarray:
    """`rows`, in which a gripper value that was left out is `opening`, 0 closed .. 1 open."""
    told = convention.gripper_closed + opening * (convention.gripper_open - convention.gripper_closed)
    return np.where(np.isnan(rows), told, rows)


def check_scale(rows: np.ndarray, convention: Convention) -> None:
    """ServerError for rows, as `check_rows` returns them, that no arm can be meant to carry out.

    A model's actions are normalised, to -1 .. 1 in most cases, until its server multiplies them by the statistics of
    its data. Taken as metres they would be clipped to the longest step, and show only as a lower score.
    """
    position = rows[:, :3] * convention.metre
    if convention.absolute:
        wrong = np.linalg.norm(position, axis=1) > REACH
        what = f"a pose {{:.2f}} m from the base, beyond the arm's reach of {REACH} m"
        size = np.linalg.norm(position, axis=1)
    else:
        size = np.abs(position).max(axis=1) / max(convention.sums, 1)
        wrong = size > FURTHEST_STEP
        what = f"{{:.2f}} m along an axis in one control step, which no arm moves ({FURTHEST_STEP} m at most)"
    if not wrong.any():
        return
    row = rows[wrong][0]
    normalised = np.abs(rows[:, : 3 + ROTATIONS[convention.rotation]]).max() <= 1.0
    why = (
        "All its numbers are within -1 .. 1: the actions are most likely normalised. Un-normalise them on the server, "
        "with the statistics of BridgeData (for OpenVLA's servers, unnorm_key=bridge_orig)."
        if normalised
        else "Is the convention the right one for this model, and its unit of length?"
    )
    raise ServerError(
        f"The server's actions ask for {what.format(float(size[wrong][0]))}: {np.round(row, 4).tolist()} "
        f"({convention.about}). {why}"
    )


def spread(rows: np.ndarray, convention: Convention) -> np.ndarray:
    """One row that sums `convention.sums` control steps -> (sums, 7) rows in our units, which add up to it.

    The way is divided evenly, the rotation into equal turns about its axis; the gripper does the same in every step.
    """
    ours = _read_row(rows[0], convention, "")
    ours[:6] /= convention.sums
    return np.tile(ours, (convention.sums, 1))


def read_deltas(rows: np.ndarray, convention: Convention, instruction: str = "") -> np.ndarray:
    """The server's rows, as `check_rows` returns them -> (T, 7) float64 as `ActionChunk.deltas`.

    instruction: for a convention whose gripper has a threshold for each task.
    """
    if convention.sums:
        return spread(rows, convention)
    return np.stack([_read_row(row, convention, instruction) for row in rows])


def write_deltas(deltas: np.ndarray, convention: Convention) -> np.ndarray:
    """(T, 7) as `ActionChunk.deltas` -> the client's rows, (T, width) float32.

    SettingError for absolute poses, and for rows that sum several steps: `check_relative`.
    """
    check_relative(convention)
    return np.stack([_write_row(row, convention) for row in np.asarray(deltas, np.float64)]).astype(np.float32)


def check_relative(convention: Convention) -> None:
    """SettingError for a convention whose rows cannot be written from single control steps."""
    if convention.absolute:
        raise SettingError(
            f"Relative actions cannot be sent as absolute poses ({convention.about}); choose another convention."
        )
    if convention.sums:
        raise SettingError(
            f"Actions of single control steps cannot be sent as the sum of {convention.sums} ({convention.about}); "
            "choose another convention."
        )


def delta_to(row: np.ndarray, convention: Convention, robot: RobotState, instruction: str = "") -> np.ndarray:
    """One absolute row -> the (7,) delta that moves the controller's target to that pose.

    The inverse of `frames.advance_target`, whose rotation is about the *measured* position.
    """
    wanted = _read_row(row, convention, instruction)
    orientation = rotvec_to_matrix(wanted[3:6])
    if convention.upright == "down":
        orientation = orientation @ WIDOWX_250S.down
    elif convention.upright == "pitched":
        orientation = euler_sxyz_to_matrix(matrix_to_euler_sxyz(orientation) + np.array([0, np.pi / 2, 0]))
    turn = orientation @ quaternion_to_matrix(robot.target.quaternion).T
    if convention.rotation == "none":
        turn = np.eye(3)
    pivot = robot.tcp.position
    shift = wanted[:3] - pivot - turn @ (robot.target.position - pivot)
    return np.concatenate([shift, matrix_to_rotvec(turn), wanted[6:]])


def _read_row(row: np.ndarray, convention: Convention, instruction: str) -> np.ndarray:
    ours = np.zeros(ACTION_SIZE)
    ours[:3] = row[:3] * convention.metre
    last = 3 + ROTATIONS[convention.rotation]
    if convention.rotation != "none":
        ours[3:6] = _TO_ROTVEC[convention.rotation](row[3:last] * convention.radian)
    opening = (row[last] - convention.gripper_closed) / (convention.gripper_open - convention.gripper_closed)
    threshold = dict(convention.thresholds).get(instruction, convention.gripper_threshold)
    if threshold is not None:
        opening = float(opening > threshold)
    ours[6] = np.clip(opening, 0.0, 1.0)
    return ours


def _write_row(row: np.ndarray, convention: Convention) -> np.ndarray:
    gripper = convention.gripper_closed + row[6] * (convention.gripper_open - convention.gripper_closed)
    rest = [gripper, *np.zeros(convention.padding)]
    if convention.rotation == "none":
        if np.abs(row[3:6]).max() > 1e-6:
            raise SettingError(
                f"The policy rotates the gripper, which this convention cannot express ({convention.about})."
            )
        return np.array([*row[:3] / convention.metre, *rest])
    turn = _FROM_ROTVEC[convention.rotation](row[3:6]) / convention.radian
    return np.array([*row[:3] / convention.metre, *turn, *rest])
