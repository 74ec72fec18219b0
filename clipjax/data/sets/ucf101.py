"""UCF101: short clips of 101 actions, three official train/test splits."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from clipjax.data import annotations, video
from clipjax.data.info import Info, design
from clipjax.data.sets import _tfds
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="UCF101",
    key="ucf101",
    task="video",
    metric="top1",
    split="test",
    n=11213,
    tfds="ucf101",
    obtain="UCF101.rar and UCF101TrainTestSplits-RecognitionTask.zip from https://www.crcv.ucf.edu/data/UCF101.php "
    "(clips from YouTube, research use).",
    layout="""
ucf101/
  UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi
  ucfTrainTestlist/testlist01.txt   testlist02.txt   testlist03.txt   ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi
  ucfTrainTestlist/trainlist01.txt  ...                                the same, and a class number
""",
    reading="The result is the mean of the three official test splits: 3,783 + 3,734 + 3,696 clips, no clip in two of "
    'them, so that one pass serves all and the column "split" (test1, test2, test3) tells them apart. Table 9\'s 1,794 '
    'is an error of its script (openai/CLIP#45). protocol="middle" is Table 11 (76.9), "all" is Table 15\'s mean over '
    "all frames (80.3). Class names are the folder names split into words.",
)
SPLITS = ("test", "test1", "test2", "test3", "train1", "train2", "train3")
# The archive has both spellings, and releases of the lists differ in which one they use where.
_SPELLINGS = ("HandstandPushups", "HandStandPushups")


def open_source(path: str | os.PathLike, split: str | None = None, protocol: str = "middle") -> Source:
    """UCF101's clips by their middle frames or by all frames; "test" is the three test splits together."""
    split = annotations.choose_split(split, SPLITS, INFO)
    if where := _tfds.folder(INFO, path):
        raise InputError(
            f"{where} is UCF101 as TFDS prepares it, frames encoded anew; give the folder with the clips, UCF-101/"
        )
    lists = annotations.find_root(path, INFO, "testlist01.txt", "ucfTrainTestlist")
    root = lists.parent if lists.name == "ucfTrainTestlist" else lists
    clips = next((root / name for name in ("UCF-101", "UCF101") if (root / name).is_dir()), root)
    names: list[str] = []
    splits: list[str] = []
    for part in ("test1", "test2", "test3") if split == "test" else (split,):
        listed = [fields[0] for fields in annotations.read_fields(lists / f"{part[:-1]}list0{part[-1]}.txt", 1)]
        names += listed
        splits += [part] * len(listed)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{lists}: {twice[0]} is in the test lists twice; take the published lists")
    where = lists / "classInd.txt"
    label = annotations.labels_of([name.split("/")[0] for name in names], INFO.key, where if where.exists() else lists)
    files = [_clip(clips, name) for name in names]
    if not any(file.exists() for file in files):
        raise InputError(f"{clips} holds none of the {len(files)} clips, the first is {names[0]}; unpack UCF101.rar")
    columns: dict[str, Any] = {"label": label, "split": splits}
    return video.of_clips(INFO.key, files, columns, design(INFO.key).names, protocol)


def _clip(clips: Path, name: str) -> Path:
    folder, _, file = name.partition("/")
    if folder not in _SPELLINGS:
        return clips / name
    rest = file.removeprefix("v_")[len(folder) :]  # the two spellings are equally long
    forms = [clips / below / f"v_{called}{rest}" for below in _SPELLINGS for called in _SPELLINGS]
    return next((form for form in (clips / name, *forms) if form.exists()), clips / name)
