"""Retrieval in both directions: recall at 1, 5 and 10, any of a picture's captions counting (CLIP paper, Table 13)."""

from __future__ import annotations

from typing import Any

import numpy as np

from clipjax.errors import InputError
from clipjax.probes import retrieval
from clipjax.runs import sources
from clipjax.runs.job import Job
from clipjax.runs.result import Result, picture_columns
from clipjax.text import tokenize_with_lengths


def load(config: Any) -> sources.Task:
    """A data set with captions."""
    task = sources.load(config)
    if "captions" not in task.source.table:
        raise InputError(f"{task.source.name} has no captions; name their columns: --config.data.caption_columns=a,b")
    empty = [f for f, c in zip(task.source.table["file"], task.source.table["captions"], strict=True) if not c]
    if empty:
        raise InputError(f"{task.source.name}: {empty[0]} has no caption ({len(empty)} such pictures)")
    return task


def run(job: Job, task: sources.Task) -> Result:
    """Every caption against every picture."""
    encoded = job.image_features(task.source)
    captions = [task.source.table["captions"][row] for row in encoded.rows]
    prefix = job.config.prefix
    texts = [prefix + caption for group in captions for caption in group]
    owner = np.repeat(np.arange(len(captions)), [len(group) for group in captions])
    features = job.text_features(texts, truncate=job.config.truncate)
    ks = [k for k in (1, 5, 10) if k <= min(len(captions), len(texts))]  # among three pictures there is no R@5
    records = retrieval.recalls(encoded.values, features, owner, ks, seed=job.config.seed)
    columns = picture_columns(task, encoded.rows)
    columns["prediction"] = np.array(texts, object)[retrieval.best_texts(encoded.values, features)]
    _, lengths = tokenize_with_lengths(texts, job.model.config.text.context_length)
    cut = int((lengths > job.model.config.text.context_length).sum())
    return Result(records, columns, encoded.skipped, {"prefix": prefix, "captions": len(texts), "truncated": cut})
