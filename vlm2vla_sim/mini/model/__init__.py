"""mini/model."""
