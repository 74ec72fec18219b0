"""Starts the server on a free port, says where, and ends it cleanly."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import threading
import time
import webbrowser
from pathlib import Path
from types import FrameType

import uvicorn

from clipjax.analysis.run import read_run
from clipjax.errors import InputError
from clipjax.explore import state
from clipjax.explore.guard import LOOPBACK, Guard
from clipjax.explore.opened import open_run
from clipjax.explore.server import Explorer
from clipjax.files import cache_dir
from clipjax.progress import say

PORTS = range(20_000, 32_000)  # below those that Linux gives to outgoing connections
KEPT = 24 * 3600  # seconds


def serve(run: Path, host: str = "", port: int = 0, browse: bool = False, before: Path | None = None) -> None:
    """Serves until Ctrl-C or SIGTERM. Everything that can be wrong with the run is said before the port is opened.

    On this machine a run has the same address at every start, so that a page that is open goes on with what was typed
    while no server answered. `before`: a design or a saved state that the page begins with.
    """
    begin = state.read_file(before) if before else None
    opened = open_run(read_run(run, as_written=False))
    listening = _listen(host or "127.0.0.1", port, 0 if host else PORTS[int(_key(run), 16) % len(PORTS)])
    token = secrets.token_urlsafe(24) if host else kept_token(run)
    explorer = Explorer(opened, before=begin)
    guard = Guard(explorer.app(), token, None if host else LOOPBACK)
    # Without log_config, which would close every other library's handlers and with them what they write to.
    settings = uvicorn.Config(guard, log_config=None, log_level="warning", lifespan="off", access_log=False)
    server = _Server(settings)
    server.explorer = explorer
    shown, number = host or "127.0.0.1", listening.getsockname()[1]
    shown = f"[{shown}]" if ":" in shown else shown
    address = f"http://{shown}:{number}/?token={token}"
    if host and host not in LOOPBACK:
        say(
            f"warning: --host={host} lets other machines reach this page. It shows the run and, once switched on, its "
            "images, unencrypted, to whoever has the address"
        )
    print(f"Exploring {run}: {address}\nCtrl-C ends.", flush=True)
    if browse:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # uvicorn has ended everything, and passes the signal on
    finally:
        explorer.close()
        listening.close()


class _Server(uvicorn.Server):
    """Ends a long answer first, which uvicorn would wait for."""

    explorer: Explorer

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.explorer.close()
        super().handle_exit(sig, frame)


def kept_token(run: Path, folder: Path | None = None) -> str:
    """The secret of a run's address, a day long the same, from a file that its owner alone can read."""
    folder = folder or cache_dir() / "explorer"
    file, fresh = folder / _key(run), secrets.token_urlsafe(24)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(file, flags, 0o600), "r+", encoding="ascii") as opened:
            about = os.fstat(opened.fileno())
            if hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o077):
                return fresh  # somebody else could know it
            if len(found := opened.read(100)) == len(fresh) and time.time() - about.st_mtime < KEPT:
                return found
            opened.seek(0)
            opened.truncate()
            opened.write(fresh)
    except (OSError, ValueError):
        pass  # nothing is kept: the address is another at every start
    return fresh


def _key(run: Path) -> str:
    return hashlib.sha256(str(run.resolve()).encode(errors="surrogateescape")).hexdigest()[:24]


def _listen(host: str, port: int, usual: int = 0) -> socket.socket:
    """Listens at a port; without one at the usual one, or where something else listens there at a free one."""
    if usual and not port:
        with contextlib.suppress(InputError):
            return _listen(host, usual)
    made = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
    except (OSError, OverflowError) as error:
        if made is not None:
            made.close()
        raise InputError(f"--host={host} --port={port}: cannot be listened on ({error}); choose another") from error
    return made
