"""Sets of near-identical video frames around an anchor, as pm-k accuracy scores them (arXiv 1906.02168)."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import table
from clipjax.data.source import Source
from clipjax.errors import InputError


def of_sets(
    key: str,
    root: Path,
    sets: Mapping[str, Sequence[str]],
    labels: Mapping[str, Iterable[int]],
    classes: Sequence[str],
    where: Path,
) -> Source:
    """A source over anchors and their neighbours.

    `sets` maps each anchor's file to its neighbours' files, `labels` each file to its class indices; files are
    relative to `root`. Rows come set by set, the anchor first; column "anchor" holds the anchor's file on every row of
    its set, "labels" is bool [N, C], as some frames show two objects. InputError where a frame is in two sets or has
    no label.
    """
    files: list[str] = []
    anchors: list[str] = []
    for anchor, neighbours in sets.items():
        members = [anchor, *(frame for frame in neighbours if frame != anchor)]
        files += members
        anchors += [anchor] * len(members)
    anchor_of: dict[str, str] = {}
    for file, anchor in zip(files, anchors, strict=True):
        if (before := anchor_of.setdefault(file, anchor)) != anchor:
            raise InputError(f"{where}: {file} is in the sets of {before} and of {anchor}; take the file as published")
    present = np.zeros((len(files), len(classes)), bool)
    for row, file in enumerate(files):
        own = [int(label) for label in labels.get(file, ())]
        if not own or not all(0 <= label < len(classes) for label in own):
            raise InputError(f"{where}: {file} has labels {own}, expected one or more of 0 to {len(classes) - 1}")
        present[row, own] = True
    paths = [os.path.join(os.fspath(root), file) for file in files]
    columns: dict[str, Any] = {"labels": present, "anchor": anchors}
    return table.from_rows(key, paths, columns, classes, root)
