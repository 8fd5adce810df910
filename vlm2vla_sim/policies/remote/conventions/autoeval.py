"""AutoEval's stations."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openvla", "autoeval"): Convention(
        about="AutoEval's stations: 256 x 256 images, the arm's absolute pose, Euler deltas",
        source="zhouzypaul/auto_eval@3ea3ff4 auto_eval/robot/policy_clients.py OpenWebClient (keys), run_eval.py:325 "
        "(256 x 256); rail-berkeley/manipulator_gym@c547d41 interfaces/widowx.py _move_eef_relative (Euler deltas), "
        "move_gripper (0 .. 0.39), manipulator_env.py _get_obs (the 8 numbers)",
        rotation="euler sxyz",
        image_key="image",
        image_size=(256, 256),
        instruction_key="instruction",
        proprio_key="proprio",
        proprio="absolute8",
        execute=1,
    ),
}
