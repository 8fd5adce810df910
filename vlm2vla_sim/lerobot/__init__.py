"""Plugins for LeRobot: the environment and the policy "vlm2vla".

LeRobot finds them by `--env.discover_packages_path=vlm2vla_sim.lerobot`, or by the distributions
`lerobot_env_vlm2vla` and `lerobot_policy_vlm2vla` in `plugins/`. Importing this package imports nothing of LeRobot.
"""
