"""Commands that are killed or run out of something at a chosen moment."""
