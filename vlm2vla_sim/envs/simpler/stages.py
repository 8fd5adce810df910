"""Replacements for two large files of SIMPLER, and its robot description in the form that ManiSkill 3 reads.

The two table stages have several megabytes each and are missing from most checkouts. They are never visible: every
pixel that is neither robot nor object is the photo's. Only the height of the table top matters.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np

TOPS = {"bridge_table_1_v1.glb": 0.86953, "bridge_table_1_v2.glb": 0.85}
"""File -> height of its table top [m, world]. mani_skill 3.0.1 put_on_in_scene.py: the plate, whose underside is at 0
in its own frame, rests at 0.869532. The sink's stage is never touched: the sink itself stands fixed above it."""
SIZE = (1.5, 1.5, 0.05)
"""[m] of the box, its top's centre at x = y = 0."""
OFFSET = (2.0634, 2.8313)
"""[m] by which SIMPLER moves a stage. simpler-env/ManiSkill2_real2sim@ef7a4d4 envs/custom_scenes/base_env.py:160"""
_BOX_TRIANGLES = np.array(
    # Corner 4 x + 2 y + z, each 0 (low) or 1 (high).
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ],
    dtype="<u2",
)  # fmt: skip
MADE_BELOW = 100_000
"""[bytes] SIMPLER's own stages have several megabytes, our box less than two kilobytes."""

SELF_COLLISIONS_OFF = (
    # Pairs that touch by construction. haosulab/ManiSkill-WidowX250S@6a12bb7 wx250s.srdf; the original
    # disables those at the gripper bar in code: simpler-env/ManiSkill2_real2sim@ef7a4d4 agents/robots/widowx.py:57-66
    ("base_link", "upper_arm_link"),
    ("gripper_link", "left_finger_link"),
    ("gripper_link", "right_finger_link"),
    ("gripper_bar_link", "gripper_link"),
    ("gripper_bar_link", "left_finger_link"),
    ("gripper_bar_link", "right_finger_link"),
    ("left_finger_link", "right_finger_link"),
)


def make_table_top(path: Path) -> None:
    """Write a box with its top at the height `TOPS` has for the file's name, as binary glTF."""
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * SIZE
    x, y, z = corners.T
    height = z + TOPS[path.name] - SIZE[2] / 2
    # Stage files have y up; the scene turns them by 90 degrees about x and then adds OFFSET.
    points = np.stack([x - OFFSET[0], height, OFFSET[1] - y], axis=1).astype("<f4")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encode_mesh(points, _BOX_TRIANGLES))


def is_made(path: Path) -> bool:
    """Whether the stage at `path` is such a box rather than SIMPLER's."""
    return path.is_file() and path.stat().st_size < MADE_BELOW


def _encode_mesh(points: np.ndarray, triangles: np.ndarray) -> bytes:
    """Binary glTF 2.0 of one mesh. points: (N, 3) float32; triangles: (M, 3) uint16, anticlockwise from outside."""
    body = points.tobytes() + triangles.tobytes()
    body += bytes(-len(body) % 4)
    views = [
        {"buffer": 0, "byteOffset": 0, "byteLength": points.nbytes},
        {"buffer": 0, "byteOffset": points.nbytes, "byteLength": triangles.nbytes},
    ]
    low, high = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": len(points), "type": "VEC3", "min": low, "max": high},
        {"bufferView": 1, "componentType": 5123, "count": triangles.size, "type": "SCALAR"},
    ]
    header = {
        "asset": {"version": "2.0", "generator": "vlm2vla_sim"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": len(body)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def copy_description(origin: Path, target: Path) -> None:
    """Copy the robot description of a ManiSkill2_real2sim checkout and adapt it to ManiSkill 3.

    ManiSkill 3 drives both fingers itself, so the `mimic` tag is removed; it reads the pairs of links that do not
    collide from an SRDF file beside the description.
    """
    shutil.copytree(origin, target)
    description = target / "wx250s.urdf"
    text = description.read_text(encoding="utf-8")
    description.write_text(re.sub(r"<mimic\b[^>]*/>", "", text), encoding="utf-8")
    pairs = "".join(
        f'  <disable_collisions link1="{first}" link2="{second}" reason="Default"/>\n'
        for first, second in SELF_COLLISIONS_OFF
    )
    description.with_suffix(".srdf").write_text(f'<robot name="wx250s">\n{pairs}</robot>\n', encoding="utf-8")
