"""Runs policies and measures them: episodes, suites, comparisons, and sessions with an operator."""
