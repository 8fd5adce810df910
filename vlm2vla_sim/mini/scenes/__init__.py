"""mini/scenes."""
