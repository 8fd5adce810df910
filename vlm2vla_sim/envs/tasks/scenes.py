"""The two scenes of SIMPLER's Bridge tasks: a table, and a toy sink.

MS2 below is simpler-env/ManiSkill2_real2sim@ef7a4d4 `mani_skill2_real2sim/`.
"""

from __future__ import annotations

from vlm2vla_sim.core.frames import BaseFrame
from vlm2vla_sim.envs.tasks.records import CameraPose, Scene

_DRAWING = "vlm2vla_sim.envs.mujoco.drawing"

# Base: MS2 envs/custom_scenes/base_env.py:280. Support: the plate rests at z = 0.869532 (mani_skill 3.0.1
# put_on_in_scene.py). Cameras: MS2 agents/configs/widowx/defaults.py.
TABLE = Scene(
    name="table",
    base=BaseFrame(0.147, 0.028, 0.870),
    support_height=0.86953,
    camera=CameraPose((0.0, -0.16, 0.36), (0.8992917, -0.09263245, 0.35892478, 0.23209205)),
    light=(0.15, -0.45, -1.0),  # in SIMPLER the table is lit from the left
    look=f"{_DRAWING}.table_stage:add_table_stage",
    photo="bridge_real_eval_1.png",
    table_looks=("look_table",),
    backdrop_looks=("look_back_wall", "look_left_wall", "look_below"),
    top=((0.1360, -0.3140), (0.4925, 0.3260)),  # the right edge is outside the photo, which shows more of the top
    distractors=((-0.275, -0.115), (-0.045, 0.115)),  # the part of the table that the arm and the camera reach
    maniskill="flat_table",
)
# Base: MS2 envs/custom_scenes/base_env.py:282. Support: the floor of SIMPLER's toy sink, measured on its mesh.
SINK = Scene(
    name="sink",
    base=BaseFrame(0.127, 0.060, 0.85),
    support_height=0.9202,
    plane_height=0.0,  # of the table under the sink
    camera=CameraPose((-0.00300001, -0.21, 0.39), (-0.907313, 0.0782, -0.36434, -0.194741)),
    light=(0.0, -0.1, -1.0),
    look=f"{_DRAWING}.sink_stage:add_sink_stage",
    supports=f"{_DRAWING}.sink_supports:add_sink_supports",
    photo="bridge_sink.png",
    # SIMPLER's object has facets and lies still; the twin's is made of spheres and would roll.
    rolling_friction=0.003,
    table_looks=("look_table",),
    backdrop_looks=("look_white_wall", "look_tiles", "look_floor"),
    maniskill="sink",
)
