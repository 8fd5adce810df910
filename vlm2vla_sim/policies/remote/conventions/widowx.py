"""Models for a real WidowX, as inspect-robots asks them."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("openpi", "widowx"): Convention(
        about="openpi models for a real WidowX, as inspect-robots asks them",
        source="inspect-robots-widowx 0.1.0 policy.py:89-91, 212-242; config.py:40-46, 194-197; its rows go unchanged "
        "to the Bridge robot, whose rotation is rail-berkeley/bridge_data_robot@a902e5b transformation_utils.py:142",
        rotation="euler sxyz",
        gripper_threshold=None,
        image_size=(224, 224),
        resize="pad",
        execute=5,
    ),
}
