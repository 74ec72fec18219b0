"""Images per second and core: JPEG files decoded, resized and cropped, and prepared images, beside a DataLoader.

    python benchmarks/decode.py

Per size of photograph: `clipjax.data.pipeline.batches` (uint8 [B, 224, 224, 3] in batches of 64) on one thread and on
two, beside torch's DataLoader over open_clip's own transform (float32, normalised) in the process itself and in two
workers. Then the same images after `clipjax prepare`. `extra.cpu_ms` is processor time per image on one thread,
which does not depend on the load of the machine: cores needed per chip = images/s of the chip x cpu_ms / 1000.

The photographs are crops of the embedded ones, side by side at their own resolution, as JPEG of quality 90: 500 x 375
is ImageNet's median, the others are typical of cameras and the web.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import side_by_side

THREADS = side_by_side.threads()

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

import clipjax  # noqa: E402
from clipjax import image  # noqa: E402
from clipjax.data import pipeline, prepared  # noqa: E402
from clipjax.data.kinds import folder  # noqa: E402
from clipjax.data.source import Source  # noqa: E402
from clipjax.models.catalog import OPENAI_MEAN, OPENAI_STD  # noqa: E402

SPEC = image.Preprocess(224, OPENAI_MEAN, OPENAI_STD)
BATCH = 64
SIZES = (((500, 375), 128), ((1280, 960), 32), ((2304, 1728), 12))


def photographs(out: Path, n: int, size: tuple[int, int], seed: int = 0) -> Path:
    """Writes n JPEG files of `size`: patches of the embedded photographs, each at its own resolution."""
    files = sorted((Path(clipjax.__file__).parent / "assets" / "photographs").iterdir())
    pool = [image.open_image(file).convert("RGB") for file in files if file.suffix.lower() in image.SUFFIXES]
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        whole = Image.new("RGB", size)
        for x in range(0, size[0], 160):
            for y in range(0, size[1], 160):
                one = pool[int(rng.integers(len(pool)))]
                left, top = (int(rng.integers(max(1, side - 160))) for side in one.size)
                whole.paste(one.crop((left, top, left + 160, top + 160)), (x, y))
        whole.save(out / f"{i:04}.jpg", quality=90)
    return out


def ours(source: Source, threads: int) -> Callable[[], None]:
    """One pass of the feed."""

    def call() -> None:
        seen = sum(len(b.rows) for b in pipeline.batches(source, range(len(source)), SPEC, BATCH, threads, np.uint8))
        assert seen == len(source)

    return call


class Files:
    """A map-style data set as open_clip scripts write it."""

    def __init__(self, files: list[Path], transform: Any):
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        return self.transform(Image.open(self.files[i]))


def peer(files: list[Path], workers: int) -> Callable[[], None]:
    """One pass of a DataLoader; its workers stay between calls."""
    import torch
    from open_clip.transform import image_transform
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)  # what its workers have; in the process itself two would wait for each other
    transform = image_transform(224, is_train=False, mean=OPENAI_MEAN, std=OPENAI_STD)
    loader = DataLoader(Files(files, transform), BATCH, num_workers=workers, persistent_workers=workers > 0)

    def call() -> None:
        assert sum(len(batch) for batch in loader) == len(files)

    return call


def cpu_ms(call: Callable[[], None], n: int) -> float:
    """Processor milliseconds per image, the least of three passes."""
    found = []
    for _ in range(3):
        start = time.process_time()
        call()
        found.append((time.process_time() - start) / n * 1e3)
    return min(found)


def measure(args: argparse.Namespace) -> Iterator[side_by_side.Row]:
    with tempfile.TemporaryDirectory() as scratch:
        for size, n in SIZES:
            name = f"{size[0]}x{size[1]}"
            files = sorted(photographs(Path(scratch) / name, n, size).iterdir())
            source = folder.open_folder(Path(scratch) / name)
            kilobytes = sum(f.stat().st_size for f in files) / n / 1e3
            for threads in (1, 2):
                workers = 0 if threads == 1 else threads
                calls = {
                    side_by_side.OURS: ours(source, threads),
                    f"DataLoader, {workers} workers": peer(files, workers),
                }
                seconds = side_by_side.interleave(calls, args.rounds)
                extra = {"kilobytes": kilobytes}
                if threads == 1:
                    extra |= {"cpu_ms": cpu_ms(calls[side_by_side.OURS], n)}
                    extra |= {"peer_cpu_ms": cpu_ms(calls["DataLoader, 0 workers"], n)}
                yield side_by_side.Row("decode", f"JPEG {name}, {threads} threads", seconds, n, "images", extra=extra)
        # pyrefly: ignore[unbound-name] SIZES is not empty
        yield from prepared_rows(args, source, Path(scratch), 1024)


def prepared_rows(args: argparse.Namespace, source: Source, scratch: Path, n: int) -> Iterator[side_by_side.Row]:
    """Prepared images: the speed of reading does not depend on the originals; rows are repeated for a steady time."""
    prepared.write(source, SPEC.image_size, scratch / "prepared")
    ready = prepared.open_prepared(scratch / "prepared").source
    rows = np.arange(n) % len(ready)
    for threads in (1, 2):

        def call(threads: int = threads) -> None:
            assert sum(len(b.rows) for b in pipeline.batches(ready, rows, SPEC, BATCH, threads, np.uint8)) == n

        seconds = side_by_side.interleave({side_by_side.OURS: call}, args.rounds)
        extra = {"cpu_ms": cpu_ms(call, n)} if threads == 1 else {}
        yield side_by_side.Row("decode", f"prepared, {threads} threads", seconds, n, "images", extra=extra)


if __name__ == "__main__":
    side_by_side.main(__doc__, measure)
