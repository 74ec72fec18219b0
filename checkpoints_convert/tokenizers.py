"""The tokenizer file that belongs to weights, found beside them and known by its sha256."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from clipjax import text
from clipjax.errors import InputError
from clipjax.files import sha256
from clipjax.models.config import CLIP


def with_tokenizer(config: CLIP, weights: Path) -> tuple[CLIP, Path | None]:
    """The configuration with the sha256 of the tokenizer file beside a file or folder of weights, and that file.

    None where the model reads OpenAI's tokens, or has no file there: that is an error once texts are encoded.
    InputError where the file is another than the one that the weights were stored with.
    """
    if config.tokens.kind != "file" or (path := text.find(weights)) is None:
        return config, None
    digest = sha256(path)
    if config.tokens.file_sha256 not in (None, digest):
        raise InputError(
            f"{path}: is another tokenizer (sha256 {digest[:12]}) than the one that the weights were stored with "
            f"({str(config.tokens.file_sha256)[:12]}); put that one back"
        )
    return dataclasses.replace(config, tokens=dataclasses.replace(config.tokens, file_sha256=digest)), path
