"""data/examples."""
