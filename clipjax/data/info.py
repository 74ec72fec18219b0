"""What clipjax knows of a named data set before a file of it is read: its protocol, its prompts, its published numbers.

A data set is one file in `clipjax/data/sets` with an `INFO` of the class below and a `load(path, split, **protocol)`.
Its class names and templates lie in `clipjax/data/prompts/<key>.json`, its published numbers in
`clipjax/data/published.json`; both are made by committed scripts and read here.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from importlib import resources
from typing import Any

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


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Class names and templates of one data set, in the order of its labels.

    `classes` is one name per class (for tables), `names` every name the text tower is asked with: more than one
    only for FER2013. `own` are the data set's own names (folders, annotation files) in the same order, where they
    are known before the data are read: labels are matched through them, by name and never by position. A data set
    that brings its names itself (Birdsnap's species, Kinetics' csv) has empty `classes`.
    """

    classes: tuple[str, ...]
    templates: tuple[str, ...]
    source: str
    names: tuple[tuple[str, ...], ...] = ()
    own: tuple[str, ...] = ()
    count: int = 0  # how many classes there are; also where their names come from the data

    def index(self) -> dict[str, int]:
        """Own name (normalised as `plain` does) -> label; the way from an annotation to the paper's class order."""
        return {plain(name): i for i, name in enumerate(self.own or self.classes)}


def plain(name: str) -> str:
    """A name without what spellings of one list differ in: case, and anything but letters and digits.

    "Faces_easy" -> "faceseasy", "mcdonnell_douglas MD-80" -> "mcdonnelldouglasmd80".
    """
    return re.sub(r"[^0-9a-z]+", "", name.lower())


@functools.cache
def prompts(key: str) -> Prompts:
    """The prompts of a data set. InputError where none are stored, as for a retrieval set."""
    file = resources.files("clipjax.data") / "prompts" / f"{key}.json"
    if not file.is_file():
        raise InputError(f"no prompts are stored for {key!r}; give classes and templates in the config")
    stored = json.loads(file.read_text(encoding="utf-8"))
    names = tuple((c,) if isinstance(c, str) else tuple(c) for c in stored["classes"])
    return Prompts(
        classes=tuple(n[0] for n in names),
        templates=tuple(stored["templates"]),
        source=stored["source"],
        names=names,
        own=tuple(stored.get("own", ())),
        count=stored.get("count", len(names)),
    )


def published(key: str) -> dict[str, Any]:
    """Published numbers: {"paper_zero_shot": {"RN50": {"value": 81.1, "provenance": "read"}}, ...}; {} where none.

    Values are percentages as printed. Provenance: "read" in the source itself or a transcription of it, "recalled"
    from memory without a second source (never to be used as a golden value), "derived" by arithmetic.
    """
    return _published()["datasets"].get(key, {})


@functools.cache
def _published() -> dict[str, Any]:
    return json.loads((resources.files("clipjax.data") / "published.json").read_text(encoding="utf-8"))
