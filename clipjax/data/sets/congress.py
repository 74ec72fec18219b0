"""Members of Congress: official portraits with gender, party and chamber (Schwemmer et al. 2020)."""

import os
from pathlib import Path

from clipjax.data import annotations, source, table
from clipjax.data.info import Info
from clipjax.data.sets._people import NOTICE
from clipjax.data.source import Source
from clipjax.errors import InputError, nearest

INFO = Info(
    name="Members of Congress",
    key="congress",
    task="bias",
    metric="rates",
    split="all",
    n=540,
    model_card=False,
    obtain="mc_data.tsv and mc_images/ of the replication material of Schwemmer et al. 2020, "
    "https://doi.org/10.1177/2378023120967171 (portraits in the public domain), or a table of your own portraits.",
    layout="""
congress/
  mc_data.tsv             name, gender, party, age, wiki_img_url (mc_images/Steve_Daines.jpg), ...
  mc_images/Steve_Daines.jpg
or
  congress.csv            file,gender,party,chamber, and any of name, age, ethnicity, state
  portraits as the column "file" says, relative to the table
""",
    reading=NOTICE + "540 portraits of the 115th Congress: 430 men, 110 women; 295 Republicans, 243 Democrats, 2 "
    "Independents. The labels that other vendors returned (columns wiki_img_labels*) are left to the analysis. Columns "
    "that a table does not have are missing from the source; gender and party are needed.",
)
SPLITS = ("all",)
_TABLES = ("congress.csv", "mc_data.tsv", "data/mc_data.tsv", "congress.tsv")
_FILES = ("file", "wiki_img_url")
_NEEDED = ("gender", "party")
_OPTIONAL = ("chamber", "name", "age", "ethnicity", "eth_white", "state")


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """The portraits of the replication material, or of a table with the columns file, gender, party and chamber."""
    annotations.choose_split(split, SPLITS, INFO, default="all")
    path = source.as_path(path)
    listing = path if path.is_file() else next((path / name for name in _TABLES if (path / name).exists()), None)
    if listing is None:
        raise annotations.not_there(path, INFO, "neither congress.csv nor mc_data.tsv is there")
    rows = list(annotations.read_rows(listing, _NEEDED, "\t" if listing.suffix == ".tsv" else ","))
    if not rows:
        raise InputError(f"{listing} has no rows; write one portrait a line")
    key = next((name for name in _FILES if name in rows[0]), None)
    if key is None:
        raise InputError(f'{listing} has no column "file"{nearest("file", rows[0])}; name each portrait\'s file')
    for column in (key, *_NEEDED):
        if empty := [line for line, row in enumerate(rows, 2) if not (row[column] or "").strip()]:
            raise InputError(f'{listing} line {empty[0]} has nothing in column "{column}"; fill it in')
    files = [row[key].strip() for row in rows]
    root = _root(listing, files[0])
    columns = {name: [(row[name] or "").strip() for row in rows] for name in (*_NEEDED, *_OPTIONAL) if name in rows[0]}
    return table.from_rows(INFO.key, [root / file for file in files], columns, None, root)


def _root(listing: Path, first: str) -> Path:
    """The folder that file names are relative to: the table's own, or, with the table in data/, the one above."""
    above = [folder for folder in (listing.parent, listing.parent.parent) if (folder / first).exists()]
    return above[0] if above else listing.parent
