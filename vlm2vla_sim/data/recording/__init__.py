"""data/recording."""
