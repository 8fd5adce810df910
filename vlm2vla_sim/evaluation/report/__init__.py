"""The report of one or several runs: a single HTML page for people who look."""
