"""Training rows as other programs read them, with a data set card."""
