"""No other host can be contacted, and no second is waited."""

import socket
import time

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from support.local_server import SHA256, Hub, running


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def _only_this_machine(monkeypatch, tmp_path):
    """No other host can be contacted; .invalid names do not resolve; no second is waited."""
    resolve, connect, sleep = socket.getaddrinfo, socket.socket.connect, time.sleep

    def local_only(host, *args, **options):
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        assert host in ("127.0.0.1", "localhost"), f"tried to contact {host}"
        return resolve("127.0.0.1", *args, **options)

    def connect_local(self, address):
        assert address[0] == "127.0.0.1", f"tried to contact {address}"
        return connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", local_only)
    monkeypatch.setattr(socket.socket, "connect", connect_local)
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    for name in ("CLIPJAX_OFFLINE", "HF_HUB_OFFLINE", "CLIPJAX_QUIET"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_TOKEN", "HF_ENDPOINT", "CLIPJAX_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    # The library reads its environment once; test_hub.py has a process of its own for that.
    for name, value in {"HF_HUB_CACHE": tmp_path / "hf" / "hub", "HF_TOKEN_PATH": tmp_path / "hf" / "token"}.items():
        monkeypatch.setattr(constants, name, str(value))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield
    close_session()  # connections to a server that is gone


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def openai(server, monkeypatch):
    """Gives the answers of OpenAI's address for w.pt, in order; returns the address."""
    monkeypatch.setenv("CLIPJAX_OPENAI_ENDPOINT", server.url + "/clip")
    return lambda *answers, sha256=SHA256, filename="w.pt": server.on(f"/clip/{sha256}/{filename}", *answers)


@pytest.fixture
def hub(server, monkeypatch):
    """The hub at the address that HF_ENDPOINT names, with its storage at another."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    with running() as storage:
        storage.url = storage.url.replace("127.0.0.1", "localhost")  # another host, also where ports are not looked at
        yield Hub(server, storage)
