"""OpenVLA-OFT."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openvla", "openvla-oft"): Convention(
        about="OpenVLA-OFT fine-tuned on Bridge with proprioception, behind its own deploy.py",
        source="moojink/openvla-oft@213c5ff vla-scripts/deploy.py get_server_action (keys, list of rows), "
        "experiments/robot/openvla_utils.py get_vla_action (prompt, state, un-normalisation on the server), "
        "prismatic/vla/constants.py BRIDGE_CONSTANTS (5 rows of an answer, 7 numbers of state); rotation, gripper and "
        "image: marchmelo0923/SimplerEnv-OpenvlaOFT@cce8c25 policies/oft/oft_model.py step, _resize_image (area)",
        rotation="euler sxyz",
        image_key="full_image",
        image_size=(224, 224),
        instruction_key="instruction",
        proprio_key="state",
        proprio="bridge7",
        execute=5,
    ),
}
