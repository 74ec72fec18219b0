"""Hateful Memes, phase 1: one JSON object per line."""

import dataclasses
import os

from clipjax.data import annotations, table
from clipjax.data.info import Info, design
from clipjax.data.kinds.shared import Columns
from clipjax.data.labels import Labels
from clipjax.data.source import Source

INFO = Info(
    name="Hateful Memes",
    key="hateful_memes",
    task="binary",
    metric="roc_auc",
    split="dev (phase 1, 500)",
    n=500,
    obtain="hateful_memes.zip of the Hateful Memes Challenge, https://ai.meta.com/tools/hatefulmemes/ (its own "
    "research licence, to be accepted).",
    layout="""
hateful_memes/
  train.jsonl  dev.jsonl (or dev_seen.jsonl)     {"id": 8291, "img": "img/08291.png", "label": 1, "text": "..."}
  img/08291.png
""",
    reading="Tested on the 500 images of dev (dev_seen in the second release; dev_unseen is another set), "
    "since the test labels were never public. The score is the softmax probability of 'a hatespeech meme.'. A "
    "public re-run gets 55.3 instead of 63.3.",
)
SPLITS = ("train", "dev")


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Hateful Memes from its own folder; label 1 is hateful."""
    split = annotations.choose_split(split, SPLITS, INFO, default="dev")
    names = ("dev.jsonl", "dev_seen.jsonl") if split == "dev" else ("train.jsonl",)
    listing = annotations.find_file(path, INFO, names, "hateful_memes")
    memes = table.open_table(listing, Columns("img", "label"))
    assert memes.labels is not None, listing
    index = annotations.labels_of(memes.labels.texts().tolist(), INFO.key, listing)
    return dataclasses.replace(memes, name=INFO.key, labels=Labels(design(INFO.key).names, index))
