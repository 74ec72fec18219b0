"""How captions become the tokens of one model: OpenAI's, or those of a file beside its weights."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipjax.errors import InputError
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, Tokens
from clipjax.text import FileTokenizer, tokenize_with_lengths


@dataclasses.dataclass(frozen=True)
class Texts:
    """file: the model's own tokenizer; None: OpenAI's. whole: its text encoder sees what follows the end of a text, so
    that nothing may be left out; what counts as seen then includes padding."""

    file: Path | None = None
    rules: Tokens = CLIP_BPE
    whole: bool = False

    def __call__(self, texts: Sequence[str], context: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids int32 [B, context], each text cut, and the token count int32 [B] of each before; special tokens that are
        written in a caption are ordinary text."""
        if self.file is None:
            return tokenize_with_lengths(texts, context, "text")
        return _reader(self.file, self.rules, context).with_lengths(texts)

    def read(self, texts: Sequence[str], context: int) -> np.ndarray:
        """The different ids of these texts that the text encoder sees."""
        ids, lengths = self(texts, context)
        return np.unique(ids if self.whole else ids[np.arange(context) < lengths[:, None]])


OPENAI = Texts()


def of_model(config: CLIP, tokenizer: Path | None, name: str) -> Texts:
    """InputError where the model reads tokens of a file, and there is none beside its weights."""
    if config.tokens.kind != "file":
        return Texts(whole=not config.text.can_cut)
    if tokenizer is None:
        raise InputError(
            f"{name}: fine-tuning needs the tokenizer that the model was trained with, and there is none beside the "
            "weights: put the model's tokenizer.json there"
        )
    return Texts(tokenizer, config.tokens, not config.text.can_cut)


@functools.lru_cache(8)
def _reader(file: Path, rules: Tokens, context: int) -> FileTokenizer:
    return FileTokenizer(file, rules, context)
