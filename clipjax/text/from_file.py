"""Tokenizers of a model's own file: `tokenizer.json`, or the `.model` of the SentencePiece library.

The file says how words become ids. The model's configuration says the rest, for references disagree about it: how
texts are cleaned, the id of padding, which ids are replaced. Padding is always on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clipjax.errors import InputError, converted
from clipjax.files import write_atomically
from clipjax.text.cleaning import clean
from clipjax.text.tokenizer import as_list

NAMES = ("tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.model")


def find(weights: Path) -> Path | None:
    """The tokenizer file of a folder of weights, or beside a file of weights: NAME.tokenizer.json, then `NAMES`."""
    folder = weights if weights.is_dir() else weights.parent
    own = () if weights.is_dir() else (beside(weights, "tokenizer.json").name, beside(weights, "tokenizer.model").name)
    return next((folder / name for name in (*own, *NAMES) if (folder / name).is_file()), None)


def beside(weights: Path, name: str) -> Path:
    """Where the tokenizer `name` of a file of weights is kept: model.safetensors has model.tokenizer.json."""
    return weights.with_name(f"{weights.stem}.tokenizer{Path(name).suffix}")


def copy_beside(tokenizer: Path, weights: Path) -> Path:
    """Copies a tokenizer to where `find` looks for that of these weights, a file or a folder; returns where."""
    to = weights / tokenizer.name if weights.is_dir() else beside(weights, tokenizer.name)
    if to.resolve() != tokenizer.resolve():
        write_atomically(to, lambda path: path.write_bytes(tokenizer.read_bytes()))
    return to


class Rules(Protocol):
    """Of `clipjax.models.inputs.Tokens`, which has the contract of each."""

    @property
    def clean(self) -> str: ...
    @property
    def pad_id(self) -> int: ...
    @property
    def relabel(self) -> tuple[int, int] | None: ...
    @property
    def clips(self) -> tuple[int, int, int] | None: ...


class FileTokenizer:
    """Token ids of texts, int32 [B, T], T = `context_length`.

    Raises:
        InputError: the file is damaged or of another kind, or the library that reads it is not installed.
    """

    def __init__(self, path: Path, rules: Rules, context_length: int):
        self.path, self.rules, self.context_length = path, rules, context_length
        reader = _SentencePiece if path.suffix == ".model" else _Json
        self._file = reader(path, context_length)

    def with_lengths(self, texts: str | Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids int32 [B, T], each text cut to T, and the token count int32 [B] of each before it was cut."""
        cleaned = [clean(text, self.rules.clean) for text in as_list(texts)]
        T, clips = self.context_length, self.rules.clips
        if clips is None:
            rows, lengths = self._file.encode(cleaned)
        else:
            words = self._file.words(cleaned)
            rows = [[clips[0], *row[: T - 3], clips[1]] for row in words]
            lengths = [len(row) + 3 for row in words]
        ids = np.full((len(rows), T), self.rules.pad_id, np.int32)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        if self.rules.relabel is not None:
            ids[ids == self.rules.relabel[0]] = self.rules.relabel[1]
        if clips is not None:
            ids[:, -1] = clips[2]
        return ids, np.array(lengths, np.int32)


class _Json:
    """A `tokenizer.json`, read by the library `tokenizers`. What the file says of padding and cutting is left aside."""

    def __init__(self, path: Path, context_length: int):
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise InputError(f"{path}: reading it needs a library: pip install tokenizers") from error
        # The library raises plain Exceptions about a file.
        with converted(f"{path}: cannot be read as a tokenizer.json", "copy it again", Exception):
            self._whole, self._cut = Tokenizer.from_file(str(path)), Tokenizer.from_file(str(path))
        for one in (self._whole, self._cut):
            one.no_padding()
            one.no_truncation()
        self._context = context_length
        self._cut.enable_truncation(context_length)  # what the file puts behind a text stays behind it

    def encode(self, texts: list[str]) -> tuple[list[list[int]], list[int]]:
        """Ids with what the file puts around a text, cut to the context; and how many there are without cutting."""
        rows = [found.ids for found in self._whole.encode_batch(texts)]
        lengths = [len(row) for row in rows]
        long = [i for i, length in enumerate(lengths) if length > self._context]
        for i, found in zip(long, self._cut.encode_batch([texts[i] for i in long]), strict=True):
            rows[i] = found.ids
        return rows, lengths

    def words(self, texts: list[str]) -> list[list[int]]:
        """Ids of the texts alone, of any length."""
        return [found.ids for found in self._whole.encode_batch(texts, add_special_tokens=False)]


class _SentencePiece:
    """A `.model`, as SigLIP's and Gemma's releases have it: the end of text behind each text, nothing before it."""

    def __init__(self, path: Path, context_length: int):
        try:
            import sentencepiece
        except ImportError as error:
            raise InputError(f"{path}: reading it needs a library: pip install sentencepiece") from error
        with converted(f"{path}: cannot be read as a SentencePiece model", "copy it again", Exception):
            self._file: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self._end, self._context = self._file.eos_id(), context_length
        if self._end < 0:
            raise InputError(f"{path}: has no end of text; give the tokenizer.json of the model in its place")

    def encode(self, texts: list[str]) -> tuple[list[list[int]], list[int]]:
        """As `_Json.encode`."""
        words = self.words(texts)
        return [[*row[: self._context - 1], self._end] for row in words], [len(row) + 1 for row in words]

    def words(self, texts: list[str]) -> list[list[int]]:
        """As `_Json.words`."""
        return self._file.encode(texts)
