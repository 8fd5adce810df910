"""Sends the figures of a run to an experiment tracker while it goes on."""
