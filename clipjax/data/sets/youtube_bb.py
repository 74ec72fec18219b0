"""YTBB-Robust: anchors of YouTube-BoundingBoxes videos and the frames around them that people found similar."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from clipjax.data import annotations
from clipjax.data.info import Info, design, name_key, own_names
from clipjax.data.sets import _frames, _json
from clipjax.data.source import Source
from clipjax.errors import InputError, converted

INFO = Info(
    name="Youtube-BB",
    key="youtube_bb",
    task="robustness",
    metric="pm_k",
    split="test",
    n=2530,
    obtain="frames of ytbb-robust and its annotations (src/eval_settings/ytbb-robust_metadata) by "
    "https://github.com/modestyachts/imagenet-testbed (videos from YouTube under their owners' terms).",
    layout="""
ytbb-robust/
  ytbb_videos/<video>_<anchor ms>/frame-732.jpg      (or the clip folders right here)
  ytbb-robust_metadata/anchor_labels.json            {"labels": [names], "annotations": [{"key", "labels"}]}
  ytbb-robust_metadata/pmk_labels.json               the same, keys "anchor frame,other frame"
  ytbb-robust_metadata/ytbb_robustness_test_anchors_full.csv      ytid,time_ms,label
""",
    reading="n counts anchors. As in imagenet-testbed: anchors reviewed as good and not as bad, unsure or bad-anchor; "
    "of their frames within 10 (15 per second) those reviewed as similar and without any objection; an anchor's labels "
    "are the original one and those the reviewers added, and hold for all its frames. The classifier is built from the "
    'class names as the paper describes; the slot "none" is not a class and is left out, as the '
    "testbed leaves it out. Prompts were never published.",
)
SPLITS = ("test",)
REACH = 10
_OBJECTIONS = frozenset(
    "dissimilar; problematic; incorrect; dont know; deformation; background-change; occlusion-increased; "
    "blur-increase; bad-anchor".split("; ")
)
# The csv numbers its last two classes the other way round than YouTube-BB itself: 22 is car, 23 is none.
_SWAPPED = {22: 23, 23: 22}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """YTBB-Robust's frames with "labels" and "anchor"."""
    annotations.choose_split(split, SPLITS, INFO)
    places = ("ytbb-robust_metadata", "metadata", "ytbb-robust/ytbb-robust_metadata")
    metadata = annotations.find_root(path, INFO, "anchor_labels.json", *places)
    root = metadata.parent if metadata.name in ("ytbb-robust_metadata", "metadata") else metadata
    root = next((root / name for name in ("ytbb_videos", "val") if (root / name).is_dir()), root)
    own = own_names(INFO.key)
    classes = [name for name in design(INFO.key).names if name_key(name) != "none"]
    index = {name_key(name): i for i, name in enumerate(classes)}
    listing = metadata / "anchor_labels.json"
    reviewed = _reviews(listing)
    similar, bad = similar_frames(metadata / "pmk_labels.json")
    original = original_labels(metadata / "ytbb_robustness_test_anchors_full.csv", own)
    sets, labels = {}, {}
    for anchor, names in reviewed.items():
        if "good" not in names or names & {"bad", "unsure"} or anchor in bad:
            continue
        folder = anchor.split("/")[0]
        if folder not in original:
            raise InputError(
                f"{listing}: {anchor} is not in ytbb_robustness_test_anchors_full.csv; take both as published"
            )
        shown = {index[name_key(name)] for name in (*names, original[folder]) if name_key(name) in index}
        sets[anchor] = sorted(similar.get(anchor, ()), key=frame_number)
        labels.update(dict.fromkeys((anchor, *sets[anchor]), shown))
    if not sets:
        raise InputError(f"{listing} has no anchor reviewed as good; take the file as published")
    return _frames.of_sets(INFO.key, root, sets, labels, classes, listing)


def original_labels(path: Path, own: Iterable[str]) -> dict[str, str]:
    """ "<video>_<ms>" -> YouTube-BB's class name."""
    own, names = list(own), {}
    for line, row in enumerate(annotations.read_rows(path, ("ytid", "time_ms", "label")), 2):
        problem = f"{path} line {line}: label {row['label']!r} is not a class number"
        with converted(problem, "take the file as published", ValueError, IndexError):
            number = int(row["label"])
            names[f"{row['ytid']}_{row['time_ms']}"] = own[_SWAPPED.get(number, number)]
    return names


def similar_frames(path: Path) -> tuple[dict[str, set[str]], set[str]]:
    """Anchor -> frames within `REACH` that were found similar without objection; and the anchors found bad."""
    reviews = _reviews(path, pairs=True)
    bad = {key.split(",")[0] for key, names in reviews.items() if "bad-anchor" in names}
    similar: dict[str, set[str]] = {}
    for key, names in reviews.items():
        anchor, frame = key.split(",")
        near = 0 < abs(frame_number(frame) - frame_number(anchor)) <= REACH
        if near and "similar" in names and not names & _OBJECTIONS:
            similar.setdefault(anchor, set()).add(frame)
    return similar, bad


def frame_number(file: str) -> int:
    """ "AbC_24400/frame-732.jpg" -> 732."""
    digits = PurePosixPath(file).stem.rpartition("-")[2]
    if not digits.isdigit():
        raise InputError(f"{file} is not called frame-<number>.jpg; take the annotations as published")
    return int(digits)


def _reviews(path: Path, pairs: bool = False) -> dict[str, set[str]]:
    """Key ("folder/frame", or two of them) -> the names of the labels given; a later review replaces an earlier one."""
    content = _json.read(path)
    names: list[Any] = _json.member(content, "labels", path)
    reviews = {}
    for key, given in _json.members(_json.member(content, "annotations", path), ("key", "labels"), path):
        frames = str(key).split(",")
        if len(frames) != 1 + pairs:
            raise InputError(f"{path}: key {key!r} names {len(frames)} frames, expected {1 + pairs}")
        problem = f"{path}: {key} has labels {given}, of {len(names)} names"
        with converted(problem, "fetch it again", IndexError, TypeError):
            reviews[",".join("/".join(PurePosixPath(f).parts[-2:]) for f in frames)] = {str(names[i]) for i in given}
    return reviews
