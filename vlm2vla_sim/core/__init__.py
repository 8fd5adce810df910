"""Mechanisms of which there is one: rotations, frames, stores, paths, pickles."""
