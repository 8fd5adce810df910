"""Policies that LeRobot trained on its copies of BridgeData."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("lerobot", "bridge"): Convention(
        about="policies trained on LeRobot's copies of BridgeData",
        source="data.datasets.conventions, 'bridge', which reads those copies; gripper binarised as in "
        "simpler-env/SimplerEnv@04fb4a2 simpler_env/policies/openvla/openvla_model.py step",
        rotation="euler sxyz",
        proprio_key="observation.state",
        proprio="servo8",
        execute=1,
    ),
}
