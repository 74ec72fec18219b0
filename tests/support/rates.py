"""Rates of images that are all at hand, as a run at once counts them."""

from collections.abc import Sequence

import numpy as np

from clipjax.analysis import rates
from clipjax.analysis.records import Record
from clipjax.design import Design


def rate_records(
    prediction: np.ndarray, design: Design, columns: rates.Columns, grouped: Sequence[Sequence[str]],
    method: rates.Method | None = None,
) -> list[Record]:  # fmt: skip
    """Class indices [N] -> `rates.records_of`."""
    tallied = rates.tallies(prediction, columns, grouped, len(design.classes))
    return rates.records_of(tallied, design, method or rates.Method())
