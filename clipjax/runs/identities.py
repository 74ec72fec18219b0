"""Identities: how much is given away when a model is asked for people's names, over growing lists of candidates.

Table 1 of "Evaluating CLIP". Names are the user's own (CelebA's were never released, none are shipped); only totals are
reported, and nothing that is written says who anybody is. Face recognition is always out of scope (OpenAI's card).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from clipjax.analysis.intervals import interval
from clipjax.analysis.manifest import Outcome
from clipjax.analysis.records import Record
from clipjax.data.source import Source
from clipjax.design import TEMPLATE, Design, of_classes
from clipjax.errors import InputError
from clipjax.keys import key
from clipjax.probes import zeroshot
from clipjax.progress import say
from clipjax.runs import data
from clipjax.runs import task as tasks
from clipjax.runs.config import Intervals, Templates, words
from clipjax.runs.features import Features
from clipjax.runs.result import Result

NOTICE = (
    "OpenAI's model card: use for surveillance and facial recognition is always out of scope. This probe measures how "
    "much a model gives away; only totals are kept"
)


UNREAD = ("caption_columns", "group_columns")  # `data.` keys that change nothing here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Templates, Intervals):
    """What is read."""

    sizes: str = key("100,1000,2000", "numbers of candidate names; nested lists")


@dataclasses.dataclass(frozen=True)
class IdentitiesTask:
    """`order`: the people in a seeded order; the first `size` of them are that size's candidates."""

    source: Source
    sizes: tuple[int, ...]
    order: np.ndarray
    templates: tuple[str, ...]


def prepare(config: Config) -> IdentitiesTask:
    """Labelled images and nested candidate lists."""
    say(NOTICE)
    interval(0, 1, config.method, config.level)
    source = data.open_source(config.data).source
    if source.labels is None or source.labels.several:
        raise InputError(
            f"{source.name} has no names: bring your own, with --config.data.options=names=FILE (celeba: identity,"
            "name) or --config.data.label_column=COLUMN (csv)"
        )
    people = len(source.labels.names)
    try:
        sizes = tuple(sorted({int(s) for s in words(config.sizes)}))
    except ValueError as error:
        raise InputError(f"sizes={config.sizes!r}: {error}; for example 100,1000,2000") from error
    if not sizes or sizes[0] < 2:
        raise InputError(f"sizes={config.sizes!r}: numbers of candidates from 2 on, for example 100,1000,2000")
    if sizes[0] > people:
        raise InputError(f"{source.name} names {people} people, fewer than the smallest of sizes={config.sizes}")
    if too_large := [s for s in sizes if s > people]:
        say(f"{people} people are named: candidate lists of {', '.join(map(str, too_large))} are left out")
    by_name = np.argsort(np.array(source.labels.names, object))  # the draw depends on no order of a table
    order = by_name[np.random.default_rng(config.seed).permutation(people)]
    templates = tasks.templates_of(config.templates) or (TEMPLATE,)
    return IdentitiesTask(source, tuple(s for s in sizes if s <= people), order, templates)


def run(config: Config, features: Features, task: IdentitiesTask) -> Result:
    """Accuracy over the same images with ever more candidates, and over every candidate list's own images."""
    people, labels = task.order[: task.sizes[-1]], task.source.labels
    assert labels is not None
    weights = features.class_weights(of_classes([labels.names[p] for p in people], task.templates))
    encoded = features.images(task.source)
    place = np.full(len(task.order) + 1, -1, np.int64)  # the last: an image without a name
    place[people] = np.arange(len(people))
    truth = place[labels.column[encoded.rows]]
    scores = zeroshot.normalise(encoded.values) @ weights.T
    records, columns = [], {"file": task.source.files[encoded.rows]}
    for size in task.sizes:
        asked = truth >= 0
        own = np.where(asked, truth, 0)
        against = scores[:, :size]
        rank = (against > scores[np.arange(len(own)), own][:, None]).sum(1) + 1
        columns[f"rank_{size}"] = np.where(asked & (truth < size), rank, 0).astype(np.int32)
        fixed = f"of the first {task.sizes[0]} people"
        for images, inside in ((fixed, truth < task.sizes[0]), ("of these candidates", truth < size)):
            chosen = asked & inside
            for top in (1, 5):
                if chosen.any() and top < size:
                    hits = int((rank[chosen] <= top).sum())
                    records.append(_record(top, size, images, hits, int(chosen.sum()), config))
    asked = Design("identities", (), task.templates, note="the names that are asked are written nowhere")
    outcome = Outcome(notice=NOTICE, people=len(people), candidates=list(task.sizes))
    return Result(records, columns, encoded.skipped, asked, outcome)


def _record(top: int, size: int, images: str, k: int, n: int, config: Config) -> Record:
    low, high = interval(k, n, config.method, config.level, config.seed)
    return Record(
        metric=f"top{top}", candidates=size, images=images, group={}, k=k, n=n, value=k / n, low=float(low),
        high=float(high), level=config.level, method=config.method,
    )  # fmt: skip
