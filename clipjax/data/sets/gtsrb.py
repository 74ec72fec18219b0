"""German Traffic Sign Recognition Benchmark: PPM images with csv files of class numbers."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source
from clipjax.errors import require

INFO = Info(
    name="GTSRB",
    key="gtsrb",
    task="classification",
    metric="top1",
    split="official test",
    n=12630,
    model_card=False,
    obtain="GTSRB_Final_Test_Images.zip, GTSRB_Final_Test_GT.zip and GTSRB-Training_fixed.zip (or "
    "GTSRB_Final_Training_Images.zip) from https://benchmark.ini.rub.de/ (free use, cite the paper).",
    layout="""
GTSRB/
  Final_Test/Images/00000.ppm  GT-final_test.csv     Filename;Width;...;ClassId
  Training/00000/00000_00000.ppm  Training/00000/GT-00000.csv         (competition, 26,640)
  Final_Training/Images/00000/...                                     (final, 39,209)
""",
    reading='protocol="paper": training images of the 2011 competition (26,640) with the official test '
    '(12,630), as the authors confirm they mixed them (openai/CLIP#156); protocol="official": the final '
    "training set (39,209). The test is the same in both.",
)
SPLITS = ("train", "test")
TRAINING = {"paper": "Training", "official": "Final_Training/Images"}


def open_source(path: str | os.PathLike, split: str | None = None, protocol: str = "paper") -> Source:
    """GTSRB from its own folder, under one of two readings of the training set."""
    split = annotations.choose_split(split, SPLITS, INFO)
    require(protocol, TRAINING, INFO.name, "protocol")
    if split == "test":
        root = annotations.find_root(path, INFO, "Final_Test/Images", "GTSRB")
        where = annotations.find_root(root, INFO, "GT-final_test.csv", "Final_Test", "Final_Test/Images")
        folders = [("Final_Test/Images", where / "GT-final_test.csv")]
    else:
        below = TRAINING[protocol]
        root = annotations.find_root(path, INFO, f"{below}/00000", "GTSRB")
        names = sorted(entry.name for entry in (root / below).iterdir() if entry.is_dir())
        folders = [(f"{below}/{name}", root / below / name / f"GT-{name}.csv") for name in names]
    files, own = [], []
    for folder, listing in folders:
        for row in annotations.read_rows(listing, ("Filename", "ClassId"), ";"):
            files.append(f"{folder}/{row['Filename']}")
            own.append(row["ClassId"].zfill(5))
    return annotations.from_files(INFO, root, files, own, root)
