"""pi0, pi0-FAST and pi0.5 fine-tuned on Bridge, of three projects."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openpi", "pi0-bridge"): Convention(
        about="pi0, pi0-FAST and pi0.5 fine-tuned on Bridge, as SimplerEnv asks them",
        source="simpler-env/SimplerEnv@5f12328 simpler_env/policies/openpi/pi0_or_fast.py: __init__ (4 rows of an "
        "answer, 224 x 224), preprocess_widowx_proprio (state), step (keys, euler2axangle, gripper), _resize_image",
        rotation="euler sxyz",
        image_key="observation/primary_image",
        image_size=(224, 224),
        proprio_key="observation/state",
        proprio="bridge8",
        execute=4,
    ),
    ("openpi", "open-pi-zero"): Convention(
        about="open-pi-zero on Bridge, behind an openpi server of your own that normalises (its author evaluates it in "
        "SIMPLER's process)",
        source="allenzren/open-pi-zero@c3df7fb src/agent/env_adapter/simpler.py: preprocess (INTER_LANCZOS4), "
        "BridgeSimplerAdapter (state of 7 numbers, gripper), postprocess (euler2axangle); config/eval/bridge.yaml "
        "(224 x 224, 4 rows of an answer)",
        rotation="euler sxyz",
        image_size=(224, 224),
        resize="lanczos4",
        proprio_key="observation/state",
        proprio="bridge7",
        execute=4,
    ),
    ("lerobot", "pi0-bridge"): Convention(
        about="pi0 that LeRobot fine-tuned on Bridge, as SimplerEnv asks it",
        source="simpler-env/SimplerEnv@5f12328 simpler_env/policies/lerobotpi/pi0_or_fast.py: __init__ (224 x 224), "
        "preprocess_widowx_proprio (state), step (keys, euler2axangle, gripper), _resize_image (area). It carries out "
        "4 rows of an answer; here that is the policy's own n_action_steps",
        rotation="euler sxyz",
        image_size=(224, 224),
        proprio_key="observation.state",
        proprio="bridge8",
        execute=1,
    ),
}
