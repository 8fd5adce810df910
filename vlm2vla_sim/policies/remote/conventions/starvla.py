"""starVLA's models for Bridge, on their own server and on vla-eval's."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openpi", "starvla"): Convention(
        about="starVLA (Qwen-GR00T, -OFT, -PI, -FAST) behind its own server_policy.py, which un-normalises",
        source="starVLA/starVLA@0ed0aad examples/simBenchmarks/SimplerEnv/eval_files/model2simpler_interface.py: "
        "__init__ (224 x 224, unnorm_key, 7 answers averaged, alpha 0.1), step (keys, no state, euler2axangle, "
        "gripper), _resize_image (area); adaptive_ensemble.py; auto_eval_scripts/star_bridge.sh (120 steps); "
        "deployment/model_server/tools/websocket_policy_server.py (messages)",
        rotation="euler sxyz",
        answer_key=("data", "actions", 0),
        image_key=("examples", 0, "image", 0),
        image_size=(224, 224),
        instruction_key=("examples", 0, "lang"),
        extras=(("unnorm_key", "oxe_bridge"), ("do_sample", False), ("use_ddim", True), ("num_ddim_steps", 10)),
        execute=1,
        ensemble=7,
        ensemble_alpha=0.1,
        max_steps=120,
    ),
    ("vla-eval", "starvla"): Convention(
        about="vla-eval's starVLA server with one of its *_simpler.yaml, which averages answers and converts rotations",
        source="vla-eval 0.8.0 model_servers/starvla.py: predict_batch (euler_to_axisangle, gripper 1 open without "
        "gripper_invert), get_action_spec (declares the gripper the wrong way round); "
        "allenai/vla-evaluation-harness@e1ee9ad configs/model_servers/starvla/*_simpler.yaml",
        rotation="rotvec",
        image_key="primary",
        instruction_key="task_description",
        execute=1,
        max_steps=120,
        declares=(("gripper", "binary_close_positive"),),
    ),
}
