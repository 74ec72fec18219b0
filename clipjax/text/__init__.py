"""Captions to token ids: OpenAI's, exact to CLIP, and those of a model's own tokenizer file."""

from clipjax.text.from_file import FileTokenizer, copy_beside, find
from clipjax.text.tokenizer import check_lengths, decode, encode, tokenize, tokenize_with_lengths
from clipjax.text.vocabulary import END, START, merges, vocabulary

__all__ = [
    "END", "START", "FileTokenizer", "check_lengths", "copy_beside", "decode", "encode", "find", "merges", "tokenize",
    "tokenize_with_lengths", "vocabulary",
]  # fmt: skip
