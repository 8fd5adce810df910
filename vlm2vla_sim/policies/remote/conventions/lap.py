"""LAP-3B, which writes its motion in words before it is read as numbers.

The server reads the words in the gripper's frame, whatever frame the prompt names, and turns the motion into the base's
with the orientation that the request states (lap frame_transforms.py `transform_actions_from_eef_frame`: y and z change
sign, then the rotation). So the gripper's frame is what the prompt names here, and the orientation is in the axes of a
Franka's gripper, for which those signs are made: pointing down, without a yaw, its forward, left and up are the base's.
"""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openpi", "lap"): Convention(
        about="LAP-3B, served with serve_policy.py --env=LAP_AR: one answer in words for about a second",
        source="lihzha/lap@3958d14 scripts/serve_policy.py (LAP_AR); scripts/real_robot/shared.py obs_to_request "
        "(keys; no wrist image without a wrist camera), helpers.py euler_to_rot6d (columns); scripts/libero/main.py:43 "
        "(frame), get_action_from_response (the sum is spread evenly, Euler xyz about fixed axes); "
        "training/config.py:120 (1 s), policies/lang_action_formats.py (gripper 1 open; none in words that do not name "
        "it), policies/transforms/output_transforms.py ('reasoning')",
        rotation="euler sxyz",
        gripper_optional=True,
        sums=5,
        text_key="reasoning",
        image_key=("observation", "base_0_rgb"),
        image_size=(224, 224),
        resize="pad",
        proprio_key=("observation", "state"),
        proprio="franka10",
        extras=(("frame_description", "end-effector frame"),),
    ),
}
