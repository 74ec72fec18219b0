"""Clips: their middle frame, or all their frames. Needs PyAV, the extra [video]."""

import contextlib
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from clipjax.data import source
from clipjax.data.contents import digests
from clipjax.data.source import Source
from clipjax.errors import InputError, converted, require

PROTOCOLS = ("middle", "all")
# Threads ask for the frames of a clip nearly in order: what one decodes on its way is kept for the others.
_WINDOW = 64
_COUNTING = 8  # clips whose frames are counted at once
_OPEN = 4  # clips open at once; the next clip is begun while the last is finished


def of_clips(
    name: str,
    clips: Sequence[str | os.PathLike],
    columns: Mapping[str, Sequence],
    classes: Sequence[str] | None = None,
    protocol: str = "middle",
) -> Source:
    """A source over frames. `columns` have one entry per clip, without "file" and "video", which are made here.

    "middle": one row per clip, called as the clip is; of n frames, frame n // 2, counting from 0 (CLIP paper,
    Table 11). "all": one row per frame, "clip.mp4#000012", with "video" the clip (Table 15 averages over it).
    Frames come as RGB. Frames are counted from the packets, without decoding. A clip that cannot be opened keeps one
    row, which fails when it is read. Raises InputError without PyAV, for no clips, or another protocol.
    """
    require_av()
    require(protocol, PROTOCOLS, name, "protocol")
    if not len(clips):
        raise InputError(f"{name} holds no clips; check the path and the split")
    paths = source.absolute(clips)
    root = source.common_folder(paths)
    names = [source.relative(path, root) for path in paths]
    if protocol == "middle":
        rows = [(clip, None) for clip in range(len(paths))]
        files = names
    else:
        with ThreadPoolExecutor(_COUNTING) as pool:
            counts = list(pool.map(_count, paths))
        rows = [(clip, frame) for clip, count in enumerate(counts) for frame in range(max(count, 1))]
        files = [f"{names[clip]}#{frame:06d}" for clip, frame in rows]
    assert all(len(values) == len(paths) for values in columns.values()), name
    table = {key: [values[clip] for clip, _ in rows] for key, values in columns.items()}
    reader = _Reader(paths)
    return source.of_columns(
        name,
        {"file": files, "video": [names[clip] for clip, _ in rows], **table},
        classes,
        lambda i: reader.frame(*rows[i]),
        contents=frame_contents([paths[clip] for clip, _ in rows], [str(frame) for _, frame in rows]),
    )


def frame_contents(clips: Sequence[str | os.PathLike], frames: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """Digests of frames (`Source.contents`): of the clip's bytes and which frame it is, so that nothing is decoded."""

    def contents(rows: np.ndarray) -> np.ndarray:
        wanted = sorted({os.fspath(clips[row]) for row in rows})
        of_clip = dict(zip(wanted, digests(lambda i: Path(wanted[i]), np.arange(len(wanted))), strict=True))
        parts = (of_clip[os.fspath(clips[row])].tobytes() + frames[row].encode() for row in rows)
        joined = b"".join(hashlib.sha256(part).digest() for part in parts)
        return np.frombuffer(joined, np.uint8).reshape(len(rows), -1)

    return contents


def require_av() -> ModuleType:
    """PyAV, or InputError that says how to get it."""
    try:
        import av
    except ImportError as error:
        raise InputError('reading video needs PyAV; install it with pip install "clipjax[video]"') from error
    return av


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """A clip's container for as long as it is read. InputError where it cannot be opened, or shows nothing."""
    av = require_av()
    with decoding(f"{path} cannot be opened as video", "fetch or copy it again"):
        container = av.open(path if "://" not in path else source.as_path(path).open("rb"))
    with container:
        if not container.streams.video:
            raise InputError(f"{path} has no images in it (no video stream); leave it out")
        yield container


def decoding(problem: str, remedy: str) -> contextlib.AbstractContextManager[None]:
    """What PyAV finds wrong with a clip."""
    return converted(problem, remedy, require_av().FFmpegError, OSError, IndexError)


def _count(path: str) -> int:
    """Number of frames, 0 where the clip cannot be opened: what its container says is often wrong, or nothing."""
    try:
        with opened(path) as container, decoding(f"{path} cannot be read", "fetch or copy it again"):
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except InputError:
        return 0


class _Clip:
    """One clip being read forwards, with the frames that were passed on the way."""

    def __init__(self, path: str):
        self.path = path
        self.lock = threading.Lock()
        self._frames: Iterator[Any] | None = None
        self._next = 0
        self._passed: OrderedDict[int, Image.Image] = OrderedDict()

    def frame(self, wanted: int | None) -> Image.Image:
        """Frame `wanted`, None for the middle one."""
        with self.lock:
            if wanted is None:
                wanted = max(_count(self.path), 1) // 2
                return self._forward(wanted, keep=False)
            if wanted in self._passed:
                return self._passed[wanted]
            if wanted < self._next:
                self._frames = None  # from the start again: exact for every codec, which seeking is not
            return self._forward(wanted, keep=True)

    def _forward(self, wanted: int, keep: bool) -> Image.Image:
        if self._frames is None:
            self._frames, self._next = _decoded(self.path), 0
        with decoding(f"{self.path} frame {wanted} cannot be decoded", "it is damaged: fetch or copy it again"):
            for frame in self._frames:
                here = self._next
                self._next += 1
                if here >= wanted - _WINDOW and (keep or here == wanted):
                    shown = frame.to_image()
                    self._passed[here] = shown
                    while len(self._passed) > _WINDOW:
                        self._passed.popitem(last=False)
                    if here == wanted:
                        return shown
        raise InputError(f"{self.path} ends after {self._next} frames, frame {wanted} is missing: damaged")


def _decoded(path: str) -> Iterator[Any]:
    with opened(path) as container:
        yield from container.decode(video=0)


class _Reader:
    """Clips by number, a few of them open."""

    def __init__(self, paths: Sequence[str]):
        self._paths = paths
        self._open: OrderedDict[int, _Clip] = OrderedDict()
        self._lock = threading.Lock()

    def frame(self, number: int, wanted: int | None) -> Image.Image:
        if wanted is None:
            return _Clip(self._paths[number]).frame(None)
        with self._lock:
            clip = self._open.setdefault(number, _Clip(self._paths[number]))
            self._open.move_to_end(number)
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return clip.frame(wanted)
