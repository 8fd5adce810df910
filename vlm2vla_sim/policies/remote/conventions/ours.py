"""This package's own units, on every wire."""

from vlm2vla_sim.policies.remote.conventions.record import OUR_SOURCE, OURS, Convention

CONVENTIONS = {
    ("openpi", "vlm2vla"): Convention(
        about=OURS,
        source=OUR_SOURCE,
        rotation="rotvec",
        gripper_threshold=None,
        proprio_key="observation/state",
        proprio="bridge7",
    ),
    ("openvla", "vlm2vla"): Convention(
        about=OURS,
        source=OUR_SOURCE,
        rotation="rotvec",
        gripper_threshold=None,
        image_key="image",
        instruction_key="instruction",
        proprio_key="proprio",
        proprio="bridge7",
    ),
    ("vla-eval", "vlm2vla"): Convention(
        about=OURS,
        source=OUR_SOURCE,
        rotation="rotvec",
        gripper_threshold=None,
        image_key="primary",
        instruction_key="task_description",
        proprio_key="states",
        proprio="bridge7",
        declares=(("rotation", "axis_angle"), ("gripper", "continuous_01")),
    ),
    ("lerobot", "vlm2vla"): Convention(
        about=OURS,
        source=f"{OUR_SOURCE}; what `vlm2vla record` and `convert` write",
        rotation="rotvec",
        gripper_threshold=None,
        proprio_key="observation.state",
        proprio="bridge7",
        execute=1,
    ),
}
