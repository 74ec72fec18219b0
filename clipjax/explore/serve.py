"""Starts the server on a free port, says where, and ends it cleanly."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from pathlib import Path
from types import FrameType

import uvicorn

from clipjax.analysis.run import read_run
from clipjax.errors import InputError
from clipjax.explore.guard import LOOPBACK, Guard
from clipjax.explore.opened import open_run
from clipjax.explore.server import Explorer
from clipjax.progress import say


def serve(run: Path, host: str = "", port: int = 0, browse: bool = False) -> None:
    """Serves until Ctrl-C or SIGTERM. Everything that can be wrong with the run is said before the port is opened."""
    opened = open_run(read_run(run, as_written=False))
    listening = _listen(host or "127.0.0.1", port)
    token = secrets.token_urlsafe(24)
    explorer = Explorer(opened)
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


def _listen(host: str, port: int) -> socket.socket:
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
