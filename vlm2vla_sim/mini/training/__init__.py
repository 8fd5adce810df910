"""mini/training."""
