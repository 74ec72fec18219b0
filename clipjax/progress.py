"""One progress line per stage: stage, n/total, rate, ETA on stderr, and the same numbers as JSON lines.

Results belong to stdout and nothing here ever writes there, so `clipjax ... > table.txt` stays clean.
"""

import contextlib
import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO

TERMINAL_SECONDS = 0.1  # redraws of the one line: faster is only flicker and, over ssh, traffic
PLAIN_SECONDS = 5.0  # lines in a log file or a batch job's output
# The rate is taken over the last half minute: an average from the start would carry the compilation of the
# first batch, or a stalled download, in its ETA for ever.
SAMPLE_SECONDS = 1.0
SAMPLES = 30

_CLEAR_LINE = "\r\x1b[K"


def is_quiet() -> bool:
    """Whether `CLIPJAX_QUIET` asks for silence on stderr (anything but empty, 0, false, no, off)."""
    return os.environ.get("CLIPJAX_QUIET", "").strip().lower() not in ("", "0", "false", "no", "off")


def say(message: str, stream: TextIO | None = None) -> None:
    """Writes one plain note to stderr (or `stream`), unless `CLIPJAX_QUIET` is set.

    On a terminal a progress line in flight is cleared first; its next update draws it again below the note.
    """
    stream = sys.stderr if stream is None else stream
    if not is_quiet():
        _write(stream, f"{_CLEAR_LINE if _is_terminal(stream) else ''}{message}\n")


class Progress:
    """Shows how far one stage of the work has come; use it as a context manager.

    On a terminal one line is rewritten in place; elsewhere a plain line appears every few seconds at most,
    and one at the end. `unit="B"` counts bytes and shows MB (10^6) and MB/s.

    Args:
        stage: What is being done, e.g. "encode"; the `stage` of every logged event.
        total: How many units there are, or None where nobody knows: then no percentage and no ETA.
        unit: What is counted, e.g. "images"; "B" for bytes.
        stream: Where the line goes; sys.stderr as it is at construction when None.
        log: A JSON-lines file that every update adds one object to; quietness does not silence it.
        start: Units that were there before (a resumed run): they count in n, but not in the rate.
        quiet: Nothing on the stream. None asks `CLIPJAX_QUIET`. On several hosts only process 0 speaks: the
            others pass True (this module does not ask JAX itself, which would start its backends).
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        stage: str,
        total: int | None = None,
        unit: str = "",
        stream: TextIO | None = None,
        log: str | os.PathLike[str] | None = None,
        *,
        start: int = 0,
        quiet: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.stage, self.total, self.unit, self.n = stage, total, unit, start
        self.detail = ""  # what else is known, after the numbers
        self._stream = sys.stderr if stream is None else stream
        self._quiet = is_quiet() if quiet is None else quiet
        self._terminal = _is_terminal(self._stream)
        self._log_path = None if log is None else Path(log)
        self._log: IO[bytes] | None = None
        self._clock = clock
        self._first = (clock(), start)
        self._samples: deque[tuple[float, int]] = deque([self._first], maxlen=SAMPLES)
        # A terminal shows the stage at its first update; plain output waits, so that a short stage is one line.
        self._shown_at = -math.inf if self._terminal else self._first[0]

    def __enter__(self) -> Self:
        if self._log_path is not None:
            self._log = _open_log(self._log_path)
        return self

    def update(self, n: int = 1, **fields: Any) -> None:
        """Adds `n` finished units. `fields` join the logged event, e.g. `encoded=64`; JSON values only."""
        self.n += n
        now = self._clock()
        if now - self._samples[-1][0] >= SAMPLE_SECONDS:
            self._samples.append((now, self.n))
        if self._log is not None:
            event = {"time": round(time.time(), 3), "stage": self.stage, **fields}
            event |= {"n": self.n, "total": self.total}
            self._log.write(json.dumps(event, allow_nan=False).encode() + b"\n")
        if now - self._shown_at >= (TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS):
            self._shown_at = now
            self._show(self._line(self._recent_rate(now)), end="")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
        elapsed = self._clock() - self._first[0]
        done = self.n - self._first[1]
        rate = done / elapsed if elapsed > 0 and done else None  # all from a cache: "0.0 images/s" would mislead
        ending = f"  in {_duration(elapsed)}" if kind is None else "  stopped"
        self._show(self._line(rate, eta=False) + ending, end="\n")

    def _recent_rate(self, now: float) -> float | None:
        then, n = self._samples[0]
        return (self.n - n) / (now - then) if now > then else None

    def _line(self, rate: float | None, eta: bool = True) -> str:
        scale, unit, digits = (1e-6, "MB", 1) if self.unit == "B" else (1, self.unit, 0)
        count = f"{self.n * scale:.{digits}f}"
        if self.total is not None:
            count += f"/{self.total * scale:.{digits}f}"
        parts = [f"{count} {unit}".rstrip()]
        if self.total:
            # Rounded down: 100 % means all of it.
            parts.append(f"{math.floor(100 * self.n / self.total)}%")
        if rate is not None:
            parts.append(_pace(rate * scale, unit))
            if eta and self.total is not None and rate > 0 and self.n < self.total:
                parts.append(f"ETA {_duration((self.total - self.n) / rate)}")
        return "  ".join([*parts, *([self.detail] if self.detail else [])])

    def _show(self, numbers: str, end: str) -> None:
        if self._quiet:
            return
        if not self._terminal:
            _write(self._stream, f"{self.stage}: {numbers}\n")
            return
        # A line that wraps cannot be rewritten in place: the stage gives way first, then the numbers' tail.
        room = _columns(self._stream) - 1
        stage = self.stage[: max(room - len(numbers) - 2, 8)]
        _write(self._stream, _CLEAR_LINE + f"{stage}: {numbers}"[:room] + end)


def _pace(rate: float, unit: str) -> str:
    """Units per second; seconds per unit where that is a number below one."""
    if 0 < rate < 0.95 and unit:
        return f"{1 / rate:.1f} s per {unit.removesuffix('s')}"
    return f"{rate:.1f} {unit}/s" if unit else f"{rate:.1f}/s"


def _duration(seconds: float) -> str:
    """Formats seconds as m:ss or h:mm:ss."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"


def _open_log(path: Path) -> IO[bytes]:
    """Opens a JSON-lines file at its end. A last line cut off by a kill is not an event, and is dropped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unbuffered: each event is one write, so that a killed run has every event up to its last batch.
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        tail_at = max(0, size - 65536)
        file.seek(tail_at)
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(tail_at + tail.rfind(b"\n") + 1)
    return path.open("ab", buffering=0)


def _is_terminal(stream: TextIO) -> bool:
    # A "dumb" terminal (editors' shells, some CI) prints the control characters instead of obeying them.
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # no stderr at all (pythonw), or closed
        return False


def _columns(stream: TextIO) -> int:
    # shutil.get_terminal_size asks stdout, which may be redirected while stderr is the terminal.
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (AttributeError, OSError, ValueError):
        return 80


def _write(stream: TextIO, text: str) -> None:
    # Hours of work must not end because the terminal that watched them was closed.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        stream.write(text)
        stream.flush()
