"""Compare policies from the results of runs."""
