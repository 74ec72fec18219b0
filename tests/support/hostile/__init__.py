"""Damaged and hostile inputs: what reads them, what makes them, and what watches a reader at work."""
