"""`vlm2vla robot doctor`: examines a robot before its first episode."""
