"""What clipjax knows of a named data set before a file of it is read: its protocol, its prompts, its published numbers.

A data set is one file in `clipjax/data/sets` with an `INFO` of the class below and an
`open_source(path, split, **protocol)`. Its class names and templates lie in `clipjax/data/prompts/<key>.json`, its
published numbers in `clipjax/data/published.json`; both are made by scripts in experiments/data_files.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from importlib import resources
from typing import Any

from clipjax.design import Design, DesignClass
from clipjax.errors import InputError

TASKS = ("classification", "multilabel", "binary", "retrieval", "video", "robustness", "bias")
METRICS = (
    "top1",
    "mean_per_class",
    "map_11pt",
    "roc_auc",
    "mean_top1_top5",
    "recall@1",
    "mwap",
    "pm_k",
    "rates",
)
PROVENANCES = ("read", "recalled", "derived")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info:
    """A data set as evaluated in the CLIP paper (arXiv 2103.00020, Tables 9-16).

    `n` is the number of examples of `split` (None where the paper does not fix one), `reading` says which
    interpretation of a known trap the file takes, and why.
    """

    name: str  # as OpenAI's model card spells it: "Food101"
    key: str  # the name of the file: "food101"
    task: str
    metric: str
    split: str
    n: int | None
    obtain: str  # one sentence: where, under which terms; the address of the data set's own page
    layout: str  # the files expected on disk, as a tree
    reading: str
    tfds: str | None = None
    model_card: bool = True  # one of the 33 names on the card; else of the 27-set suite or a bias probe

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"{self.key}: task {self.task!r} is none of {', '.join(TASKS)}")
        if self.metric not in METRICS:
            raise ValueError(f"{self.key}: metric {self.metric!r} is none of {', '.join(METRICS)}")


def name_key(name: str) -> str:
    """A name without what spellings of one list differ in: case, and anything but letters and digits.

    "Faces_easy" -> "faceseasy", "mcdonnell_douglas MD-80" -> "mcdonnelldouglasmd80".
    """
    return re.sub(r"[^0-9a-z]+", "", name.lower())


def design(key: str) -> Design:
    """What a data set asks: its classes in the order of its labels, its templates, and where both are from.

    A data set that brings its class names itself (Birdsnap's species, Kinetics' csv) has none here. Published lists
    name two classes alike (ImageNet's two "missile"): the second is called "missile (2)" and asked as "missile".
    InputError where nothing is stored, as for a retrieval set.
    """
    stored = _stored(key)
    if stored is None:
        raise InputError(f"no prompts are stored for {key!r}; give classes and templates in the config")
    classes, seen = [], {}
    for names in stored["classes"]:
        texts = (names,) if isinstance(names, str) else tuple(names)
        seen[texts[0]] = seen.get(texts[0], 0) + 1
        name = texts[0] if seen[texts[0]] == 1 else f"{texts[0]} ({seen[texts[0]]})"
        classes.append(DesignClass(name, texts))
    return Design(key, tuple(classes), tuple(stored["templates"]), source=stored["source"])


def own_names(key: str) -> tuple[str, ...]:
    """The data set's own names (folders, annotation files) in the order of its labels; empty where none are stored."""
    stored = _stored(key) or {}
    own = stored.get("own", ())
    return tuple(map(str, range(count(key)))) if own == "positions" else tuple(own)


def own_index(key: str) -> dict[str, int]:
    """Own name (as `name_key` has it) -> label: labels are matched by name and never by position."""
    return {name_key(name): i for i, name in enumerate(own_names(key) or design(key).names)}


def count(key: str) -> int:
    """How many classes there are; also where their names come from the data."""
    stored = _stored(key) or {}
    return stored.get("count", len(stored.get("classes", ())))


@functools.cache
def _stored(key: str) -> dict[str, Any] | None:
    """The stored file, completed by that of the data set it names in `as`: the same classes and templates."""
    file = resources.files("clipjax.data") / "prompts" / f"{key}.json"
    if not file.is_file():
        return None
    stored = json.loads(file.read_text(encoding="utf-8"))
    return (_stored(stored["as"]) or {}) | stored if "as" in stored else stored


def published(key: str) -> dict[str, Any]:
    """Published numbers: {"paper_zero_shot": {"RN50": {"value": 81.1, "provenance": "read"}}, ...}; {} where none.

    Values are percentages as printed. Provenance: "read" in the source itself or a transcription of it, "recalled"
    from memory without a second source (never to be used as a golden value), "derived" by arithmetic.
    """
    return _published()["datasets"].get(key, {})


@functools.cache
def _published() -> dict[str, Any]:
    return json.loads((resources.files("clipjax.data") / "published.json").read_text(encoding="utf-8"))
