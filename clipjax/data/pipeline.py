"""Rows of a source, decoded in threads while the device computes, in order and in equal batches."""

import contextlib
import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from clipjax import image
from clipjax.data.source import Source
from clipjax.errors import InputError

T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What became of the next rows: those with pixels, and those without and why.

    rows: int64 [b], rows of the source, in the order asked for.
    pixels: [b, S, S, 3], float32 normalised or uint8 as cropped; of `prepared`, what `stack` makes of b images.
    skipped: (row, file, reason) of every image that is missing or damaged; b + len(skipped) rows were worked on.
    """

    rows: np.ndarray
    pixels: Any
    skipped: list[tuple[int, str, str]]


def batches(
    source: Source,
    rows: Sequence[int] | np.ndarray,
    spec: image.Preprocess,
    batch_size: int,
    threads: int | None = None,
    dtype: type[np.floating] | type[np.integer] = np.float32,
) -> Iterator[Batch]:
    """`prepared` with the pixels of a model of ours: [b, S, S, 3].

    uint8 (`image.normalise` turns it into the float32 form) is a quarter of the memory, and of the way to the device,
    and a fifth of the work on a small photograph less.
    """
    assert dtype in (np.float32, np.uint8), dtype
    source.check_size(spec)

    def pixels(row: int) -> np.ndarray:
        crop = source.crop(row, spec)
        return crop if dtype is np.uint8 else image.normalise(crop, spec)

    def stack(crops: list[np.ndarray]) -> np.ndarray:
        return np.stack(crops) if crops else np.empty((0, spec.image_size, spec.image_size, 3), dtype)

    return prepared(source, rows, pixels, stack, batch_size, threads)


def prepared(
    source: Source,
    rows: Sequence[int] | np.ndarray,
    prepare: Callable[[int], Any],
    stack: Callable[[list[Any]], Any],
    batch_size: int,
    threads: int | None = None,
) -> Iterator[Batch]:
    """Yields ceil(len(rows) / batch_size) batches; batch k stands for rows[k * batch_size : (k + 1) * batch_size].

    `rows` is where several processes share the work and where a resumed run goes on. An image that cannot be read
    leaves a gap, which never moves the later batches; how many gaps are too many is the caller's decision. While the
    caller works on one batch, `threads` (None: one per usable processor) decode the next: little more than two batches
    are in memory.

    prepare: a row -> the image as its model takes it, called in threads; an InputError is the reason of a gap.
    stack: those of one batch -> `Batch.pixels`.
    """
    rows = np.asarray(rows, np.int64)
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} is not positive")
    assert not len(rows) or (rows.min() >= 0 and rows.max() < len(source)), (source.name, rows.min(), rows.max())
    return _prepared(source, rows, prepare, stack, batch_size, threads or image.usable_processors())


def _prepared(
    source: Source,
    rows: np.ndarray,
    prepare: Callable[[int], Any],
    stack: Callable[[list[Any]], Any],
    batch_size: int,
    threads: int,
) -> Iterator[Batch]:
    if not len(rows):
        return

    def work(part: list[int]) -> list[Any]:
        return [_prepare(prepare, row) for row in part]

    # Several rows at a time where batches are large: what a pool costs per piece of work (0.1 ms) is paid by the one
    # thread that collects, and would bound a host of many cores. Four pieces a thread keep all of them busy.
    piece = max(1, batch_size // (4 * threads))
    pieces = [rows[i : i + piece].tolist() for i in range(0, len(rows), piece)]
    feed = _in_advance(work, pieces, threads, -(-batch_size // piece) + 2 * threads)
    results = itertools.chain.from_iterable(feed)
    with contextlib.closing(feed):
        for start in range(0, len(rows), batch_size):
            yield _collect(source, rows[start : start + batch_size], results, stack)


def _in_advance(work: Callable[[T], R], parts: Iterable[T], threads: int, most: int) -> Generator[R]:
    """`work` of each part, in order, by threads: Pillow releases the interpreter lock. At most `most` are begun before
    their turn. (grain has this too, and importing grain with its checkpoints takes longer than decoding 200 images.)"""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    begun: deque[Future[R]] = deque()
    try:
        for part in parts:
            begun.append(pool.submit(work, part))
            if len(begun) == most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare(prepare: Callable[[int], Any], row: int) -> Any:
    """A row as its model takes it, or why there is nothing, as a text."""
    try:
        return prepare(row)
    except InputError as error:
        return str(error)


def _collect(source: Source, rows: np.ndarray, results: Iterator[Any], stack: Callable[[list[Any]], Any]) -> Batch:
    kept: list[int] = []
    made: list[Any] = []
    skipped: list[tuple[int, str, str]] = []
    for row in rows.tolist():
        result = next(results)
        if isinstance(result, str):
            skipped.append((row, source.files[row], result))
        else:
            kept.append(row)
            made.append(result)
    return Batch(np.asarray(kept, np.int64), stack(made), skipped)
