"""Do the images nearest to an image share its attribute? Precision@K by group (vissl's fairness indicator 3)."""

from __future__ import annotations

import numpy as np

from clipjax.analysis.intervals import bootstrap
from clipjax.analysis.rates import Method
from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.probes.zeroshot import normalise

USUAL = Method()
BLOCK = 1 << 23  # similarities held at once


def same_attribute_precision(
    queries: np.ndarray, database: np.ndarray, values: tuple[np.ndarray, np.ndarray], k: int,
    by: np.ndarray | None = None, clusters: np.ndarray | None = None, column: str = "group", method: Method = USUAL,
) -> list[Record]:  # fmt: skip
    """queries [Q, E], database [D, E], the attribute's values of both ([Q], [D]) -> the share of the K nearest database
    images with the query's value, its mean over all queries and over those of each group `by` [Q].

    Read it against `expected`, the share of the value in the database. Equal similarities count by expectation. The
    interval resamples queries (persons: `clusters` [Q]); the database is fixed.
    """
    own, theirs = (np.asarray(v).astype(str) for v in values)
    if not 1 <= k <= len(database):
        raise InputError(f"K={k} of {len(database)} database images; choose K from 1")
    if absent := sorted(set(own.tolist()) - set(theirs.tolist())):
        raise InputError(f"value {absent[0]!r} of the query is absent from the database")
    each = precision(normalise(queries), normalise(database), own, theirs, k)
    share = {value: float((theirs == value).mean()) for value in set(own)}
    expected = np.array([share[value] for value in own])
    texts = np.full(len(own), "") if by is None else np.asarray(by).astype(str)
    out = []
    for group in [None, *sorted(set(texts) - {""})]:
        rows = np.ones(len(own), bool) if group is None else texts == group
        members = None if clusters is None else np.asarray(clusters)[rows]
        low, high = bootstrap(each[rows], method.seed, method.level, clusters=members)
        out.append(Record(
            metric="same_attribute_precision", group={} if group is None else {column: group}, k=k, n=int(rows.sum()),
            value=float(each[rows].mean()), low=low, high=high, level=method.level,
            method="bootstrap over queries, database fixed", expected=float(expected[rows].mean()),
            small=bool(rows.sum() < method.min_n),
        ))  # fmt: skip
    return out


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
