"""Registers the environment "vlm2vla" with LeRobot."""

from vlm2vla_sim.lerobot.env import Vlm2VlaEnv

__all__ = ["Vlm2VlaEnv"]
