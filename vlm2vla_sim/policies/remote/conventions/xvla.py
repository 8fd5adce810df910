"""X-VLA: absolute poses in Bridge's frame, 1,200 control steps.

Its evaluation adds a quarter turn to the pitch of Bridge's orientation, which is exact where roll is zero, and is what
its published rates were measured with.
"""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openvla", "xvla"): Convention(
        about="X-VLA-WidowX behind its own deploy.py",
        source="X-VLA evaluation/simpler/WidowX (as xunushan/X-VLA@2c4fedf has it): client_blocks.py XVLAClient.step "
        "(keys, closed loop on the last row, rot6d, quarter turn, gripper), evaluate_policy_widowx (state, 1200 "
        "steps), client_carrot.py (its threshold); the other two thresholds: vla-eval 0.8.0 model_servers/xvla.py "
        "gripper_threshold_map; arrays as text: models/server.py act (lihaolin2000/X-VLA@4e2838b); the controller: "
        "255isWhite/ManiSkill2_real2sim@3c3590a pd_ee_pose.py (Euler xyz about fixed axes, base frame)",
        rotation="rot6d",
        gripper_closed=1.0,
        gripper_open=0.0,
        gripper_threshold=0.3,
        thresholds=(
            ("put the spoon on the towel", 0.3),
            ("put carrot on plate", 0.05),
            ("stack the green block on the yellow block", 0.09),
            ("put eggplant into yellow basket", 0.2),
        ),
        absolute=True,
        upright="pitched",
        padding=10,
        answer_key="action",
        image_key="image0",
        instruction_key="language_instruction",
        proprio_key="proprio",
        proprio="rot6d20",
        extras=(("domain_id", 0), ("steps", 10)),
        encoded=True,
        max_steps=1200,
    ),
    ("vla-eval", "xvla"): Convention(
        about="vla-eval's X-VLA server with simpler_widowx.yaml, which adds the quarter turn and decides the gripper",
        source="vla-eval 0.8.0 model_servers/xvla.py: _convert_ee6d_to_7d (1 open, -1 closed), predict (euler_offset, "
        "a state of 20 numbers is taken as it is, task_name), get_action_spec (declares a change of position and the "
        "gripper the wrong way round); allenai/vla-evaluation-harness@e1ee9ad "
        "configs/model_servers/xvla/simpler_widowx.yaml",
        rotation="euler sxyz",
        gripper_closed=-1.0,
        gripper_open=1.0,
        absolute=True,
        image_key="primary",
        instruction_key="task_description",
        proprio_key="states",
        proprio="rot6d20",
        task_key="task_name",
        max_steps=1200,
        declares=(("rotation", "euler_xyz"), ("gripper", "binary_close_positive")),
    ),
}
