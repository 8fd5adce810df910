"""Stand-ins that let SIMPLER's scenes run without two large files, and its robot in the form ManiSkill 3 reads.

The two table stages are of several megabytes each and absent from most checkouts. Nobody sees them: every pixel that is
neither robot nor object is the photo's. Only the height of the table top matters, and that is known.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from vlm2vla_sim.errors import missing_extra

TOPS = {"bridge_table_1_v1.glb": 0.86953, "bridge_table_1_v2.glb": 0.85}
"""File -> height of its table top [m, world]. mani_skill 3.0.1 put_on_in_scene.py: the plate, whose underside is at 0
in its own frame, rests at 0.869532. The sink's stage is never touched: the sink itself stands fixed above it."""
SIZE = (1.5, 1.5, 0.05)
"""[m] of the box, its top's centre at x = y = 0."""
OFFSET = (2.0634, 2.8313)
"""[m] by which SIMPLER moves a stage. simpler-env/ManiSkill2_real2sim@ef7a4d4 envs/custom_scenes/base_env.py:160"""
MADE_BELOW = 100_000
"""[bytes] SIMPLER's own stages are of several megabytes, our box of less than two kilobytes."""

SELF_COLLISIONS_OFF = (
    # The pairs that touch by construction. haosulab/ManiSkill-WidowX250S@6a12bb7 wx250s.srdf; the original switches the
    # ones at the gripper's bar off in code: simpler-env/ManiSkill2_real2sim@ef7a4d4 agents/robots/widowx.py:57-66
    ("base_link", "upper_arm_link"),
    ("gripper_link", "left_finger_link"),
    ("gripper_link", "right_finger_link"),
    ("gripper_bar_link", "gripper_link"),
    ("gripper_bar_link", "left_finger_link"),
    ("gripper_bar_link", "right_finger_link"),
    ("left_finger_link", "right_finger_link"),
)


def make_table_top(path: Path) -> None:
    """Write a box whose top is at the height that belongs to the file's name."""
    try:
        import trimesh
    except ImportError as error:
        raise missing_extra("Making a table stage", "trimesh", "simpler") from error
    box = trimesh.creation.box(SIZE)
    x, y, z = box.vertices.T
    height = z + TOPS[path.name] - SIZE[2] / 2
    # Stages are kept with y up; the scene turns them by 90 degrees about x and then adds OFFSET.
    box.vertices = list(zip(x - OFFSET[0], height, -(y - OFFSET[1]), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    box.export(path)


def is_made(path: Path) -> bool:
    """Whether the stage at `path` is such a box rather than SIMPLER's."""
    return path.is_file() and path.stat().st_size < MADE_BELOW


def copy_description(origin: Path, target: Path) -> None:
    """Copy the robot of a ManiSkill2_real2sim checkout and change what ManiSkill 3 does differently.

    ManiSkill drives both fingers itself, so the tag by which one follows the other goes; and it reads which parts do
    not collide from a file beside the description.
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
