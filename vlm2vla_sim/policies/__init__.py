"""Policies: what looks at the picture and decides, in words, what to do."""
