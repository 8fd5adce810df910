"""What vla-eval's SimplerEnv benchmark takes."""

from vlm2vla_sim.policies.remote.conventions.record import Convention

CONVENTIONS = {
    ("vla-eval", "simpler"): Convention(
        about="what vla-eval's SimplerEnv benchmark takes: rotations go to the controller as they are",
        source="vla-eval 0.8.0 benchmarks/simpler/benchmark.py:275-299 (controller takes rotation vectors; above 0.5 "
        "opens), 337-341 (keys), 356-379 (states)",
        rotation="rotvec",
        image_key="primary",
        instruction_key="task_description",
        proprio_key="states",
        proprio="quaternion8",
    ),
}
