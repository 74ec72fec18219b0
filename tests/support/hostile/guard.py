"""One input tried under watch: what may happen is nothing, or an InputError of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from clipjax.errors import InputError
from support.hostile.target import Target

SECONDS = 10.0  # an input that takes longer is a finding; the good ones take milliseconds
_STARTS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "pty.spawn",
    "socket.connect",
    "socket.bind",
)
_CHANGES = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.chown",
    "os.truncate",
    "shutil.rmtree",
)
_watched: list[tuple[Path, list[str]]] = []
_hooked = False


class TooSlow(Exception):
    """The input took longer than SECONDS."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """`kind` is read, refused or a finding: crash, slow, memory, escape; `where` tells findings apart."""

    kind: str
    where: str = ""
    told: str = ""


def tried(target: Target, folder: Path, data: bytes) -> Outcome:
    """What became of one input. `folder` is emptied first; whatever is opened for writing outside it is an escape."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with _watch(folder) as escapes, _limit(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.attempt(folder, data)
        outcome = Outcome("read")
    except InputError as error:
        outcome = Outcome("refused", told=str(error))
        if "\n" in str(error) or not str(error).strip() or len(str(error)) > 2500:
            outcome = Outcome("crash", f"a message that is no line: {str(error)[:200]!r}", str(error)[:3000])
    except TooSlow as error:
        outcome = Outcome("slow", _place(error), "".join(traceback.format_exception(error))[-3000:])
    except MemoryError as error:
        outcome = Outcome("memory", _place(error), "".join(traceback.format_exception(error))[-3000:])
    except Exception as error:
        told = "".join(traceback.format_exception(error))[-3000:]
        outcome = Outcome("crash", f"{type(error).__name__} {_place(error)}", told)
    if escapes:
        outcome = Outcome("escape", escapes[0], "\n".join(escapes[:20]))
    return outcome


def _place(error: BaseException) -> str:
    """The last line of our own code on the way to the error: it, and not the input, is the finding."""
    root = str(Path(__file__).parents[3])
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if f.filename.startswith(root) and "/tests/support/" not in f.filename
    ]
    frames = frames or traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _watch(folder: Path) -> Iterator[list[str]]:
    global _hooked
    if not _hooked:
        sys.addaudithook(_heard)
        _hooked = True
    escapes: list[str] = []
    _watched.append((folder, escapes))
    try:
        yield escapes
    finally:
        _watched.pop()


def _heard(event: str, args: tuple) -> None:
    if not _watched:
        return
    folder, escapes = _watched[-1]
    if event == "subprocess.Popen" and args[0] == sys.executable and args[1][1] == "-c":
        return  # our own reader in a process of its own (`annotations.read_mat`)
    if event.startswith(_STARTS):
        escapes.append(f"{event} {args!r}"[:300])
    elif event == "open":
        path, mode, flags = args
        writes = (isinstance(mode, str) and any(c in mode for c in "wax+")) or (flags or 0) & (
            os.O_WRONLY | os.O_RDWR | os.O_CREAT
        )
        if writes and not _inside(path, folder):
            escapes.append(f"open {path!r} {mode!r}"[:300])
    elif event.startswith(_CHANGES) and not _inside(args[0], folder):
        escapes.append(f"{event} {args!r}"[:300])


def _inside(path: object, folder: Path) -> bool:
    if isinstance(path, int):
        return True  # a descriptor: that it was opened for writing has been heard
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
    where = os.path.abspath(text)
    return where.startswith((str(folder), "/dev/null", "/dev/shm/psm_", sys.prefix)) or "__pycache__" in where
