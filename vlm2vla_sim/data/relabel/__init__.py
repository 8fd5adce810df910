"""data/relabel."""
