"""Dollar Street: objects of households of known income in many countries (Gaviria Rojas et al. 2022).

The layout is that of the archive on Kaggle (mlcommons/the-dollar-street-dataset), as public code reads its tables and
as the copy of the test part on Hugging Face (nlphuji/dollar_street_test) declares their columns.
"""

import ast
import os
from pathlib import Path

import numpy as np

from clipjax.data import annotations, table
from clipjax.data.info import Info
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="Dollar Street",
    key="dollar_street",
    task="robustness",
    metric="top1",
    split="test",
    n=4308,
    model_card=False,
    obtain="the archive of https://www.kaggle.com/datasets/mlcommons/the-dollar-street-dataset (Creative Commons).",
    layout="""
dataset_dollarstreet/
  images_v2_imagenet_test.csv    images_v2_imagenet_train.csv    imageRelPath,country.name,region.id,income,
                                                                 imagenet_synonyms, and more
  assets/                        the files that imageRelPath names
""",
    reading="Classes are the names in imagenet_synonyms, which the authors gave to objects that ImageNet knows. An "
    "image with several names has no label and is not scored: published top-5 numbers count any of its names as right, "
    "and DataComp scores 3,503 images of 58 classes. Columns: region, country, income (dollars a month) and "
    "income_quartile, 1 the lowest, of the rows of the split.",
)
REGIONS = {"af": "Africa", "am": "Americas", "as": "Asia", "eu": "Europe"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Dollar Street with the columns region, country, income and income_quartile."""
    split = annotations.choose_split(split, ("test", "train"), INFO)
    name = f"images_v2_imagenet_{split}.csv"
    root = annotations.find_root(path, INFO, name, "dataset_dollarstreet")
    where = root / name
    rows = list(
        annotations.read_rows(where, ("imageRelPath", "country.name", "region.id", "income", "imagenet_synonyms"))
    )
    if not rows:
        raise InputError(f"{where} has no rows; unpack the data set again")
    listed = [_names(row["imagenet_synonyms"], where, i) for i, row in enumerate(rows)]
    classes = sorted({names[0] for names in listed if len(names) == 1})
    columns = {
        "label": np.array([classes.index(names[0]) if len(names) == 1 else -1 for names in listed]),
        "region": [REGIONS.get(row["region.id"], row["region.id"]) for row in rows],
        "country": [row["country.name"] for row in rows],
        "income": [row["income"] for row in rows],
        "income_quartile": _quartiles([row["income"] for row in rows], where),
    }
    return table.from_rows(INFO.key, [root / row["imageRelPath"] for row in rows], columns, classes, root)


def _names(text: str, where: Path, row: int) -> list[str]:
    """ "['stove']" -> its names, each once."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, list) or not found or not all(isinstance(name, str) and name.strip() for name in found):
        raise InputError(f"{where} row {row}: imagenet_synonyms {text!r} is not a list of names; unpack it again")
    return list(dict.fromkeys(name.strip() for name in found))


def _quartiles(incomes: list[str], where: Path) -> list[str]:
    values = np.empty(len(incomes))
    for row, text in enumerate(incomes):
        try:
            values[row] = float(text)
        except ValueError:
            values[row] = np.nan
        if not np.isfinite(values[row]):
            raise InputError(f"{where} row {row}: income {text!r} is not a number; unpack it again")
    bounds = np.quantile(values, (0.25, 0.5, 0.75))
    return [str(1 + place) for place in np.searchsorted(bounds, values)]
