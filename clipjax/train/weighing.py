"""How often each pair is drawn: by a column of weights, alike for all classes, or by the table that it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipjax.data.source import Source
from clipjax.errors import InputError

if TYPE_CHECKING:
    from clipjax.train.pairs import Pairs

LABEL = "label"  # as `balance`: the class of the source's labels


def weights(source: Source, rows: np.ndarray, weight_column: str = "", balance: str = "") -> np.ndarray:
    """float64 [N], from 0 up: how often each of these rows is drawn, in proportion; 1 where nothing says otherwise.

    weight_column: a column of numbers. balance: a column, or "label", whose values are drawn equally often; rows of one
    value in proportion to their weights. Raises InputError where a value is missing, or is not such a number.
    """
    found = np.ones(len(rows))
    if weight_column:
        values = column(source, rows, weight_column, "weight_column")
        for i, value in enumerate(values):
            found[i] = _number(value, f"data.weight_column: {source.files[rows[i]]} of {source.name}")
        if not found.any():
            raise InputError(f"data.weight_column: every {weight_column} of {source.name} is 0")
    if balance:
        values = _classes(source, rows, balance)
        if "" in values:
            file = source.files[rows[values.index("")]]
            raise InputError(
                f"data.balance: {values.count('')} of {len(values)} rows of {source.name} have no {balance}, the "
                f"first: {file}; give each a value"
            )
        names, of = np.unique(values, return_inverse=True)
        totals = np.bincount(of, found, len(names))
        found = np.divide(found, totals[of], out=np.zeros(len(rows)), where=totals[of] > 0)
    return found


def normalised(found: np.ndarray) -> np.ndarray:
    """The same weights with mean 1; exactly 1 where they differ by rounding only."""
    found = found / found.mean()
    return np.ones(len(found)) if np.ptp(found) < 1e-9 else found


def column(source: Source, rows: np.ndarray, name: str, key: str) -> list[str]:
    """The values of a column that a key of `data.` names."""
    if name not in source.columns:
        raise InputError(
            f'data.{key}: {source.name} has no column "{name}"; its images are described by {_known(source)}'
        )
    return [str(value) for value in source.columns[name][rows]]


def _known(source: Source) -> str:
    known = [*source.columns, *([LABEL] if source.labels is not None else [])]
    return ", ".join(known) or "their files alone"


def _classes(source: Source, rows: np.ndarray, balance: str) -> list[str]:
    if balance != LABEL or LABEL in source.columns or source.labels is None:
        return column(source, rows, balance, "balance")
    if source.labels.several:
        raise InputError(f"data.balance=label: images of {source.name} may have several labels; name a column")
    return source.labels.texts()[rows].tolist()


def _number(value: str, where: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < np.inf:
        raise InputError(f"{where} has {value!r}: a weight is a number from 0 up")
    return number


def notes(data: Pairs, batch: int) -> list[str]:
    """How often pairs are drawn, a line each, for the terminal."""
    said = []
    if len(data.tables) > 1:
        pairs, shares = np.bincount(data.table), np.bincount(data.table, data.weights) / len(data)
        parts = [
            f"{table.name} ({n} pairs, {share:.3g} of the examples)"
            for table, n, share in zip(data.tables, pairs.tolist(), shares.tolist(), strict=True)
        ]
        said.append(f"{len(parts)} tables: {', '.join(parts)}")
    if never := len(data.source) - len(data) - len(data.without):
        said.append(f"{never} rows have a weight of 0 and are never drawn")
    if (data.weights != 1).any():
        low, high = data.weights.min(), data.weights.max()
        said.append(
            f"an epoch is {len(data) // batch * batch} examples; by their weights, pairs come {low:.3g} to {high:.3g} "
            "times in it"
        )
    if len(often := data.repeated(batch)):
        file = data.source.files[data.rows[often[data.weights[often].argmax()]]]
        most = data.weights.max() * batch / len(data)
        said.append(
            f"{len(often)} pairs come several times in a batch, {file} {most:.3g} times, as positives of themselves"
        )
    return said
