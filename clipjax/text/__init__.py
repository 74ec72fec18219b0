"""Captions to token ids, exact to OpenAI's CLIP."""

from clipjax.text.tokenizer import decode, encode, tokenize, tokenize_with_lengths
from clipjax.text.vocabulary import END, START, merges, vocabulary

__all__ = ["END", "START", "decode", "encode", "merges", "tokenize", "tokenize_with_lengths", "vocabulary"]
