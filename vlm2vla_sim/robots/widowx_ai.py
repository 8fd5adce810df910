"""The Trossen WidowX AI (wxai_v0) with the follower's gripper: 6 degrees of freedom, driven by its own controller.

Joint frames: those of the vendor's driver trossen-arm 1.11.0 (`StandardJoints.wxai_v0_20260626`); the tool frame is its
`StandardEndEffector.wxai_v0_follower`. Masses, meshes and joint limits: trossen-arm-sim 0.2.3, wxai_follower.xml. The
gains of the servos are ours, for the MuJoCo twin: the vendor does not publish those of the controller.

Only the table's scenes are set up. With the gripper pointing straight down, the wrist's limit keeps the tool below
about 0.17 m, which is too low for the walls of SIMPLER's sink.
"""

from __future__ import annotations

from vlm2vla_sim.robots.base import (
    ArmLink,
    ArmSetup,
    CollisionBox,
    Gripper,
    MeshFiles,
    Robot,
    TrossenController,
    Workspace,
)
from vlm2vla_sim.robots.widowx_250s import GRIPPER_DOWN

FINGER_CLOSED, FINGER_OPEN = 0.0, 0.044
"""[m] of each finger's carriage. One motor moves both."""

# fmt: off
_LINKS = (
    ArmLink("base_link", "", (0, 0, 0), 0.46273356, (-0.00020063, -3.382e-05, 0.03051419),
            (0.00022947, 0.00026286, 0.00023167, 1.3e-07, -4.88e-06, -2.8e-07), mesh="base_link"),
    ArmLink("link_1", "base_link", (0, 0, 0.05725), 0.15008228, (-0.00018072, 0.00138124, 0.02037991),
            (0.00018088, 8.194e-05, 0.00018797, -1.18e-06, -1.396e-05, -4.2e-07), mesh="link_1",
            joint="joint_0", axis=(0, 0, 1), limits=(-3.05433, 3.05433)),
    ArmLink("link_2", "link_1", (0.02, 0, 0.04625), 1.13581111, (-0.13172378, -0.00180325, 8.127e-05),
            (0.00064547, 0.01736392, 0.01753333, -5e-07, -1.069e-05, -6.3e-07), mesh="link_2",
            joint="joint_1", axis=(0, 1, 0), limits=(0.0, 3.14159)),
    ArmLink("link_3", "link_2", (-0.264, 0, 0), 0.67178383, (0.18204373, -0.0004913, 0.0554129),
            (0.00053201, 0.00543866, 0.00545384, 8.141e-05, -0.00053779, 1.195e-05), mesh="link_3",
            joint="joint_2", axis=(0, -1, 0), limits=(0.0, 2.35619)),
    ArmLink("link_4", "link_3", (0.245, 0, 0.06), 0.47899686, (0.0584547, 0.00047346, 0.05984125),
            (0.00045072, 0.00058606, 0.00045456, 1.099e-05, -0.00019411, 1.185e-05), mesh="link_4",
            joint="joint_3", axis=(0, -1, 0), limits=(-1.5708, 1.5708)),
    ArmLink("link_5", "link_4", (0.06775, 0, 0.0455), 0.36818897, (0.00357317, -6.705e-05, -0.04271537),
            (0.00019188, 0.00019906, 0.00014673, -4.4e-07, 1.21e-06, -1e-07), mesh="link_5",
            joint="joint_4", axis=(0, 0, -1), limits=(-1.5708, 1.5708)),
    ArmLink("link_6", "link_5", (0.02895, 0, -0.0455), 0.6541194, (0.04351475, -3.63e-05, -0.01014018),
            (0.00141948, 0.00097213, 0.00100814, -6.8e-07, -8.034e-05, 8e-08), mesh="link_6",
            joint="joint_5", axis=(1, 0, 0), limits=(-3.14159, 3.14159)),
    ArmLink("carriage_left", "link_6", (0.0865, 0.023, 0), 0.06566254, (-0.00510623, -0.00176708, -0.01245444),
            (4.15e-05, 3.063e-05, 1.893e-05, -2.54e-06, 3.7e-07, 3.28e-06), mesh="gripper_left",
            joint="left_carriage_joint", axis=(0, 1, 0), limits=(FINGER_CLOSED, FINGER_OPEN)),
    ArmLink("carriage_right", "link_6", (0.0865, -0.023, 0), 0.06566254, (-0.00510588, 0.00176675, -0.00547648),
            (4.97e-05, 3.882e-05, 1.893e-05, 2.54e-06, 4.15e-06, -7.67e-06), mesh="gripper_right",
            joint="right_carriage_joint", axis=(0, -1, 0), limits=(FINGER_CLOSED, FINGER_OPEN)),
)
# fmt: on

WIDOWX_AI = Robot(
    name="widowx_ai",
    links=_LINKS,
    meshes=MeshFiles(package="trossen_arm_sim", distribution="trossen-arm-sim", folder="assets"),
    colour=(0.1, 0.1, 0.1),
    arm_joints=("joint_0", "joint_1", "joint_2", "joint_3", "joint_4", "joint_5"),
    stiffness=(2000.0, 2000.0, 2000.0, 1500.0, 1000.0, 1000.0),
    damping=(300.0, 300.0, 300.0, 200.0, 150.0, 150.0),
    gripper=Gripper(
        joints=("left_carriage_joint", "right_carriage_joint"),
        links=("carriage_left", "carriage_right"),
        closed=FINGER_CLOSED,
        open=FINGER_OPEN,
        stiffness=1000.0,
        damping=200.0,
        fingertip=0.0,  # the tool frame lies at the ends of the fingers
        # Measured on the finger mesh; the pad at the tip is flat at y = -23 mm.
        boxes={
            "root": ((0.0, -0.0155, -0.0236), (0.02, 0.0009, 0.0174)),
            "back": ((0.02, -0.0182, -0.0196), (0.053, -0.0036, 0.0126)),
            "tip": ((0.0525, -0.02297, -0.0087), (0.06956, -0.018, 0.0066)),
        },
    ),
    boxes=(CollisionBox("link_6", "palm", (0.056, -0.0933, -0.0308), (0.081, 0.0933, 0.0308)),),
    tcp_link="link_6",
    tcp_offset=0.156062,
    gripper_down=GRIPPER_DOWN,
    setups={
        # The gripper's ends start where those of the WidowX 250 S do (SIMPLER's first pose of the table).
        "table": ArmSetup(
            home=(0.0, 1.61938, 1.40131, -1.35272, 0.0, 0.0),
            start=(0.285, 0.0, 0.120, 0.0, 0.0, 0.0),
            workspace=Workspace((0.12, -0.25, 0.0), (0.46, 0.30, 0.30)),
        ),
    },
    trossen=TrossenController(
        model="wxai_v0",
        end_effector="wxai_v0_follower",
        # The vendor's own rest pose: every joint at zero, the arm folded on its base.
        park=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ),
)
