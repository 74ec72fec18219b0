"""Checkpoints of other libraries in and out, without those libraries (and without torch)."""

from checkpoints_convert.containers import is_native
from checkpoints_convert.convert import DTYPES, FORMATS, Read, cast, check_target, read, translate, write
from checkpoints_convert.options import Options, parse
from checkpoints_convert.tokenizers import with_tokenizer

__all__ = [
    "DTYPES",
    "FORMATS",
    "Options",
    "Read",
    "cast",
    "check_target",
    "is_native",
    "parse",
    "read",
    "translate",
    "with_tokenizer",
    "write",
]
