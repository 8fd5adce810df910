"""Octo."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openvla", "octo"): Convention(
        about="Octo behind AutoEval's octo_server.py, which un-normalises with Bridge's statistics",
        source="zhouzypaul/auto_eval@a5012f0 auto_eval/policy_server/octo_server.py (keys, /reset, ensembling on the "
        "server); simpler-env/SimplerEnv@34d9ccf simpler_env/policies/octo/octo_model.py: __init__ (256 x 256), "
        "_resize_image (lanczos3), step (euler2axangle, gripper)",
        rotation="euler sxyz",
        image_key="image",
        image_size=(256, 256),
        resize="lanczos",
        instruction_key="instruction",
        execute=1,
    ),
}
