"""CogACT."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("vla-eval", "cogact"): Convention(
        about="vla-eval's CogACT server with unnorm_key=bridge_orig: rows as the model gives them",
        source="vla-eval 0.8.0 model_servers/cogact.py:96-97 (declares nothing), 115-122; "
        "simpler-env/SimplerEnv@982db4b simpler_env/policies/sim_cogact/cogact_policy.py step (euler2axangle, gripper)",
        rotation="euler sxyz",
        image_key="primary",
        instruction_key="task_description",
        execute=1,
    ),
}
