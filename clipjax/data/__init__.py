"""Data sets at rest: what they hold, where their files lie, which protocol they are read under."""
