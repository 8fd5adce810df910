"""GR00T's models for Bridge, on their own server and on vla-eval's.

Both evaluations give the three angles to SIMPLER's controller as they are, which takes them for a rotation vector: that
is what its published rates were measured with.
"""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("groot", "groot"): Convention(
        about="GR00T N1.6 for Bridge behind run_gr00t_server.py --use-sim-policy-wrapper",
        source="Isaac-GR00T gr00t/eval/sim/SimplerEnv/simpler_env.py WidowXBridgeEnv (as Leesangoh/Isaac-GR00T@5b3478e "
        "has it: keys, state, 256 x 256 by OpenCV's default, rotations as they are, gripper); "
        "NVIDIA/Isaac-GR00T@226ca9b gr00t/policy/gr00t_policy.py Gr00tSimPolicyWrapper (shapes); "
        "examples/SimplerEnv/README.md (300 steps, 4 rows of an answer)",
        rotation="rotvec",
        image_key="video.image_0",
        image_size=(256, 256),
        resize="linear",
        instruction_key="annotation.human.action.task_description",
        proprio_key="state",
        proprio="bridge8",
        answer_key="action",
        execute=4,
        max_steps=300,
    ),
    ("vla-eval", "groot"): Convention(
        about="vla-eval's GR00T server with simpler_widowx.yaml: rows as the model gives them",
        source="vla-eval 0.8.0 model_servers/groot.py: predict_batch (state, rows unchanged), get_action_spec; "
        "benchmarks/simpler/benchmark.py:268-299 (rotations go to the controller as they are); "
        "allenai/vla-evaluation-harness@e1ee9ad configs/model_servers/groot/simpler_widowx.yaml (1 row of an answer)",
        rotation="rotvec",
        image_key="primary",
        instruction_key="task_description",
        proprio_key="states",
        proprio="quaternion8",
        execute=1,
        max_steps=300,
        declares=(("rotation", "euler_xyz"), ("gripper", "continuous_01")),
    ),
}
