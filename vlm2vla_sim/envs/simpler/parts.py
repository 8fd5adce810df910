"""Split collision meshes into their connected parts, each of them convex, as in the original SIMPLER.

SAPIEN 2 made one convex body of each connected part of a Wavefront file, SAPIEN 3 makes one of each object. So in
ManiSkill 3 the spoon is a solid wedge of 77 g instead of 43 g, and rests in another pose (measured with sapien 2.2.2
and 3.0.3 on the same file). Here every part is written as an object of its own. The files are in a temporary folder of
this process; the user's assets are only read.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh, in the file's own units and axes."""

    points: np.ndarray
    """(N, 3) float64"""
    faces: np.ndarray
    """(M, 3) int64, indices of `points`"""


@functools.cache
def split_file(path: Path) -> Path:
    """A Wavefront file with the meshes of the Wavefront file `path`, every connected part an object."""
    parts = list(itertools.chain.from_iterable(split(mesh) for mesh in read_obj(path)))
    return write_file(path.stem, _write_obj(parts))


def write_file(name: str, text: str) -> Path:
    """A new Wavefront file in this process's own folder."""
    target = _folder() / f"{len(list(_folder().iterdir()))}-{name}.obj"
    target.write_text(text, encoding="utf-8")
    return target


def split(mesh: Mesh) -> Iterator[Mesh]:
    """The connected parts of `mesh`; triangles are connected where they share a corner, by position."""
    places, corner = np.unique(mesh.points, axis=0, return_inverse=True)
    faces = corner.reshape(-1)[mesh.faces]
    label = _label_components(len(places), faces)[faces[:, 0]]
    for number in np.unique(label):
        yield _without_loose_points(places, faces[label == number])


def _without_loose_points(points: np.ndarray, faces: np.ndarray) -> Mesh:
    used, renamed = np.unique(faces, return_inverse=True)
    return Mesh(points[used], renamed.reshape(-1, 3))


def _label_components(count: int, faces: np.ndarray) -> np.ndarray:
    """(count,) for every point the lowest index in its component."""
    label = np.arange(count)
    while True:
        lowest = label[faces].min(axis=1)
        spread = label.copy()
        for corner in faces.T:
            np.minimum.at(spread, corner, lowest)
        spread = spread[spread]
        if (spread == label).all():
            return label
        label = spread


def read_obj(path: Path) -> list[Mesh]:
    """The objects of a Wavefront file; polygons as fans of triangles."""
    points: list[list[float]] = []
    objects: list[list[list[int]]] = [[]]
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            points.append([float(word) for word in words[:3]])
        elif kind == "o":
            objects.append([])
        elif kind == "f":
            corners = [_index(word, len(points)) for word in words]
            objects[-1] += [[corners[0], *pair] for pair in itertools.pairwise(corners[1:])]
    return [_without_loose_points(np.array(points), np.array(faces)) for faces in objects if faces]


def _index(word: str, count: int) -> int:
    number = int(word.split("/")[0])
    return number - 1 if number > 0 else count + number


def _write_obj(parts: list[Mesh]) -> str:
    lines, first = [], 1
    for number, part in enumerate(parts):
        lines.append(f"o part_{number}")
        lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in part.points]
        lines += [f"f {a} {b} {c}" for a, b, c in part.faces + first]
        first += len(part.points)
    return "\n".join(lines) + "\n"


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vlm2vla_sim-")


def _folder() -> Path:
    """This process's own folder, removed when the process ends."""
    return Path(_temporary().name)
