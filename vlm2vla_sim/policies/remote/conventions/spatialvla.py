"""SpatialVLA."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openvla", "spatialvla"): Convention(
        about="SpatialVLA on Bridge, behind a POST /act of your own that answers with all its rows, un-normalised with "
        "bridge_orig/1.0.0 (its authors publish no server)",
        source="simpler-env/SimplerEnv@982db4b simpler_env/policies/spatialvla/spatialvla_model.py: __init__ "
        "(unnorm_key, temperature -0.8, a request for every step), step (euler2axangle, gripper), _resize_image "
        "(area); 4 rows of an answer: tomputer-g/SpatialVLA@b373b2b scripts/spatialvla_4b_finetune/finetune_lora.sh "
        "action_forward_steps 3; simpler_env/utils/action/action_ensemble.py (weights)",
        rotation="euler sxyz",
        image_key="image",
        image_size=(224, 224),
        instruction_key="instruction",
        extras=(("unnorm_key", "bridge_orig/1.0.0"),),
        execute=1,
        ensemble=4,
        ensemble_temperature=-0.8,
    ),
}
