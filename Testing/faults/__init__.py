"""Kills at any moment; see `run`."""
