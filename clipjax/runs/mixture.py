"""`data.mixture`: several tables that are trained on together, each with its own keys and how often it is drawn.

    --config.data.mixture="csv=a.csv weight=2; csv=b.csv caption_columns=title; source=folder path=birds share=0.1"

Tables are separated by `;`, their keys by blanks; what holds either is put into quotes. A key that a table does not
name is that of `data` (`templates`: of the config).
"""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping
from typing import Any

from clipjax import stored
from clipjax.errors import InputError, nearest
from clipjax.keys import declared
from clipjax.runs import data as opening
from clipjax.runs import task as tasks
from clipjax.runs.finetune_config import FinetuneConfig, PairsData

OF_ALL = ("mixture", "context", "last_batch", "validation_path", "max_skipped")  # of `data`, of all tables together


@dataclasses.dataclass(frozen=True)
class Part:
    """One table. weight: how often each of its pairs is drawn; or share: of all examples (None: weight says it)."""

    data: PairsData
    templates: tuple[str, ...]
    weight: float = 1.0
    share: float | None = None


def parts(config: FinetuneConfig) -> list[Part]:
    """The tables of a config: `data` itself, or those of `data.mixture`. InputError where it cannot be meant."""
    if not config.data.mixture:
        return [Part(config.data, tasks.templates_of(config.templates))]
    given = [_words(words) for words in _entries(config.data.mixture)]
    if len(given) < 2:
        raise InputError(f"data.mixture={config.data.mixture!r} names one table: separate several by ;")
    known = opening.every_key() | declared(PairsData)
    for name, value in config.data.given.items():
        if name in known and name not in OF_ALL and value != known[name].default and all(name in one for one in given):
            raise InputError(
                f"data.{name}={value} is not read: every table of data.mixture names its own; leave it out"
            )
    found = [_part(config, one) for one in given]
    shares = [part.share for part in found if part.share is not None]
    if shares and (len(shares) < len(found) or not math.isclose(sum(shares), 1, abs_tol=1e-6)):
        raise InputError(
            f"data.mixture: shares are of all examples, so every table has one and their sum is 1; {len(shares)} of "
            f"{len(found)} tables have one, with the sum {sum(shares):g}"
        )
    return found


def _entries(text: str) -> list[list[str]]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    lexer.commenters = ""
    found: list[list[str]] = [[]]
    try:
        for word in lexer:
            if set(word) == {";"}:
                found.append([])
            else:
                found[-1].append(word)
    except ValueError as error:
        raise InputError(f"data.mixture={text!r}: {error}; close the quotation mark") from error
    return [words for words in found if words]


def _words(words: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.removeprefix("data.")
        known = [n for n in (opening.every_key() | declared(PairsData)) if n not in OF_ALL]
        known += ["templates", "weight", "share"]
        if not equals or name not in known:
            near = nearest(name, known)
            raise InputError(f"data.mixture: {word!r} is not KEY=VALUE with a key of a table{near}")
        if name in given:
            raise InputError(f"data.mixture: {name} is given twice for one table; separate tables by ;")
        given[name] = value
    return given


def _part(config: FinetuneConfig, given: Mapping[str, str]) -> Part:
    known = opening.every_key() | declared(PairsData)
    own = {name: value for name, value in given.items() if name in known}
    values: dict[str, Any] = dict(config.data.given) | {n: _typed(n, v, known[n].default) for n, v in own.items()}
    values["mixture"] = ""
    data = stored.check(values | {"given": values}, PairsData, "data.mixture", "correct it")
    templates = tasks.templates_of(given.get("templates", config.templates))
    if "weight" in given and "share" in given:
        raise InputError("data.mixture: a table has a weight or a share, not both")
    numbers = {name: _typed(name, given[name], 1.0) for name in ("weight", "share") if name in given}
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise InputError(f"data.mixture: {name}={number:g} is not above 0; leave out a table that is not drawn")
    return Part(data, templates, **numbers)


def _typed(name: str, value: str, default: Any) -> Any:
    """A word as the type of the key's default."""
    if isinstance(default, bool) or not isinstance(default, int | float):
        return value
    try:
        return type(default)(value)
    except ValueError as error:
        raise InputError(f"data.mixture: {name}={value!r} is not a number") from error
