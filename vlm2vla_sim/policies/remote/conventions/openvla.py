"""OpenVLA, MiniVLA and ECoT, which OpenVLA's deploy.py serves."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openvla", "openvla"): Convention(
        about="OpenVLA and MiniVLA on BridgeData, behind vla-scripts/deploy.py",
        source="openvla/openvla@c8f03f4 vla-scripts/deploy.py (keys, error); simpler-env/SimplerEnv@04fb4a2 "
        "simpler_env/policies/openvla/openvla_model.py: __init__ (224 x 224, unnorm_key), step (euler2axangle, "
        "gripper), _resize_image (area)",
        rotation="euler sxyz",
        image_key="image",
        image_size=(224, 224),
        instruction_key="instruction",
        extras=(("unnorm_key", "bridge_orig"),),
        execute=1,
    ),
    ("openvla", "ecot"): Convention(
        about="ECoT (embodied chain of thought) on BridgeData, served by OpenVLA's deploy.py",
        source="sombit888/SimplerEnv@28289be simpler_env/policies/ecot/ecot_model.py (224 x 224, unnorm_key, "
        "euler2axangle, gripper as OpenVLA's); the protocol is OpenVLA's, whose model class the checkpoints have",
        rotation="euler sxyz",
        image_key="image",
        image_size=(224, 224),
        instruction_key="instruction",
        extras=(("unnorm_key", "bridge_orig"),),
        execute=1,
    ),
    ("vla-eval", "openvla"): Convention(
        about="vla-eval's OpenVLA server: Euler angles as the model gives them, -1 open, +1 closed",
        source="vla-eval 0.8.0 model_servers/openvla.py:78-79 (what it declares), 131-134 (gripper); rotation: "
        "simpler-env/SimplerEnv@04fb4a2 simpler_env/policies/openvla/openvla_model.py step, because the server passes "
        "on what the model says",
        rotation="euler sxyz",
        gripper_closed=1.0,
        gripper_open=-1.0,
        image_key="primary",
        instruction_key="task_description",
        execute=1,
        declares=(("rotation", "axis_angle"), ("gripper", "binary_close_positive")),
    ),
}
