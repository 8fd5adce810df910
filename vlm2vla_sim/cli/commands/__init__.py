"""The commands of `vlm2vla`, one module each."""
