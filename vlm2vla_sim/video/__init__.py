"""Writes H.264 files with a caption, and reads them back."""
