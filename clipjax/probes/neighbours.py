"""Do the images nearest to an image share its attribute? Precision@K by group (vissl's fairness indicator 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipjax.analysis.intervals import bounded_mean
from clipjax.analysis.rates import Cells, Method
from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.probes.zeroshot import normalise

USUAL = Method()
BLOCK = 1 << 23  # similarities held at once


def same_attribute_precision(
    queries: np.ndarray, database: np.ndarray, values: tuple[np.ndarray, np.ndarray], k: int,
    by: Sequence[Cells] = (), clusters: np.ndarray | None = None, method: Method = USUAL,
) -> list[Record]:  # fmt: skip
    """queries [Q, E], database [D, E], the attribute's values of both ([Q], [D]) -> the share of the K nearest database
    images with the query's value, its mean over all queries and over those of each group of the groupings `by` [Q].

    Read it against `null_mean`, the share of the value in the database. Equal similarities count by expectation. The
    interval is over queries (persons: `clusters` [Q]); the database is fixed.
    """
    own, theirs = (np.asarray(v).astype(str) for v in values)
    check(own, theirs, k)
    each = precision(normalise(queries), normalise(database), own, theirs, k)
    share = {value: float((theirs == value).mean()) for value in set(own)}
    expected = np.array([share[value] for value in own])
    out = []
    for cells in (Cells([{}], np.zeros(len(own), np.int64)), *by):
        for g, group in enumerate(cells.groups):
            rows = cells.of == g
            members = None if clusters is None else np.asarray(clusters)[rows]
            low, high = bounded_mean(each[rows], method.level, clusters=members)
            out.append(Record(
                metric="same_attribute_precision_at_k", group=group, k=k, n=int(rows.sum()),
                value=float(np.sort(each[rows]).mean()), low=low, high=high, level=method.level,
                method="clopper-pearson of effective n, database fixed",
                null_mean=float(np.sort(expected[rows]).mean()), small=bool(rows.sum() < method.min_n),
            ))  # fmt: skip
    return out


def check(own: np.ndarray, theirs: np.ndarray, k: int) -> None:
    """InputError where there are fewer than K database images, or none with the value of a query."""
    if not 1 <= k <= len(theirs):
        raise InputError(f"K={k} of {len(theirs)} database images; choose K from 1 to {len(theirs)}")
    if absent := sorted(set(own.tolist()) - set(theirs.tolist())):
        raise InputError(f"value {absent[0]!r} of the query is absent from the database")


def precision(queries: np.ndarray, database: np.ndarray, own: np.ndarray, theirs: np.ndarray, k: int) -> np.ndarray:
    """Unit rows [Q, E] and [D, E] with their values -> the share of the K nearest with the query's value [Q]."""
    out, step = np.empty(len(queries)), max(1, BLOCK // len(database))
    for start in range(0, len(queries), step):
        similar = queries[start : start + step] @ database.T
        edge = np.partition(similar, -k, axis=1)[:, -k, None]
        above, tied = similar > edge, similar == edge
        same = own[start : start + step, None] == theirs
        left = k - above.sum(1)
        out[start : start + step] = ((above & same).sum(1) + left * (tied & same).sum(1) / tied.sum(1)) / k
    return out
