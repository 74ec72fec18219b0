"""GeoDE: 40 kinds of objects photographed in six regions of the world (Ramaswamy et al. 2023).

The layout is that of the authors' archive, as public loaders of several papers read its index.csv and images/;
countries and regions are those of the authors' code (princetonvisualai/geode_dataset on GitHub).
"""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="GeoDE",
    key="geode",
    task="robustness",
    metric="top1",
    split="all",
    n=61940,
    model_card=False,
    obtain="geode.zip from https://geodiverse-data-collection.cs.princeton.edu/ (CC BY).",
    layout="""
geode/
  index.csv            file_path,object,region,ip_country, and more
  images/              the files that file_path names
""",
    reading="Classes are the 40 values of the column object, asked in words written for clipjax; region (six) and "
    "country are columns to group by. The authors give no split: the 12,488 images of DataComp are its own selection, "
    "which index.csv does not name, so its published worst groups are of other images.",
)


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """GeoDE with the columns region and country."""
    annotations.choose_split(split, ("all",), INFO, default="all")
    root = annotations.find_root(path, INFO, "index.csv", "geode")
    where = root / "index.csv"
    rows = list(annotations.read_rows(where, ("file_path", "object", "region", "ip_country")))
    if not rows:
        raise InputError(f"{where} has no rows; unpack the data set again")
    columns = {"region": [row["region"] for row in rows], "country": [row["ip_country"] for row in rows]}
    files, own = [row["file_path"] for row in rows], [row["object"] for row in rows]
    return annotations.from_files(INFO, root / "images", files, own, where, **columns)
