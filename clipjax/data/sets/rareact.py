"""RareAct: unusual actions ("cut keyboard") in segments of YouTube videos, with hard negatives."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from clipjax.data import annotations, source, video
from clipjax.data.info import Info
from clipjax.data.source import Source
from clipjax.errors import InputError, converted, require

INFO = Info(
    name="RareAct",
    key="rareact",
    task="video",
    metric="mwap",
    split="all",
    n=7607,
    obtain="rareact.csv and the zip of 905 videos from https://github.com/antoine77340/RareAct (videos under their "
    "owners' terms).",
    layout="""
rareact/
  rareact.csv             id,video_id,start,end,class_id,verb,noun,annotation
  videos/7frRY7aGwMU.mp4  (or beside the csv)
""",
    reading="One row per line of the csv, in its order, as compute_score.py wants its 7,607 x 149 scores; some lines "
    'are equal and stay. "label" is class_id, "annotation" 1 positive, 2 to 4 hard negative (verb right, noun right, '
    'verb not applied to the noun), 0 negative; "verb" and "noun" are columns, the class name is both. The paper names '
    'neither prompts nor frames: protocol="middle" is the frame in the middle of the segment, "seconds" one frame per '
    'second of it, to be averaged over "video".',
)
SPLITS = ("all",)
PROTOCOLS = ("middle", "seconds")
# Segments are cut in tens of seconds: the last one of a video may end after it, its middle by up to half of that.
_SLACK = 5.0
_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")


def open_source(path: str | os.PathLike, split: str | None = None, protocol: str = "middle") -> Source:
    """RareAct's segments by their middle frame, or by one frame per second."""
    annotations.choose_split(split, SPLITS, INFO, default="all")
    require(protocol, PROTOCOLS, INFO.name, "protocol")
    listing = annotations.find_root(path, INFO, "rareact.csv", "rareact") / "rareact.csv"
    rows, classes = read_table(listing)
    folder = listing.parent / "videos" if (listing.parent / "videos").is_dir() else listing.parent
    clips = _clips(folder, [row["video_id"] for row in rows])
    segments = [f"{row['id']:05d}:{row['video_id']}:{row['start']}-{row['end']}" for row in rows]
    places = [(i, second) for i, row in enumerate(rows) for second in _seconds(row["start"], row["end"], protocol)]
    named = [segments[i] if protocol == "middle" else f"{segments[i]}#{second:g}" for i, second in places]
    columns = {key: [rows[i][key] for i, _ in places] for key in ("annotation", "verb", "noun")}
    table = {
        "file": named,
        "video": [segments[i] for i, _ in places],
        "youtube_id": [rows[i]["video_id"] for i, _ in places],
        "label": [rows[i]["class_id"] for i, _ in places],
        **columns,
    }
    return source.of_columns(
        INFO.key,
        table,
        classes,
        lambda row: frame_at(clips[places[row][0]], places[row][1]),
        contents=video.frame_contents([clips[i] for i, _ in places], [f"{second:g}" for _, second in places]),
    )


def read_table(listing: Path) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """rareact.csv -> its rows with numbers as int, and the class names "verb noun" by class_id."""
    keys = ("id", "video_id", "start", "end", "class_id", "verb", "noun", "annotation")
    rows: list[dict[str, Any]] = []
    names: dict[int, str] = {}
    for line, record in enumerate(annotations.read_rows(listing, keys), 2):
        row: dict[str, Any] = dict(record)
        with converted(f"{listing} line {line} has a text for a number", "fetch the csv again", ValueError):
            row.update({key: int(record[key]) for key in ("id", "start", "end", "class_id", "annotation")})
        if not 0 <= row["annotation"] <= 4 or row["end"] <= row["start"]:
            raise InputError(
                f"{listing} line {line}: annotation {row['annotation']} from {row['start']} to {row['end']} s is none; "
                "annotations are 0 to 4, segments end after they start"
            )
        name = f"{row['verb']} {row['noun']}"
        if names.setdefault(row["class_id"], name) != name:
            raise InputError(
                f'{listing} line {line}: class {row["class_id"]} is "{names[row["class_id"]]}" and "{name}"'
            )
        rows.append(row)
    if not rows or sorted(names) != list(range(len(names))):
        raise InputError(f"{listing} has {len(names)} classes, not numbered from 0 without gaps; fetch the csv again")
    return rows, tuple(names[i] for i in range(len(names)))


def frame_at(clip: Path, second: float) -> Image.Image:
    """The frame shown at that time of a clip. InputError where the clip is missing, shorter, or damaged."""
    damage = f"{clip} cannot be read at {second:g} s"
    with video.opened(os.fspath(clip)) as container, video.decoding(damage, "fetch or copy it again"):
        stream = container.streams.video[0]
        begin = stream.start_time or 0
        assert stream.time_base is not None, clip  # every decodable stream has one
        container.seek(begin + int(second / stream.time_base), stream=stream)  # to the key frame before it
        wanted = second + float(begin * stream.time_base)
        shown = None
        for frame in container.decode(stream):
            if shown is not None and frame.time > wanted:
                break
            shown = frame
        if shown is None or wanted > shown.time + _SLACK:
            raise InputError(f"{clip} has no frame at {second:g} s: shorter than its annotation says")
        return shown.to_image()


def _seconds(start: int, end: int, protocol: str) -> list[float]:
    return [(start + end) / 2] if protocol == "middle" else [second + 0.5 for second in range(start, end)]


def _clips(folder: Path, ids: Sequence[str]) -> list[Path]:
    clips: dict[str, Path] = {}
    for name in dict.fromkeys(ids):
        forms = [folder / f"{name}{suffix}" for suffix in _SUFFIXES]
        clips[name] = next((form for form in forms if form.exists()), forms[0])
    if not any(clip.exists() for clip in clips.values()):
        missing = next(iter(clips.values())).name
        raise InputError(f"{folder} holds none of the {len(clips)} videos, the first is {missing}; unpack the zip")
    return [clips[name] for name in ids]
