"""envs/mujoco/drawing."""
