"""envs/bridge/mock."""
