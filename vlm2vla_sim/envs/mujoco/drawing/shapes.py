"""Triangle meshes from a few measured numbers: lathed, lofted and swept shapes with texture coordinates.

Objects and stages of the twin are drawn with these, because SIMPLER's mesh files may not be redistributed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface; seen from outside, the corners of every face run counter-clockwise."""

    vertices: np.ndarray
    """(n, 3) float64 [m], in the frame of whatever carries the mesh."""
    faces: np.ndarray
    """(m, 3) int64, rows of three indices into `vertices`."""
    texcoords: np.ndarray
    """(n, 2) float64, 0..1 across (u, from the left) and down (v, from the top) the texture."""


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of all of `meshes`: one draw call instead of many."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
        np.concatenate([mesh.texcoords for mesh in meshes]),
    )


def sheet(points: np.ndarray, texcoords: np.ndarray | None = None) -> Mesh:
    """A surface through a (rows, columns, 3) grid of points; seen from its front, rows go down and columns right.

    `texcoords` is (rows, columns, 2); left out, the whole texture is spread over the grid.
    """
    rows, columns = points.shape[:2]
    if texcoords is None:
        texcoords = np.stack(np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows)), axis=-1)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.stack([a, b, c, a, c, d], axis=-1).reshape(-1, 3)
    return Mesh(points.reshape(-1, 3), faces, texcoords.reshape(-1, 2))


def loft(sections: np.ndarray, *, around: int = 20, power: float = 2.0) -> Mesh:
    """A closed body along +x through oval cross-sections.

    `sections` is (k, 4), x rising: x, half-width in y, lowest z, highest z [m]. `power` 2 makes ellipses, more makes
    rounded boxes. The texture's u goes around the body (from the bottom, over -y), its v along it from the first
    section to the last.
    """
    x, half_width, low, high = np.asarray(sections, dtype=np.float64).T
    angle = np.linspace(1.5 * np.pi, -np.pi / 2, around + 1)
    # A superellipse; sign and power apart, because a negative number has no fractional power.
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power)
    upward = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power)
    y = half_width[:, None] * across
    z = (low + high)[:, None] / 2 + (high - low)[:, None] / 2 * upward
    points = np.stack([np.broadcast_to(x[:, None], y.shape), y, z], axis=-1)
    # Not quite to the texture's ends, where a repeated texture would blend them into each other.
    v = np.broadcast_to((0.02 + 0.96 * (x - x[0]) / (x[-1] - x[0]))[:, None], y.shape)
    u = np.broadcast_to(np.linspace(0, 1, around + 1), y.shape)
    # The ends are closed by repeating their middle point, so that they need no other kind of face.
    ends = [np.repeat(points[[i]].mean(axis=1, keepdims=True), around + 1, axis=1) for i in (0, -1)]
    points = np.concatenate([ends[0], points, ends[1]])
    uv = np.stack([u[[0, *range(len(x)), -1]], v[[0, *range(len(x)), -1]]], axis=-1)
    return _without_slivers(sheet(points, uv))


def lathe(profile: np.ndarray, *, around: int = 32) -> Mesh:
    """A body turned about z. `profile` is (k, 2), radius and z [m], from the middle below outward to the middle above.

    The texture is projected from above: its middle is the axis, its border the largest radius.
    """
    radius, height = np.asarray(profile, dtype=np.float64).T
    angle = np.linspace(0, 2 * np.pi, around + 1)
    x, y = radius[:, None] * np.cos(angle), radius[:, None] * np.sin(angle)
    points = np.stack([x, y, np.broadcast_to(height[:, None], x.shape)], axis=-1)[::-1]
    uv = np.stack([0.5 + points[..., 0] / (2 * radius.max()), 0.5 - points[..., 1] / (2 * radius.max())], axis=-1)
    return _without_slivers(sheet(points, uv))


def rounded_rectangle(low: Sequence[float], high: Sequence[float], z: float, radii: Sequence[float]) -> np.ndarray:
    """(25, 3) points of a closed level curve [m], clockwise seen from above, from the corner (low x, high y) on.

    `radii` are those of its corners in that order. Curves of this kind have equally many points: `sheet` can span them.
    """
    (x0, y0), (x1, y1) = low, high
    turn = np.linspace(0, np.pi / 2, 6)
    points = []
    for index, radius in enumerate(radii):
        centre = [(x0 + radius, y1 - radius), (x1 - radius, y1 - radius), (x1 - radius, y0 + radius)]
        centre.append((x0 + radius, y0 + radius))
        angle = np.pi - index * np.pi / 2 - turn
        points.append(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1) + centre[index])
    curve = np.concatenate([*points, points[0][:1]])
    return np.column_stack([curve, np.full(len(curve), z)])


def moved(mesh: Mesh, offset: Sequence[float], *, yaw: float = 0.0) -> Mesh:
    """`mesh` turned by `yaw` [rad] about z, then shifted by `offset` [m]."""
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    return Mesh(mesh.vertices @ turn.T + np.asarray(offset), mesh.faces, mesh.texcoords)


def tinted(mesh: Mesh, index: int, count: int) -> Mesh:
    """`mesh` in one colour: that at `index` of the `count` colours of a `textures.palette`."""
    return Mesh(mesh.vertices, mesh.faces, np.broadcast_to([0.5, (index + 0.5) / count], mesh.texcoords.shape))


def tube(path: np.ndarray, radius: float, *, around: int = 6) -> Mesh:
    """A bent rod of `radius` [m] along the (k, 3) points of `path`, open at its ends."""
    path = np.asarray(path, dtype=np.float64)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    # Cross-sections are oriented by an axis to which no part of the path is parallel.
    reference = np.eye(3)[np.argmin(np.abs(along).max(axis=0))]
    side = np.cross(along, reference)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(along, side)
    angle = np.linspace(2 * np.pi, 0, around + 1)[None, :, None]
    return sheet(path[:, None] + radius * (np.cos(angle) * side[:, None] + np.sin(angle) * other[:, None]))


def box(low: Sequence[float], high: Sequence[float], cells: Sequence[tuple[float, float, float, float]] = ()) -> Mesh:
    """An upright box between two corners [m], its faces not sharing vertices, so that its edges stay sharp.

    `cells` gives each face (-x, +x, -y, +y, -z, +z) its own part of the texture: left, top, right, bottom (0..1).
    """
    (x0, y0, z0), (x1, y1, z1) = low, high
    corners = np.array(
        [
            [[x0, y1, z1], [x0, y0, z1], [x0, y1, z0], [x0, y0, z0]],
            [[x1, y0, z1], [x1, y1, z1], [x1, y0, z0], [x1, y1, z0]],
            [[x0, y0, z1], [x1, y0, z1], [x0, y0, z0], [x1, y0, z0]],
            [[x1, y1, z1], [x0, y1, z1], [x1, y1, z0], [x0, y1, z0]],
            [[x0, y0, z0], [x1, y0, z0], [x0, y1, z0], [x1, y1, z0]],
            [[x0, y1, z1], [x1, y1, z1], [x0, y0, z1], [x1, y0, z1]],
        ]
    )
    sides = []
    for points, (left, top, right, bottom) in zip(corners, cells or [(0, 0, 1, 1)] * 6, strict=True):
        uv = np.array([[[left, top], [right, top]], [[left, bottom], [right, bottom]]])
        sides.append(sheet(points.reshape(2, 2, 3), uv))
    return merge(sides)


def _without_slivers(mesh: Mesh) -> Mesh:
    """`mesh` without degenerate faces, which MuJoCo's compiler refuses."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return Mesh(mesh.vertices, mesh.faces[area > 1e-12], mesh.texcoords)
