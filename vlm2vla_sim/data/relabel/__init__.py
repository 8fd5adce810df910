"""Relabeling: subtasks, plans and action text for recorded trajectories, by rules or by a model."""
