"""Waterbirds: birds of CUB on backgrounds of Places; the place misleads about the bird (Sagawa et al. 2020)."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="Waterbirds",
    key="waterbirds",
    task="robustness",
    metric="top1",
    split="test",
    n=5794,
    model_card=False,
    obtain="waterbird_complete95_forest2water2.tar.gz, linked from https://github.com/kohpangwei/group_DRO (the images "
    "of CUB and Places under their own terms).",
    layout="""
waterbird_complete95_forest2water2/
  metadata.csv          img_id,img_filename,y,split,place,place_filename
  001.Black_footed_Albatross/Black_Footed_Albatross_0001_796111.jpg
""",
    reading="y is 0 for land birds and 1 for water birds, place 0 for land and 1 for water, split 0, 1, 2 for train, "
    "val, test: the columns bird and place group by them. The test part is balanced by design, so its plain accuracy "
    'is not the "average" of papers, which has the weights of the training part (landbird*land 3498, landbird*water '
    "184, waterbird*land 56, waterbird*water 1057): name them in group_weights.",
)
SPLITS = {"train": "0", "val": "1", "test": "2"}
BIRDS, PLACES = ("landbird", "waterbird"), ("land", "water")


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Waterbirds with the columns bird and place."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    root = annotations.find_root(path, INFO, "metadata.csv", "waterbird_complete95_forest2water2")
    where = root / "metadata.csv"
    rows = list(annotations.read_rows(where, ("img_filename", "y", "split", "place")))
    for i, row in enumerate(rows):
        for name, known in (("y", "01"), ("place", "01"), ("split", "012")):
            if row[name] not in tuple(known):
                raise InputError(f'{where} row {i}: {name} "{row[name]}" is none of {", ".join(known)}; fetch it again')
    mine = [row for row in rows if row["split"] == SPLITS[split]]
    columns = {"bird": [BIRDS[int(row["y"])] for row in mine], "place": [PLACES[int(row["place"])] for row in mine]}
    files = [row["img_filename"] for row in mine]
    return annotations.from_files(INFO, root, files, [row["y"] for row in mine], where, **columns)
