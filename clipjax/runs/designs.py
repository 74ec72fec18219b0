"""What probes of class designs have in common: the design of a config, its weights, the groups of its pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clipjax import design
from clipjax.analysis import rates
from clipjax.analysis.intervals import interval
from clipjax.classes import read_classes
from clipjax.data.source import Source
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.probes import zeroshot
from clipjax.progress import say
from clipjax.runs import sources
from clipjax.runs.config import words
from clipjax.runs.result import RESERVED

MOST_GROUPS = 50  # a column with more values is a name or a number, not a group


@dataclasses.dataclass(frozen=True)
class DesignTask:
    """The pictures, the design they are asked with, and the columns [N] they are grouped by."""

    data: sources.Task
    design: Design
    columns: dict[str, np.ndarray]
    grouped: list[tuple[str, ...]]

    @property
    def source(self) -> Source:
        """What the runner counts."""
        return self.data.source


def load(config: Any, **options: Any) -> DesignTask:
    """Everything that can be refused is refused here, before the model is loaded."""
    chosen = of_config(config)
    method_of(config)
    data = source_of(config, config.data.split)
    columns = group_columns(config, data.source)
    grouped = rates.groupings(config.get("groups", ""), list(columns))
    return DesignTask(data, chosen, columns, grouped, **options)


def of_config(config: Any) -> Design:
    """`design`, or `classes` as a plain list; `templates` stand instead of the design's own."""
    templates = sources.templates_of(config.templates)
    if config.classes:
        listed = read_classes(config.classes) if isinstance(config.classes, str) else list(config.classes)
        return design.of_classes(zeroshot.check_classes(listed), templates or (design.TEMPLATE,))
    if not config.design:
        raise InputError(f"name a class design: --config.design=FILE.yaml or one of {', '.join(design.shipped())}")
    found = design.load(config.design)
    return found.ask(templates) if templates else found


def source_of(config: Any, split: str = "") -> sources.Task:
    """The pictures; the classes of a design are not their labels."""
    plain = config.copy_and_resolve_references()
    plain.classes, plain.templates = "", ""
    return sources.load(plain, split or None)


def group_columns(config: Any, source: Source) -> dict[str, np.ndarray]:
    """Columns by name: those of data.group_columns, or every one with few values; and the bands made of them."""
    named = words(config.data.group_columns)
    if missing := [name for name in named if name not in source.table]:
        there = ", ".join(name for name in source.table if name not in RESERVED) or "none"
        raise InputError(f"{source.name} has no column {missing[0]!r} to group by; it has {there}")
    kept: dict[str, np.ndarray] = {}
    for name in named or [name for name in source.table if name not in RESERVED]:
        values = np.asarray(source.table[name])
        if values.ndim != 1 or (not named and len(set(values.tolist())) > MOST_GROUPS):
            continue
        kept[name] = np.array([str(v) for v in values], object)
    if not kept:
        say(f"{source.name}: no columns to group by; name some with --config.data.group_columns=a,b")
    banded, notes = rates.bands(config.get("bands", ""), kept)
    for note in notes:
        say(note)
    return kept | banded


def weights(encode: Callable[[Sequence[str]], np.ndarray], designs: Sequence[Design]) -> list[np.ndarray]:
    """Class weights [C, E] of every design; a prompt that many designs share is encoded once.

    `encode` gives raw text features, float32 [T, E]: `Job.text_features`.
    """
    prompts = [design.prompts() for design in designs]
    texts = list(dict.fromkeys(text for classes in prompts for listed in classes for text in listed))
    features = zeroshot.normalise(encode(texts))
    place = {text: row for row, text in enumerate(texts)}
    mean: dict[tuple[str, ...], np.ndarray] = {}  # by prompts: equal classes get equal weights to the bit
    for listed in {tuple(listed) for classes in prompts for listed in classes}:
        mean[listed] = zeroshot.normalise(features[[place[text] for text in listed]].mean(axis=0, keepdims=True))[0]
    return [np.stack([mean[tuple(listed)] for listed in classes]) for classes in prompts]


def method_of(config: Any) -> rates.Method:
    """The config's interval method, level and smallest n; refused where they are none."""
    interval(0, 1, config.method, config.level)
    return rates.Method(config.method, config.level, config.min_n, config.seed)
