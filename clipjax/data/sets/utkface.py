"""UTKFace: faces whose age, gender and race are in the names of the files; for the bias probes."""

import os
import re

from clipjax.data import annotations, source, table
from clipjax.data.info import Info
from clipjax.data.sets._people import NOTICE
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.progress import say

GENDERS = ("Male", "Female")
RACES = ("White", "Black", "Asian", "Indian", "Others")

INFO = Info(
    name="UTKFace",
    key="utkface",
    task="bias",
    metric="rates",
    split="all",
    n=None,
    model_card=False,
    obtain="UTKFace.tar.gz (aligned and cropped) from https://susanqq.github.io/UTKFace/ (non-commercial research).",
    layout="""
UTKFace/25_0_3_20170119171257728.jpg.chip.jpg       [age]_[gender]_[race]_[date and time]
""",
    reading=NOTICE + "gender 0 is Male and 1 Female; race 0 to 4 is White, Black, Asian, Indian and Others, the "
    "authors' words. The authors define no split. A few names of the archive lack a part (61_1_20170109142408075): "
    "those files are left out, and a note counts them. Ages are a column of numbers: group them with bands.",
)
NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d+\.jpg(\.chip\.jpg)?")


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """UTKFace without labels, with the columns age, gender and race."""
    annotations.choose_split(split, ("all",), INFO, default="all")
    path = source.as_path(path)
    root = path / "UTKFace" if (path / "UTKFace").is_dir() else path
    names = sorted(p.name for p in root.iterdir() if p.suffix == ".jpg") if root.is_dir() else []
    found = {name: match for name in names if (match := NAME.fullmatch(name))}
    if not found:
        raise annotations.not_there(path, INFO, "no file named [age]_[gender]_[race]_[date and time].jpg in it")
    odd = [name for name in names if name not in found]
    if len(odd) > len(names) // 100 + 3:
        raise InputError(f"{root}: {len(odd)} of {len(names)} names are not those of UTKFace, first {odd[0]}")
    if odd:
        say(f"note: {root}: {len(odd)} names lack an age, a gender or a race, and are left out (first {odd[0]})")
    columns = {
        "age": [match["age"] for match in found.values()],
        "gender": [GENDERS[int(match["gender"])] for match in found.values()],
        "race": [RACES[int(match["race"])] for match in found.values()],
    }
    return table.from_rows(INFO.key, [root / name for name in found], columns, None, root)
