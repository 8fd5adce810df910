"""Recorded robot motion and what it is called: trajectories, their labels, and the training text made of both."""
