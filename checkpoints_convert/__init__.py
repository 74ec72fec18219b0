"""Checkpoints of other libraries in and out, without those libraries (and without torch)."""

from checkpoints_convert.convert import DTYPES, FORMATS, Read, cast, read, translate, write

__all__ = ["DTYPES", "FORMATS", "Read", "cast", "read", "translate", "write"]
