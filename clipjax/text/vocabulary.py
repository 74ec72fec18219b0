"""OpenAI's byte-pair vocabulary: 49,408 ids, read on first use from the embedded file (openai/CLIP, MIT).

Ids in OpenAI's order: 256 bytes, the same 256 bytes as the end of a word, 48,894 merges by rank, start of text,
end of text. No two merges spell the same symbol, so a merge's rank and its id say the same thing: everything
here works on ids.
"""

import gzip
from functools import cache
from importlib.resources import files

WORD_END = "</w>"
END_OF_WORD = 256  # what turns the id of a byte into the id of that byte at the end of a word
FIRST_MERGE = 2 * END_OF_WORD
START = 49_406
END = 49_407
SPECIAL_TOKENS = {"<|startoftext|>": START, "<|endoftext|>": END}

# The vocabulary is written in text, so each byte has a printable character: itself where it has a visible one
# in Latin-1, else the next from U+0100 on. OpenAI numbers the visible ones first.
_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
_BYTE_ORDER = [*_VISIBLE, *_HIDDEN]
_CHARACTERS = [chr(byte) for byte in _VISIBLE] + [chr(0x100 + i) for i in range(len(_HIDDEN))]

BYTE_IDS = [_BYTE_ORDER.index(byte) for byte in range(256)]


@cache
def _merges() -> tuple[tuple[str, str], ...]:
    text = gzip.decompress(files("clipjax.text").joinpath("vocabulary.txt.gz").read_bytes()).decode("utf-8")
    return tuple((left, right) for left, right in (line.split(" ") for line in text.split("\n")))


@cache
def symbol_ids() -> dict[str, int]:
    """The shared table of `vocabulary()`: read only."""
    symbols = [*_CHARACTERS, *(character + WORD_END for character in _CHARACTERS)]
    symbols += [left + right for left, right in _merges()]
    return {symbol: i for i, symbol in enumerate([*symbols, *SPECIAL_TOKENS])}


@cache
def merged_ids() -> dict[tuple[int, int], int]:
    """The merges as ids: (left, right) -> merged. The smallest merged id is the merge to do first."""
    ids = symbol_ids()
    return {(ids[left], ids[right]): FIRST_MERGE + rank for rank, (left, right) in enumerate(_merges())}


@cache
def symbol_bytes() -> tuple[bytes, ...]:
    """The UTF-8 bytes that each id stands for; the end of a word still written as `</w>`."""
    byte_of = dict(zip(_CHARACTERS, _BYTE_ORDER, strict=True))
    return tuple(bytes(byte_of[character] for character in symbol) for symbol in symbol_ids())


def vocabulary() -> dict[str, int]:
    """Symbol -> id, 49,408 entries in the order of the ids: what Hugging Face's `vocab.json` holds."""
    return dict(symbol_ids())


def merges() -> list[tuple[str, str]]:
    """The 48,894 merges by rank, as symbols of `vocabulary()`: what Hugging Face's `merges.txt` holds."""
    return list(_merges())
