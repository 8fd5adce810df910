"""The Trossen WidowX 250 S, 6 degrees of freedom: the robot of BridgeData and of SIMPLER's Bridge scenes.

Frames, masses and limits: haosulab/ManiSkill-WidowX250S@6a12bb7 wx250s.urdf. Servo gains:
simpler-env/ManiSkill2_real2sim@ef7a4d4 agents/configs/widowx/defaults.py:55-82. The meshes come from the package
`rtb-data`.
"""

from __future__ import annotations

import numpy as np

from vlm2vla_sim.robots.base import (
    ArmLink,
    ArmSetup,
    Bevel,
    BridgeServer,
    CollisionBox,
    Gripper,
    InterbotixGripper,
    MeshFiles,
    Robot,
    Workspace,
)

_QUARTER = np.pi / 2
_TURNED = (0.0, 0.0, _QUARTER)
FINGER_CLOSED, FINGER_OPEN = 0.015, 0.037
"""[m] joint limits of a finger. wx250s.urdf, left_finger. SIMPLER's targets lie a millimetre beyond them
(defaults.py:77-82), but SAPIEN 2 stops a target at the limit."""

# fmt: off
_LINKS = (
    ArmLink("base_link", "", (0, 0, 0), 0.538736, (-0.0380446, 0.000613892, 0.0193354),
            (0.002115, 0.0006921, 0.002524, -1.635e-05, 6.998e-07, 4.642e-05), _TURNED,
            mesh="1-Base", mesh_rpy=_TURNED),
    ArmLink("shoulder_link", "base_link", (0, 0, 0.072), 0.480879, (2.23482e-05, 4.14609e-05, 0.0066287),
            (0.000379, 0.0005557, 0.0005889, 2.2e-09, -3.561e-07, 1.2245e-06), _TURNED,
            mesh="2-Shoulder", mesh_rpy=_TURNED, mesh_position=(0, 0, -0.003),
            joint="waist", axis=(0, 0, 1), limits=(-np.pi, np.pi)),
    ArmLink("upper_arm_link", "shoulder_link", (0, 0, 0.03865), 0.430811, (0.0171605, 2.725e-07, 0.191323),
            (0.003463, 0.003587, 0.0004566, -1e-10, -2e-10, 0.0004272), _TURNED,
            mesh="3-UA", mesh_rpy=_TURNED,
            joint="shoulder", axis=(0, 1, 0), limits=(-1.8849555921538759, 1.9896753472735358)),
    ArmLink("upper_forearm_link", "upper_arm_link", (0.04975, 0, 0.25), 0.234589, (0.107963, 0.000115876, 0),
            (3.971e-05, 0.0008878, 0.000888, 2.3528e-06, 0, 0), mesh="4-UF",
            joint="elbow", axis=(0, 1, 0), limits=(-2.1467549799530254, 1.6057029118347832)),
    ArmLink("lower_forearm_link", "upper_forearm_link", (0.175, 0, 0), 0.220991, (0.0374395, 0.00522252, 0),
            (6.369e-05, 0.0001677, 0.0001834, -2.292e-05, 0, 0), (np.pi, 0, 0), mesh="5-LF", mesh_rpy=(np.pi, 0, 0),
            joint="forearm_roll", axis=(1, 0, 0), limits=(-np.pi, np.pi)),
    ArmLink("wrist_link", "lower_forearm_link", (0.075, 0, 0), 0.084957, (0.04236, -1.0663e-05, 0.010577),
            (3.082e-05, 2.822e-05, 3.152e-05, 1.91e-08, 2.3e-09, 2.5481e-06), _TURNED,
            mesh="6-Wrist", mesh_rpy=_TURNED,
            joint="wrist_angle", axis=(0, 1, 0), limits=(-1.7453292519943295, 2.1467549799530254)),
    ArmLink("gripper_link", "wrist_link", (0.065, 0, 0), 0.072885, (0.021631, 2.516e-07, 0.01141),
            (2.537e-05, 1.836e-05, 1.674e-05, 0, 0, 4.34e-07), _TURNED,
            mesh="7-Gripper", mesh_rpy=_TURNED, mesh_position=(-0.02, 0, 0),
            joint="wrist_rotate", axis=(1, 0, 0), limits=(-np.pi, np.pi)),
    ArmLink("gripper_prop_link", "gripper_link", (0.0485, 0, 0), 0.00434, (0.000846, -1.6817e-06, 4.2e-05),
            (5.923e-07, 1.1156e-06, 5.743e-07, 0, 3.195e-07, -4e-10), _TURNED,
            mesh="8-Gripper-Prop", mesh_rpy=_TURNED, mesh_position=(-0.0685, 0, 0)),
    ArmLink("gripper_bar_link", "gripper_link", (0.043, 0, 0), 0.034199, (0.009687, 8.177e-07, 0.004962),
            (7.4125e-06, 2.843e-05, 2.86e-05, -8e-10, -6e-10, -1.3889e-06), _TURNED,
            mesh="9-Gripper-Bar", mesh_rpy=_TURNED, mesh_position=(-0.063, 0, 0)),
    ArmLink("left_finger_link", "gripper_link", (0.066, 0, 0), 0.016246, (0.013816, 0, 0),
            (4.731e-06, 1.5506e-06, 3.7467e-06, -4.56e-07, 0, 0), (np.pi, np.pi, _QUARTER), mesh="10-Finger",
            mesh_position=(0, 0.005, 0), mesh_rpy=(np.pi, np.pi, 0),
            joint="left_finger", axis=(0, 1, 0), limits=(FINGER_CLOSED, FINGER_OPEN)),
    ArmLink("right_finger_link", "gripper_link", (0.066, 0, 0), 0.016246, (0.013816, 0, 0),
            (4.731e-06, 1.5506e-06, 3.7467e-06, 4.56e-07, 0, 0), (0, np.pi, _QUARTER), mesh="10-Finger",
            mesh_position=(0, -0.005, 0), mesh_rpy=(0, np.pi, 0),
            joint="right_finger", axis=(0, -1, 0), limits=(FINGER_CLOSED, FINGER_OPEN)),
)
# fmt: on

GRIPPER_DOWN = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))
"""The TCP's rotation at Bridge's roll = pitch = yaw = 0: the gripper points down.
rail-berkeley/bridge_data_robot@a902e5b widowx_controller.py, DEFAULT_ROTATION"""

WIDOWX_250S = Robot(
    name="widowx_250s",
    links=_LINKS,
    meshes=MeshFiles(
        package="rtbdata",
        distribution="rtb-data",
        folder="xacro/trossen_descriptions/meshes/meshes_wx250s",
        pattern="WXSA-250-M-{}.stl",
        scale=0.001,
    ),
    # Near black and glossy, matched by eye to SIMPLER's first frames (base_env.py:258-259).
    colour=(0.275, 0.275, 0.28),
    arm_joints=("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate"),
    # SIMPLER bounds the force as well (100 to 200 N m). PhysX applies the bound to what is left after its implicit
    # damping, which never reaches it; MuJoCo would cut the damping off with it and the arm would swing.
    stiffness=(
        1169.7891719504198,
        730.0,
        808.4601346394447,
        1229.1299089624076,
        1272.2760456418862,
        1056.3326605132252,
    ),
    damping=(330.0, 180.0, 152.12036565582588, 309.6215302722146, 201.04998711007383, 269.51458932695414),
    gripper=Gripper(
        joints=("left_finger", "right_finger"),
        links=("left_finger_link", "right_finger_link"),
        closed=FINGER_CLOSED,
        open=FINGER_OPEN,
        stiffness=1000.0,
        damping=200.0,
        fingertip=0.0156,
        # Measured on the finger mesh; the inner face is flat at y = -9 mm, and the end is 3 mm thick.
        boxes={
            "root": ((-0.0121, -0.009, -0.0145), (0.016, 0.005, 0.0145)),
            "back": ((0.016, -0.009, -0.0130), (0.0382, 0.0, 0.0130)),
            "tip": ((0.016, -0.009, -0.0125), (0.0432, -0.006, 0.0125)),
        },
        # Without the bevel a finger stands on objects that it slides off in SIMPLER.
        bevel=Bevel(end=(0.0432, -0.006), back=(0.0382, 0.0), depth=0.004, half_width=0.0115),
    ),
    boxes=(
        CollisionBox("gripper_bar_link", "gripper_bar", (-0.012, -0.0517, -0.014), (0.028, 0.0517, 0.014)),
        CollisionBox("gripper_link", "palm", (-0.012, -0.020, -0.020), (0.043, 0.020, 0.030)),
    ),
    tcp_link="gripper_link",
    tcp_offset=0.093575,  # SIMPLER's ee_gripper_link: 0.043 + 0.023 + 0.027575 in the urdf
    gripper_down=GRIPPER_DOWN,
    setups={
        # Home: ManiSkill2_real2sim, envs/custom_scenes/base_env.py:287-293. The start poses of the real arm are the
        # same configurations. The workspaces are ours (SIMPLER has none), wide enough for every episode.
        "table": ArmSetup(
            home=(-0.01840777, 0.0398835, 0.22242722, -0.00460194, 1.36524296, 0.00153398),
            start=(0.292, -0.006, 0.135, -0.005, 0.057, -0.019),
            workspace=Workspace((0.12, -0.25, 0.0), (0.50, 0.30, 0.40)),
        ),
        "sink": ArmSetup(
            home=(-0.2600599, -0.12875618, 0.04461369, -0.00652761, 1.7033415, -0.26983038),
            start=(0.250, -0.068, 0.228, 0.007, 0.048, 0.009),
            workspace=Workspace((0.12, -0.30, 0.0), (0.50, 0.30, 0.40)),
        ),
    },
    maniskill="widowx250s",
    bridge=BridgeServer(
        # rail-berkeley/bridge_data_robot@a902e5b transformation_utils.py:142-158, custom_gripper_controller.py. The
        # fingers stop at 0.015, so that the reading of the closed gripper is 0.20 and that of the open one 1.08.
        finger_low=0.010,
        finger_high=0.035,
        # widowx_controller.py, NEUTRAL_JOINTS
        neutral=(-0.1319, -0.7624, 0.4449, -0.0199, 1.7564, -0.1595),
        # Ours: close to the base and above the table, for a server that knows no "sleep".
        park=(0.20, 0.0, 0.12),
        neutral_position=(0.120, -0.019, 0.247),
    ),
    interbotix=InterbotixGripper(
        # rail-berkeley/manipulator_gym@c547d41 interfaces/viperx.py:55; closed it reads 0.07, open 0.39.
        finger_low=0.01,
        finger_high=0.08,
        # Lengths of the linkage between motor and fingers. They agree with a reading that interfaces/widowx.py quotes:
        # the motor at 1.36524 rad, the finger at 0.037535 m.
        horn=0.014,
        rod=0.024,
    ),
)
