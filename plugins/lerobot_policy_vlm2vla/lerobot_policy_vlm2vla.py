"""Registers the policy "vlm2vla" with LeRobot, and the environment: LeRobot 0.4 looks for plugins of policies only."""

from vlm2vla_sim.lerobot.configuration_vlm2vla import Vlm2VlaConfig
from vlm2vla_sim.lerobot.env import Vlm2VlaEnv

__all__ = ["Vlm2VlaConfig", "Vlm2VlaEnv"]
