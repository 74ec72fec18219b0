"""Retrieval in both directions: recall at 1, 5 and 10, any of an image's captions counting (CLIP paper, Table 13)."""

from __future__ import annotations

import dataclasses

import numpy as np

from clipjax.analysis.manifest import Outcome
from clipjax.analysis.run import CAPTION_RANK
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.keys import key
from clipjax.probes import retrieval
from clipjax.runs import data
from clipjax.runs import task as tasks
from clipjax.runs.config import ProbeConfig
from clipjax.runs.features import Features
from clipjax.runs.result import Result
from clipjax.runs.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ProbeConfig):
    """What is read."""

    prefix: str = key("a photo of ", "before every caption; worth one to two points of R@1 (CLIP paper, appendix E.1)")
    truncate: bool = key(True, "captions that are too long are cut; the manifest counts them")


def prepare(config: Config) -> Task:
    """A data set with captions; an image without one is skipped."""
    source = data.open_source(config.data).source
    tasks.check_columns(source)
    if source.captions is None:
        raise InputError(f"{source.name} has no captions; name their columns: --config.data.caption_columns=a,b")
    return Task(source, Design("captions", (), (config.prefix + "{}",), source="the captions of the images"))


def run(config: Config, features: Features, task: Task) -> Result:
    """Every caption against every image."""
    whole = task.source
    empty = [(row, str(whole.files[row]), "no caption") for row, found in enumerate(whole.captions) if not any(found)]
    features.check_skipped(whole, empty)
    source = whole.select(np.setdiff1d(np.arange(len(whole)), [row for row, _, _ in empty]))
    encoded = features.images(source)
    order = ordered(source.digests(encoded.rows), source.captions[encoded.rows])
    captions = [[text for text in source.captions[row] if text] for row in encoded.rows[order]]
    texts = [task.design.templates[0].replace("{}", caption) for group in captions for caption in group]
    owner = np.repeat(np.arange(len(captions)), [len(group) for group in captions])
    text_features = features.texts(texts, truncate=config.truncate)
    ks = [k for k in (1, 5, 10) if k <= min(len(captions), len(texts))]  # R@5 needs five images
    records, ranks = retrieval.measured(encoded.values[order], text_features, owner, ks, config.seed)
    table = tasks.columns(source, source.labels, encoded.rows)
    table[CAPTION_RANK] = ranks[np.argsort(order)]
    table["prediction"] = np.array(texts, object)[retrieval.best_texts(encoded.values, text_features)]
    counted = features.engine.text_lengths(texts)
    cut = None if counted is None else int((counted[0] > counted[1]).sum())
    outcome = Outcome(prefix=config.prefix, captions=len(texts), truncated=cut)
    return Result(records, table, empty + encoded.skipped, task.design, outcome)


def ordered(digests: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """Rows int [N] by image, then captions: which of two equal images or captions ranks first is not the table's."""
    return np.array(sorted(range(len(digests)), key=lambda row: (digests[row].tobytes(), captions[row])), np.int64)
