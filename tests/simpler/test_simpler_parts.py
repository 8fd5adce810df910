"""A mesh is cut where it is not connected, and nowhere else; what is written can be read back."""

from __future__ import annotations

from pathlib import Path

from vlm2vla_sim.envs.simpler import parts

TETRAHEDRON = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
FACES = [(1, 3, 2), (1, 2, 4), (1, 4, 3), (2, 3, 4)]


def obj(*shifts: float, objects: bool = False) -> str:
    """Tetrahedra beside one another along x, each with points of its own."""
    lines = ["# a comment", "o first"]
    for number, shift in enumerate(shifts):
        lines += [f"o other_{number}"] if objects and number else []
        lines += [f"v {x + shift} {y} {z}" for x, y, z in TETRAHEDRON]
        lines += [" ".join(["f", *(f"{corner + 4 * number}//1" for corner in face)]) for face in FACES]
    return "\n".join(lines)


def cut_text(tmp_path: Path, text: str) -> list[parts.Mesh]:
    (tmp_path / "mesh.obj").write_text(text)
    return parts.read_obj(parts.split_file(tmp_path / "mesh.obj"))


def test_what_lies_apart_becomes_parts_of_its_own(tmp_path: Path) -> None:
    found = cut_text(tmp_path, obj(0, 5, 9))
    assert [len(part.points) for part in found] == [4, 4, 4]
    assert [part.points[:, 0].min() for part in found] == [0, 5, 9]
    assert all(len(part.faces) == 4 for part in found)


def test_what_touches_at_a_corner_is_one_part_though_the_file_repeats_the_corner(tmp_path: Path) -> None:
    found = cut_text(tmp_path, obj(0, 1))
    assert [len(part.points) for part in found] == [7]


def test_objects_of_a_file_stay_apart_even_where_they_touch(tmp_path: Path) -> None:
    assert len(cut_text(tmp_path, obj(0, 1, objects=True))) == 2


def test_polygons_and_backward_indices_are_read(tmp_path: Path) -> None:
    (tmp_path / "square.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf -4 -3 -2 -1\n")
    (mesh,) = parts.read_obj(tmp_path / "square.obj")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
