"""Rotations as quaternions, matrices, rotation vectors and Euler angles.

Environments and policies do not import each other, and both convert actions of other stacks; they share these
functions. Quaternions are (w, x, y, z). Matrices turn body axes into base axes. Euler "sxyz" means R = Rz @ Ry @ Rx
(rotations about the fixed axes x, then y, then z); Euler "XYZ" means R = Rx @ Ry @ Rz.
"""

from __future__ import annotations

import numpy as np


def quaternion_to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """(4,) w, x, y, z of any length > 0 -> (3, 3) rotation matrix."""
    w, x, y, z = np.asarray(quaternion, dtype=np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def matrix_to_quaternion(matrix: np.ndarray) -> np.ndarray:
    """(3, 3) rotation matrix -> (4,) w, x, y, z with w >= 0."""
    # The largest component is computed first, so that nothing is divided by a small number (Shepperd 1978).
    m = np.asarray(matrix, dtype=np.float64)
    squares = np.array(
        [
            1 + m[0, 0] + m[1, 1] + m[2, 2],
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
        ]
    )
    largest = int(np.argmax(squares))
    rows = np.array(
        [
            [squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], squares[1], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], squares[2], m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[3]],
        ]
    )
    quaternion = rows[largest] / np.linalg.norm(rows[largest])
    return quaternion if quaternion[0] >= 0 else -quaternion


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Quaternion product: the rotation `right`, then the rotation `left`."""
    w1, x1, y1, z1 = left
    w2, x2, y2, z2 = right
    return np.array(
        [
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        ]
    )


def rotvec_to_quaternion(rotvec: np.ndarray) -> np.ndarray:
    """(3,) axis times angle [rad] -> (4,) w, x, y, z."""
    rotvec = np.asarray(rotvec, dtype=np.float64)
    angle = float(np.linalg.norm(rotvec))
    # np.sinc(x) is sin(pi x) / (pi x), exact also at zero.
    return np.concatenate([[np.cos(angle / 2)], 0.5 * np.sinc(angle / (2 * np.pi)) * rotvec])


def quaternion_to_rotvec(quaternion: np.ndarray) -> np.ndarray:
    """(4,) w, x, y, z -> (3,) axis times angle [rad], the angle in 0 .. pi."""
    w, *xyz = quaternion if quaternion[0] >= 0 else -np.asarray(quaternion)
    vector = np.asarray(xyz)
    sine = float(np.linalg.norm(vector))
    return vector * (2.0 if sine < 1e-12 else 2.0 * np.arctan2(sine, w) / sine)


def rotvec_to_matrix(rotvec: np.ndarray) -> np.ndarray:
    """(3,) axis times angle [rad] -> (3, 3)."""
    return quaternion_to_matrix(rotvec_to_quaternion(rotvec))


def matrix_to_rotvec(matrix: np.ndarray) -> np.ndarray:
    """(3, 3) -> (3,) axis times angle [rad], the angle in 0 .. pi."""
    return quaternion_to_rotvec(matrix_to_quaternion(matrix))


def euler_sxyz_to_matrix(euler: np.ndarray) -> np.ndarray:
    """(3,) roll, pitch, yaw [rad] about the fixed axes x, y, z -> (3, 3) = Rz @ Ry @ Rx."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(euler), np.sin(euler)
    return np.array(
        [
            [cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz],
            [cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz],
            [-sy, sx * cy, cx * cy],
        ]
    )


def matrix_to_euler_sxyz(matrix: np.ndarray) -> np.ndarray:
    """(3, 3) -> (3,) roll, pitch, yaw [rad] about fixed axes; pitch in -pi/2 .. pi/2."""
    m = np.asarray(matrix)
    pitch = np.arctan2(-m[2, 0], np.hypot(m[0, 0], m[1, 0]))
    return np.array([np.arctan2(m[2, 1], m[2, 2]), pitch, np.arctan2(m[1, 0], m[0, 0])])


def rotvec_to_euler_sxyz(rotvec: np.ndarray) -> np.ndarray:
    """Our rotation -> the Bridge robot's: fixed-axis Euler angles [rad]."""
    return matrix_to_euler_sxyz(rotvec_to_matrix(rotvec))


def euler_sxyz_to_rotvec(euler: np.ndarray) -> np.ndarray:
    """The Bridge robot's rotation (fixed-axis Euler angles [rad]) -> ours."""
    return matrix_to_rotvec(euler_sxyz_to_matrix(euler))


def rotvec_to_euler_XYZ(rotvec: np.ndarray) -> np.ndarray:  # noqa: N802 - capitals mean moving axes
    """Our rotation -> ManiSkill 3's: Euler angles [rad] with R = Rx @ Ry @ Rz.

    mani_skill 3.0.1, agents/controllers/pd_ee_pose.py:242 (`euler_angles_to_matrix(..., "XYZ")`).
    """
    m = rotvec_to_matrix(rotvec)
    return np.array([np.arctan2(-m[1, 2], m[2, 2]), np.arcsin(np.clip(m[0, 2], -1, 1)), np.arctan2(-m[0, 1], m[0, 0])])


def euler_XYZ_to_rotvec(euler: np.ndarray) -> np.ndarray:  # noqa: N802 - capitals mean moving axes
    """Euler angles [rad] about moving axes, R = Rx @ Ry @ Rz -> our rotation."""
    about_x, about_y, about_z = (rotvec_to_matrix(angle * axis) for angle, axis in zip(euler, np.eye(3), strict=True))
    return matrix_to_rotvec(about_x @ about_y @ about_z)


def columns_to_matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two vectors (3,) that are not parallel -> (3, 3): `first` made a unit, `second` made orthogonal to it.

    Zhou et al. 2019, "On the continuity of rotation representations in neural networks", equation 15. The numbers
    of a network are no exact columns of a rotation.
    """
    x = np.asarray(first, dtype=np.float64) / np.linalg.norm(first)
    rest = second - (x @ second) * x
    y = rest / np.linalg.norm(rest)
    return np.column_stack([x, y, np.cross(x, y)])


def rot6d_to_matrix(numbers: np.ndarray) -> np.ndarray:
    """(6,) the first two columns of a rotation matrix, row by row (r00, r01, r10, r11, r20, r21) -> (3, 3)."""
    numbers = np.asarray(numbers, dtype=np.float64)
    return columns_to_matrix(numbers[0::2], numbers[1::2])
