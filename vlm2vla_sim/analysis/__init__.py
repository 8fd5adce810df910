"""Analyses of a model: VQA retention after training, and the log-probability of each action format before it."""
