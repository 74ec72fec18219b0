"""No other host can be contacted, and no second is waited."""

import socket

import pytest
from support.local_server import running, whole

from clipjax import transfer


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def _only_this_machine(monkeypatch, tmp_path):
    """No other host can be contacted; .invalid names do not resolve; no second is waited."""
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def local_only(host, *args, **options):
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        assert host == "127.0.0.1", f"tried to contact {host}"
        return resolve(host, *args, **options)

    def connect_local(self, address):
        assert address[0] == "127.0.0.1", f"tried to contact {address}"
        return connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", local_only)
    monkeypatch.setattr(socket.socket, "connect", connect_local)
    monkeypatch.setattr(transfer, "BACKOFF", 0.0)
    for name in ("CLIPJAX_OFFLINE", "HF_HUB_OFFLINE", "CLIPJAX_QUIET"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_TOKEN", "HF_ENDPOINT", "CLIPJAX_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def hub(server, monkeypatch):
    """Serves the files of org/name that a test gives; returns the list of paths asked for."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("CLIPJAX_OPENAI_ENDPOINT", server.url + "/clip")

    def serve(files, repo="org/name"):
        for filename, body in files.items():
            server.on(f"/{repo}/resolve/main/{filename}", lambda send, body=body: whole(send, body=body))

    serve.asked = lambda: [path.rpartition("/")[2] for path, _ in server.requests]
    return serve
