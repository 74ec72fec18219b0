"""Rows of a source, decoded in threads while the device computes, in order and in equal batches."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from clipjax import image
from clipjax.data.source import Source
from clipjax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What became of the next rows: those with pixels, and those without and why.

    rows: int64 [b], rows of the source, in the order asked for.
    pixels: [b, S, S, 3], float32 normalised or uint8 as cropped.
    skipped: (row, file, reason) of every image that is missing or damaged; b + len(skipped) rows were worked on.
    """

    rows: np.ndarray
    pixels: np.ndarray
    skipped: list[tuple[int, str, str]]


def batches(
    source: Source,
    rows: Sequence[int] | np.ndarray,
    spec: image.Preprocess,
    batch_size: int,
    threads: int | None = None,
    dtype: type[np.floating] | type[np.integer] = np.float32,
) -> Iterator[Batch]:
    """Yields ceil(len(rows) / batch_size) batches; batch k stands for rows[k * batch_size : (k + 1) * batch_size].

    `rows` is where several processes share the work (rows[process::count]) and where a resumed run goes on. A
    image that cannot be read leaves a gap, which never moves the later batches; how many gaps are too many is the
    caller's decision. While the caller works on one batch, `threads` (None: one per usable processor) decode the
    next: little more than two batches are in memory. uint8 (`image.normalise` turns it into the float32 form) is a
    quarter of that, and of the way to the device, and a fifth of the work on a small photograph less.
    """
    rows = np.asarray(rows, np.int64)
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} is not positive")
    assert dtype in (np.float32, np.uint8), dtype
    assert not len(rows) or (rows.min() >= 0 and rows.max() < len(source)), (source.name, rows.min(), rows.max())
    source.check_size(spec)
    return _batches(source, rows, spec, batch_size, threads or image.usable_processors(), dtype)


def _batches(
    source: Source, rows: np.ndarray, spec: image.Preprocess, batch_size: int, threads: int, dtype: type
) -> Iterator[Batch]:
    if not len(rows):
        return
    import grain  # it imports jax, which reading a table does not need

    def work(part: list[int]) -> list[np.ndarray | str]:
        return [_pixels(source, row, spec, dtype) for row in part]

    # Several rows at a time where batches are large: what a pool costs per piece of work (0.1 ms) is paid by the one
    # thread that collects, and would bound a host of many cores. Four pieces a thread keep all of them busy.
    piece = max(1, batch_size // (4 * threads))
    pieces = [rows[i : i + piece].tolist() for i in range(0, len(rows), piece)]
    # Threads, not grain's processes: Pillow releases the interpreter lock, and its processes need parsed absl flags.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=-(-batch_size // piece) + 2 * threads)
    feed = iter(grain.MapDataset.source(pieces).map(work).to_iter_dataset(options))
    results = itertools.chain.from_iterable(feed)
    try:
        for start in range(0, len(rows), batch_size):
            yield _collect(source, rows[start : start + batch_size], results, spec.image_size, dtype)
    finally:
        feed.close()


def _pixels(source: Source, row: int, spec: image.Preprocess, dtype: type) -> np.ndarray | str:
    """A row's pixels, or why there are none."""
    try:
        crop = source.crop(row, spec)
    except InputError as error:
        return str(error)
    return crop if dtype is np.uint8 else image.normalise(crop, spec)


def _collect(source: Source, rows: np.ndarray, results: Iterator[np.ndarray | str], size: int, dtype: type) -> Batch:
    pixels = np.empty((len(rows), size, size, 3), dtype)
    kept: list[int] = []
    skipped: list[tuple[int, str, str]] = []
    for row in rows.tolist():
        result = next(results)
        if isinstance(result, str):
            skipped.append((row, source.files[row], result))
        else:
            pixels[len(kept)] = result
            kept.append(row)
    return Batch(np.asarray(kept, np.int64), pixels[: len(kept)], skipped)
