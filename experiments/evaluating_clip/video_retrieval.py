"""Retrieval of clips by text, and of texts by clip: the middle frame against the mean over frames.

    python experiments/evaluating_clip/video_retrieval.py --csv=clips.csv --model=ViT-B/32 --out=runs/videos
    python experiments/evaluating_clip/video_retrieval.py --make=clips --csv=drawings.csv --out=runs/videos

The table has the columns `file` (clips, relative to the table) and `caption`; a file may have several rows. Needs PyAV
(the extra [video]). A clip's features are those of its middle frame, or the mean of the unit-length features of
--frames frames at equal distances. Recall at 1, 5 and 10 as for images (`clipjax probe retrieval`), paired at 1.

--make=FOLDER first makes a clip of each image of the table (columns file and caption): the image enters from the left,
stands still in the middle third, and leaves to the right, so that the middle frame shows it best.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import clipjax
from clipjax.analysis import figures, tables, units
from clipjax.analysis.paired import paired_rates
from clipjax.analysis.records import Record
from clipjax.data import tables as read_tables
from clipjax.data import video
from clipjax.errors import InputError
from clipjax.probes import retrieval
from clipjax.probes.zeroshot import normalise
from clipjax.progress import Progress

SIZE, LENGTH, RATE = 128, 24, 12  # pixels, frames and frames per second of a clip that is made
WAYS = {"middle": "middle frame", "mean": "mean over frames"}


def read(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Clips in the order of the table, captions, and whose caption each is int [M]."""
    columns = read_tables.read(path, ["file", "caption"])
    files, captions = (columns[name].values.tolist() for name in ("file", "caption"))
    clips = list(dict.fromkeys(files))
    place = {name: i for i, name in enumerate(clips)}
    return clips, captions, np.array([place[name] for name in files], np.int64)


def make(images: Path, folder: Path) -> Path:
    """A clip of every image of the table, and the table of the clips, which is returned."""
    av = video.require_av()
    clips, captions, owner = read(images)
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(clips):
        shown = clipjax.open_image(images.parent / name).convert("RGBA").resize((SIZE, SIZE))
        with av.open(str(folder / f"{i:04}.mp4"), "w") as out:
            stream = out.add_stream("mpeg4", rate=RATE)
            stream.width = stream.height = SIZE
            stream.pix_fmt, stream.bit_rate = "yuv420p", 1_000_000
            for f in range(LENGTH):
                third = LENGTH / 3
                x = (f - third) / third if f < third else max(0.0, (f - 2 * third + 1) / third)
                frame = Image.new("RGB", (SIZE, SIZE), "white")
                frame.paste(shown, (round(x * SIZE), 0), shown)
                out.mux(stream.encode(av.VideoFrame.from_image(frame)))
            out.mux(stream.encode())
    listing = folder / "clips.csv"
    rows = [("file", "caption"), *((f"{owner[m]:04}.mp4", caption) for m, caption in enumerate(captions))]
    listing.write_text(tables.csv_text(rows), encoding="utf-8")
    return listing


def spread(n: int, frames: int) -> np.ndarray:
    """Frames of a clip of n, at equal distances: the middles of `frames` equal parts."""
    return np.unique(((np.arange(frames) + 0.5) * n / frames).astype(int))


def of_clips(features: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Features of frames [F, E] and whose they are int [F] -> the mean direction of each clip [N, E]."""
    sums = np.zeros((clip.max() + 1, features.shape[1]), np.float64)
    np.add.at(sums, clip, normalise(features))
    return (sums / np.bincount(clip)[:, None]).astype(np.float32)


def encoded(model, source, rows: Sequence[int], batch: int = 32) -> np.ndarray:
    """Raw features [F, E] of rows of the source of frames."""
    parts = []
    with Progress("frames", len(rows), "frames") as bar:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            parts.append(model.features_of_images([source.image(row) for row in part]))
            bar.update(len(part))
    return np.concatenate(parts)


def main(given: argparse.Namespace) -> dict[str, list[Record]]:
    """Tables and a figure in `out`; the records by way."""
    listing = make(given.csv, given.make) if given.make else given.csv
    clips, captions, owner = read(listing)
    model = clipjax.load(given.model)
    source = video.of_clips(listing.name, [listing.parent / name for name in clips], {}, protocol="all")
    of = source.protocol["video"]  # frames of a clip follow each other
    starts = np.flatnonzero(np.append(True, of[1:] != of[:-1]))
    counts = np.diff(np.append(starts, len(of)))
    chosen = [start + spread(n, given.frames) for start, n in zip(starts, counts, strict=True)]
    of_clip = np.repeat(np.arange(len(clips)), [len(one) for one in chosen])
    images = {
        "middle": encoded(model, source, (starts + counts // 2).tolist()),
        "mean": of_clips(encoded(model, source, np.concatenate(chosen).tolist()), of_clip),
    }
    texts = model.features_of_texts([given.prefix + caption for caption in captions], truncate=True)
    ks = [k for k in (1, 5, 10) if k <= min(len(clips), len(captions))]
    found = {way: retrieval.recalls(features, texts, owner, ks) for way, features in images.items()}
    write(found, images, texts, owner, given)
    return found


def write(
    found: dict[str, list[Record]], images: dict[str, np.ndarray], texts: np.ndarray, owner: np.ndarray,
    given: argparse.Namespace,
) -> None:  # fmt: skip
    """videos.csv, .md, .tex, .png and .svg."""
    rows = [(WAYS[way], r) for way, records in found.items() for r in records]
    body = [[way, r.metric, _direction(r), r.n, units.value(r), units.interval(r)] for way, r in rows]
    head = ["features", "metric", "direction", "n", "value", "95% interval"]
    data = [[*head[:-1], "low", "high"], *([w, r.metric, _direction(r), r.n, r.value, r.low, r.high] for w, r in rows)]
    ranks = [retrieval.ranks(normalise(images[way]), normalise(texts), owner)[1] == 0 for way in WAYS]
    pair = paired_rates(*ranks)
    note = (
        f"{given.frames} frames per clip. {pair.only_a} captions find their clip first by the middle frame alone, "
        f"{pair.only_b} by the mean alone (McNemar's exact test, p = {pair.p:.2g})."
    )
    title = f"Retrieval of {len(images['mean'])} clips, {given.model}"
    table = tables.Table("videos", title, head, body, note, data)
    table.write(given.out)
    print(table.markdown())
    shares = {way: [r for r in records if r.direction] for way, records in found.items()}
    series = [figures.Series.of(WAYS[way], records) for way, records in shares.items()]
    drawn = figures.rates_by_group([f"{r.metric}, {_direction(r)}" for r in shares["mean"]], series, "found")
    drawn.figure.axes[0].set_xlabel("found, percent of clips or captions")
    drawn.save(given.out, "videos")


def _direction(record: Record) -> str:
    return (record.direction or "").replace("_", " ").replace("image", "clip")


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="columns file and caption")
    parser.add_argument("--make", type=Path, metavar="FOLDER", help="make clips of the table's images first")
    parser.add_argument("--model", default="emoji-clip")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--prefix", default="a photo of ", help="before every caption")
    parser.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    try:
        main(arguments().parse_args())
    except InputError as error:
        raise SystemExit(f"{Path(__file__).name}: {error}") from None
