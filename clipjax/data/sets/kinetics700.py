"""Kinetics-700: ten-second clips from YouTube, listed in a csv; those that can still be fetched."""

import os
from pathlib import Path

from clipjax.data import annotations, video
from clipjax.data.info import Info, count
from clipjax.data.source import Source
from clipjax.errors import InputError, converted

INFO = Info(
    name="Kinetics700",
    key="kinetics700",
    task="video",
    metric="mean_top1_top5",
    split="val",
    n=31669,
    obtain="lists from https://deepmind.google/ (Kinetics, annotations CC BY 4.0), clips from YouTube under their "
    "owners' terms or from https://github.com/cvdfoundation/kinetics-dataset.",
    layout="""
kinetics700/
  val.csv  (or validate.csv, kinetics700_val.csv; also below annotations/)   label,youtube_id,time_start,time_end,split
  val/abseiling/0wR5jVB-WPk_000417_000427.mp4    or without class folders: val/0wR5jVB-WPk_000417_000427.mp4
""",
    reading='The metric is the mean of top-1 and top-5 (openai/CLIP#125). protocol="middle" is Table 11 (61.3), "all" '
    "is Table 15's mean over all frames (69.6). Clips vanish from YouTube: those on disk are the data set, and n, "
    "printed with every result, is their count (the paper found 31,669 of about 35,000). Class names are the csv's, "
    "sorted; the overlaps with CLIP's training data that the paper reports are mostly black frames (section 5).",
)
SPLITS = ("val", "train", "test")
_NAMES = {"val": ("val", "validate", "validation"), "train": ("train",), "test": ("test",)}
_SUFFIXES = (".mp4", ".mkv", ".webm")


def open_source(path: str | os.PathLike, split: str | None = None, protocol: str = "middle") -> Source:
    """The clips of a split that are on disk, by their middle frames or by all frames."""
    split = annotations.choose_split(split, SPLITS, INFO, default="val")
    root = annotations.find_root(path, INFO, "", "kinetics700")
    listing = next((file for file in _listings(root, split) if file.exists()), None)
    if listing is None:
        raise annotations.not_there(root, INFO, f"{split}.csv is missing")
    rows = list(annotations.read_rows(listing, ("label", "youtube_id", "time_start", "time_end")))
    classes = sorted({row["label"].strip() for row in rows})
    expected = count(INFO.key)
    folder = next((root / name for name in _NAMES[split] if (root / name).is_dir()), root)
    clips = [(clip, row["label"].strip()) for row in rows if (clip := _clip(folder, row, listing)) is not None]
    if not clips:
        raise InputError(
            f"{folder} holds none of the {len(rows)} clips of {listing.name}, the first is {_name(rows[0])}"
        )
    if len(classes) > expected:
        raise InputError(
            f"{listing} has {len(classes)} labels, {INFO.name} has {expected}: is it the csv of another set?"
        )
    index = {name: i for i, name in enumerate(classes)}
    label = [index[name] for _, name in clips]
    return video.of_clips(INFO.key, [clip for clip, _ in clips], {"label": label}, classes, protocol)


def _listings(root: Path, split: str) -> list[Path]:
    stems = [form for name in _NAMES[split] for form in (name, f"kinetics700_{name}", f"kinetics-700_{name}")]
    return [root / below / f"{stem}.csv" for stem in stems for below in ("", "annotations")]


def _name(row: dict[str, str]) -> str:
    return f"{row['youtube_id']}_{int(float(row['time_start'])):06d}_{int(float(row['time_end'])):06d}"


def _clip(folder: Path, row: dict[str, str], listing: Path) -> Path | None:
    with converted(f"{listing}: the times of {row['youtube_id']} are not numbers", "fetch the csv again", ValueError):
        name = _name(row)
    label = row["label"].strip()
    for below in (label, label.replace(" ", "_"), ""):
        for suffix in _SUFFIXES:
            if (file := folder / below / f"{name}{suffix}").exists():
                return file
    return None
