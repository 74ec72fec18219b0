"""Runs: a config becomes a folder of numbers (design section 5), resumable at any point."""
