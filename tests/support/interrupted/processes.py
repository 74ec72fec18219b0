"""Runs `clipjax` verbs in processes that come to grief at a chosen moment: killed, out of disk, without rights.

One server imports what a verb needs and forks a process for every request, so that fifty crashes cost what fifty
short runs cost and not fifty starts of Python. A moment is counted in changes of the file system below a folder
(opening for writing, renaming, removing, making a folder), which Python announces to audit hooks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
LONGEST = int(os.environ.get("CLIPJAX_LONGEST", "300"))  # seconds of one run, on a machine that does other things too


@dataclasses.dataclass(frozen=True)
class End:
    """How a run ended: exit status (negative: the signal), its two streams, and how many changes it made or tried."""

    status: int
    out: str
    err: str
    changes: int
    seconds: float

    @property
    def line(self) -> str:
        """The last line on stderr."""
        return (self.err.strip().splitlines() or [""])[-1]


class Crashes:
    """The server, for as long as a test needs it; `light` for verbs that run no model."""

    def __init__(self, light: bool = False, **environment: str):
        env = os.environ | {"PYTHONPATH": str(ROOT), "CLIPJAX_QUIET": "1", "CLIPJAX_OFFLINE": "1"} | environment
        words = [sys.executable, __file__, "light" if light else "heavy"]
        self._server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)

    def close(self) -> None:
        """Ends the server."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def run(self, argv: Sequence[Any], root: Path, kind: str = "", at: int = 1, **more: Any) -> End:
        """One run. `kind` happens at the `at`-th change below `root`:

        kill, term: that signal. full, denied: this and every later change fails as on a full disk, or without rights.
        remove: the folder `victim` is gone. Without a kind nothing happens. `bytes`: no file may grow beyond them.
        `seconds`: the signal of `kind` comes after that time instead.
        """
        request = {"argv": list(map(str, argv)), "root": str(root), "kind": kind, "at": at, **more}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request, default=str) + "\n")
        self._server.stdin.flush()
        return End(**json.loads(self._server.stdout.readline()))


# --- the server ------------------------------------------------------------------------------------------------


def _serve(light: bool) -> None:
    _import(light)
    for line in sys.stdin:
        request = json.loads(line)
        folder = Path(request["root"]).parent / f".crash-{os.getpid()}"
        folder.mkdir(exist_ok=True)
        began = time.monotonic()
        streams = {name: os.pipe() for name in ("out", "err")}  # no files: they too may not grow beyond `bytes`
        child = os.fork()
        if not child:
            _run(request, folder, {name: writes for name, (_, writes) in streams.items()})
        status, text = _wait(child, request, streams)
        changes = (folder / "changes").stat().st_size
        shutil.rmtree(folder)
        reply = text | {"status": status, "changes": changes, "seconds": time.monotonic() - began}
        print(json.dumps(reply), flush=True)


def _import(light: bool) -> None:
    """What the forked processes would import one by one; nothing here starts a thread or a device."""
    import checkpoints_convert  # noqa: F401
    import clipjax.analysis.compare
    import clipjax.analysis.report
    import clipjax.cli.main
    import clipjax.loading
    import clipjax.text  # noqa: F401

    for name in ("rates", "labels", "metrics", "comparison"):
        __import__(f"clipjax.analysis.report.{name}")
    __import__("matplotlib.backends.backend_agg")
    if not light:
        for name in ("runner", "prepare", "finetune", "zeroshot", "rates", "linear"):
            __import__(f"clipjax.runs.{name}")
        for name in ("probe", "embed", "prepare", "finetune"):
            __import__(f"clipjax.cli.{name}")
        __import__("clipjax.model")


def _wait(child: int, request: dict[str, Any], streams: dict[str, tuple[int, int]]) -> tuple[int, dict[str, str]]:
    """The exit status, and what was written to each of the streams (pipes: where to read, where to write)."""
    said = dict.fromkeys(streams, b"")
    for reads, writes in streams.values():
        os.close(writes)
        os.set_blocking(reads, False)
    status = None
    for ended in _statuses(child, request):
        status = ended
        for name, (reads, _) in streams.items():
            with contextlib.suppress(BlockingIOError):
                while piece := os.read(reads, 1 << 16):
                    said[name] += piece
    assert status is not None
    for reads, _ in streams.values():
        os.close(reads)
    return status, {name: text.decode(errors="replace") for name, text in said.items()}


def _statuses(child: int, request: dict[str, Any]) -> Iterator[int | None]:
    """None for as long as it runs, every few milliseconds, then its exit status."""
    end = time.monotonic() + LONGEST
    due = time.monotonic() + request["seconds"] if "seconds" in request else None
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            yield os.waitstatus_to_exitcode(status)
            return
        if due is not None and time.monotonic() > due:
            os.kill(child, {"kill": signal.SIGKILL, "term": signal.SIGTERM}[request["kind"]])
            due = None
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            yield -1000  # it hangs
            return
        yield None
        time.sleep(0.005)


def _run(request: dict[str, Any], folder: Path, streams: dict[str, int]) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(streams[name], number)
    tally = os.open(folder / "changes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    status = 70
    try:
        from clipjax.cli import main

        if "bytes" in request:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["bytes"],) * 2)
        sys.addaudithook(_Trouble(request, tally))
        sys.argv = ["clipjax", *request["argv"]]
        status = main.main()
    except SystemExit as stop:  # argparse
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Trouble:
    def __init__(self, request: dict[str, Any], tally: int):
        self.root, self.kind, self.at = os.path.abspath(request["root"]), request["kind"], request["at"]
        self.timed, self.victim, self.tally, self.seen = "seconds" in request, request.get("victim"), tally, 0

    def __call__(self, event: str, args: tuple) -> None:
        if event == "open":
            path, mode, flags = args
            writes = (isinstance(mode, str) and any(c in mode for c in "wax+")) or (flags or 0) & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT
            )
        else:
            path, writes = (args[0] if args else None), event in CHANGES
        if not writes or not isinstance(path, str | bytes | os.PathLike):
            return
        if not os.path.abspath(os.fsdecode(path)).startswith(self.root + os.sep) or self.kind == "done":
            return
        self.seen += 1
        os.write(self.tally, b".")
        if self.seen < self.at or self.timed:
            return
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "term":
            self.kind = "done"
            os.kill(os.getpid(), signal.SIGTERM)
        elif self.kind == "remove":
            self.kind = "done"
            shutil.rmtree(self.victim, ignore_errors=True)
        elif self.kind in ("full", "denied") and event != "os.remove":
            number = 28 if self.kind == "full" else 13
            raise OSError(number, os.strerror(number), path)


if __name__ == "__main__":
    _serve(sys.argv[1] == "light")
