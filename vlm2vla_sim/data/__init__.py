"""Recorded trajectories, their annotations, and the training examples made from both."""
