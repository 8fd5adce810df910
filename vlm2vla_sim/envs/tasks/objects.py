"""The objects of SIMPLER's Bridge tasks.

Extents and densities: simpler-env/ManiSkill2_real2sim@ef7a4d4 data/custom/info_bridge_custom_v0.json and
info_bridge_custom_baked_tex_v0.json. Masses and inertias are those of SIMPLER's collision meshes
(data/custom/models/*/collision.obj): density times the volume of the convex parts as PhysX cooks them.
"""

from __future__ import annotations

from vlm2vla_sim.envs.tasks.records import Inertia, ObjectSpec, RestPose

_LOOKS = "vlm2vla_sim.envs.mujoco.looks"
_CUBE = Inertia(0.0270, (0, 0, 0), (1.5e-4, 1.5e-4, 1.5e-4, 0, 0, 0))

CARROT = ObjectSpec(
    "carrot",
    extents=(0.115, 0.032, 0.038),
    density=700,
    model="bridge_carrot_generated_modified",
    look=f"{_LOOKS}:carrot",
    inertia=Inertia(0.0547, (0.0067, -0.0003, 0.0005), (1.526e-4, 7.852e-4, 7.651e-4, 6.7e-6, -9.35e-5, 1.6e-6)),
)
PLATE = ObjectSpec(
    "plate",
    extents=(0.110, 0.110, 0.006),
    density=1000,
    model="bridge_plate_objaverse_larger",
    look=f"{_LOOKS}:plate",
    inertia=Inertia(0.0392, (0, 0, 0.0035), (5.804e-4, 5.681e-4, 1.1430e-3, 0, 0, 0)),
)
SPOON = ObjectSpec(
    "spoon",
    extents=(0.140, 0.0346, 0.0260),
    density=1200,
    model="bridge_spoon_generated_modified",
    look=f"{_LOOKS}:spoon",
    inertia=Inertia(0.0431, (0.0087, 0.0001, 0.0007), (6.29e-5, 1.4420e-3, 1.4470e-3, -6.0e-6, -9.0e-6, 1e-7)),
)
TOWEL = ObjectSpec(
    "towel",
    extents=(0.100, 0.100, 0.010),
    density=330,
    model="table_cloth_generated_shorter",
    look=f"{_LOOKS}:towel",
    inertia=Inertia(0.0267, (0.0007, -0.0017, -0.0005), (8.428e-4, 7.845e-4, 1.6150e-3, 2.3e-6, -3.4e-6, 7.1e-6)),
)
GREEN_CUBE = ObjectSpec(
    "green_cube",
    extents=(0.030, 0.030, 0.030),
    density=1000,
    model="baked_green_cube_3cm",
    look=f"{_LOOKS}:green_cube",
    inertia=_CUBE,
)
YELLOW_CUBE = ObjectSpec(
    "yellow_cube",
    extents=(0.030, 0.030, 0.030),
    density=1000,
    model="baked_yellow_cube_3cm",
    look=f"{_LOOKS}:yellow_cube",
    inertia=_CUBE,
)
EGGPLANT = ObjectSpec(
    "eggplant",
    extents=(0.0783, 0.0374, 0.0380),
    density=400,
    model="eggplant",
    look=f"{_LOOKS}:eggplant",
    inertia=Inertia(0.0209, (0.0002, 0.0001, -0.0001), (1.384e-4, 3.670e-4, 3.584e-4, 5.9e-6, 3.38e-5, -1.1e-6)),
)
BASKET = ObjectSpec(
    "basket",
    extents=(0.130, 0.080, 0.002),
    density=100000,
    model="dummy_sink_target_plane",
    container=True,
    # Where SIMPLER's invisible target plane comes to rest in the basket. Measured on the backend "simpler", profile
    # "simpler" (mani-skill 3.0.1, sapien 3.0.3, CPU), the same in all 24 episodes.
    fixed=RestPose((0.2700, 0.0377, 0.0856), (0.01544, 0.06327, 0.00152, -0.99788)),
)
