"""MolmoAct."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openvla", "molmoact"): Convention(
        about="MolmoAct on Bridge, behind a POST /act of your own that un-normalises with bridge_orig (its authors "
        "evaluate it in SIMPLER's process)",
        source="jasonlee328/MolmoAct_SimplerEnv@60116c2 simpler_env/policies/molmoact/molmoact_model.py: __init__ "
        "(widowx_bridge, unnorm_key), unnormalize_action_tokenized (q01 .. q99), step (1 row, euler2axangle, gripper), "
        "_resize_image (256 x 256, area)",
        rotation="euler sxyz",
        image_key="image",
        image_size=(256, 256),
        instruction_key="instruction",
        extras=(("unnorm_key", "bridge_orig"),),
        execute=1,
    ),
}
