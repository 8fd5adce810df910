"""Training examples: made from labelled trajectories, stored on disk as rows."""
