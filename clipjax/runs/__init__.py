"""Runs: a config becomes a folder of numbers, resumable at any point."""
