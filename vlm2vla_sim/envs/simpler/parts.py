"""Collision meshes cut into their connected parts, each of them convex, as the original SIMPLER had them.

SAPIEN 2 made one convex body of every connected part of a mesh; SAPIEN 3 makes one of the whole. So in ManiSkill 3 the
spoon is a solid wedge that weighs 77 g and not 43 g, and the gaps in the gripper's bar and fingers are filled. Measured
with sapien 2.2.2 and 3.0.3 on the same files. Here every part becomes an object of its own, which SAPIEN 3 keeps apart.
The cut files live in a folder of this process and go with it; the user's assets are only read.
"""

from __future__ import annotations

import functools
import itertools
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
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
def cut_file(path: Path) -> Path:
    """A Wavefront file that shows the mesh of `path` (.obj or binary .stl) with every connected part as an object."""
    meshes = read_obj(path) if path.suffix.lower() == ".obj" else [read_stl(path)]
    parts = list(itertools.chain.from_iterable(cut(mesh) for mesh in meshes))
    target = _folder() / f"{len(list(_folder().iterdir()))}-{path.stem}.obj"
    target.write_text(_write_obj(parts), encoding="utf-8")
    return target


@functools.cache
def cut_robot(description: Path) -> Path:
    """A robot description like `description`, with cut collision meshes; its .srdf goes with it."""
    tree = ElementTree.parse(description)
    for mesh in tree.iter("mesh"):
        mesh.set("filename", str(description.parent / mesh.attrib["filename"]))
    for mesh in tree.iterfind("link/collision/geometry/mesh"):
        mesh.set("filename", str(cut_file(Path(mesh.attrib["filename"]))))
    target = _folder() / description.name
    tree.write(target)
    collisions = description.with_suffix(".srdf")
    if collisions.is_file():
        shutil.copy(collisions, target.with_suffix(".srdf"))
    return target


def cut(mesh: Mesh) -> Iterator[Mesh]:
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


def read_stl(path: Path) -> Mesh:
    """The mesh of a binary STL file: 80 bytes, a count, then per triangle a normal, three corners and 2 bytes."""
    data = path.read_bytes()
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")])
    count = int(np.frombuffer(data, "<u4", 1, 80)[0])
    corners = np.frombuffer(data, record, count, 84)["corners"].astype(np.float64)
    return Mesh(corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3))


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
