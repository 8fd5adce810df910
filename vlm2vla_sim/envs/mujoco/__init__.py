"""Backend "mujoco": the embedded twin of the SIMPLER WidowX scenes."""
