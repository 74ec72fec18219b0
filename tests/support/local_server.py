"""A server on this machine that does to downloads what real ones do, and what its tests share."""

import contextlib
import functools
import hashlib
import http.server
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clipjax import download
from clipjax.errors import InputError

BODY = random.Random(0).randbytes(300_000)


HALF = len(BODY) // 2


SHA256 = hashlib.sha256(BODY).hexdigest()


REPOSITORY = Path(__file__).parents[2]


def whole(send, body=BODY, etag='"one"', upto=None, ranges=True, status=200, length=True, **headers):
    """Serves as a good server does, or stops after `upto` bytes of what it announced."""
    start = 0
    wanted = send.headers.get("Range")
    if wanted and ranges and send.headers.get("If-Range") in (None, etag):
        start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
        if start >= len(body):
            return error(send, 416)
        send.extra("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    if length:
        send.extra("Content-Length", str(len(body) - start))
    if etag:
        send.extra("ETag", etag)
    for key, value in headers.items():
        send.extra(key.replace("_", "-"), value)
    return send.body(status, body[start:upto])


def error(send, status):
    return send.body(status, b"", length=True)


def half(send, **options):
    return whole(send, upto=HALF, **options)


def plain(send, **options):
    return whole(send, ranges=False, etag=None, **options)


def stall(send, **options):
    whole(send, upto=HALF, **options)
    send.server.stalled.set()
    send.server.release.wait(20)


def moved(to, status=302, **headers):
    def answer(send):
        send.extra("Location", to)
        for key, value in headers.items():
            send.extra(key.replace("_", "-"), value)
        send.body(status, b"", length=True)

    return answer


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        self._extra = []
        path = self.path.partition("?")[0]
        with self.server.guard:
            self.server.requests.append((path, dict(self.headers)))
            answers = self.server.answers.get((self.command, path)) or self.server.answers.get(path)
            answers = answers or [lambda send: error(send, 404)]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        with contextlib.suppress(ConnectionError):
            answer(self)

    do_HEAD = do_GET

    def extra(self, key, value):
        self._extra.append((key, value))

    def body(self, status, content, length=False):
        self.send_response(status)
        self.send_header("Connection", "close")
        if length:
            self._extra.append(("Content-Length", str(len(content))))
        for key, value in self._extra:
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.server.sent += len(content)  # before the client, who looks at it, has the last byte
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers, self.requests, self.sent = {}, [], 0
        self.guard, self.stalled, self.release = threading.Lock(), threading.Event(), threading.Event()

    def on(self, path, *answers):
        """Gives the answers of one path, in order; the last one is repeated. Returns the address."""
        self.answers[path] = list(answers)
        return self.url + path

    def headers(self, name):
        return [headers.get(name) for _, headers in self.requests]


@contextlib.contextmanager
def running():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


COMMIT = "c0ffee" * 6 + "0000"


class Hub:
    """Repositories as the hub serves them: an API that lists them, and weights behind a redirect to storage."""

    def __init__(self, server, storage):
        self.server, self.storage = server, storage

    def add(self, files, repo="org/name", revision="main", commit=COMMIT):
        """Publishes the files of one commit, {name: bytes}; what ends in .json is small and has no sha256."""
        listing = [{"type": "file", "path": name, "size": len(body), "oid": "0" * 40} for name, body in files.items()]
        for entry in listing:
            if not entry["path"].endswith(".json"):
                digest = hashlib.sha256(files[entry["path"]]).hexdigest()
                entry["lfs"] = {"oid": digest, "size": entry["size"], "pointerSize": 100}
        info = {"id": repo, "modelId": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
        for name in (revision.replace("/", "%2F"), commit):
            self.server.on(f"/api/models/{repo}/revision/{name}", document(info))
        self.server.on(f"/api/models/{repo}/tree/{commit}", document(listing))
        for name, body in files.items():
            self.file(name, body, repo, revision, commit)

    def file(self, name, body, repo="org/name", revision="main", commit=COMMIT, declared=None, answers=()):
        """Publishes one file; `declared` is its sha256 where it lies, `answers` are those of storage."""
        headers = {"X_Repo_Commit": commit}
        digest = declared or hashlib.sha256(body).hexdigest()
        if name.endswith(".json"):
            tag = f'"{hashlib.sha1(body).hexdigest()}"'
            answer = functools.partial(whole, body=body, etag=tag, **headers)
        else:
            there = self.storage.on(f"/storage/{digest}", *(answers or [functools.partial(whole, body=body)]))
            answer = moved(there, X_Linked_Size=str(len(body)), X_Linked_ETag=f'"{digest}"', **headers)
        for one in (revision.replace("/", "%2F"), commit):
            self.server.on(f"/{repo}/resolve/{one}/{name}", answer)


def document(content):
    def answer(send):
        send.extra("Content-Type", "application/json")
        send.body(200, json.dumps(content).encode(), length=True)

    return answer


def fetch(sha256=SHA256, filename="w.pt", repositories=(), timeout=20.0):
    return download.fetch_release("w", filename, sha256, repositories, timeout)


def failure(function, *args, **options):
    """Returns the message of the InputError, which is one line."""
    with pytest.raises(InputError) as caught:
        function(*args, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def reasons(function, *args, **options):
    """The part of the message that says what was tried: the rest has paths, and those have the test's name."""
    return failure(function, *args, **options).partition(". Three ways")[0]


def left_over(cache):
    """The names of files that only a download on its way has."""
    return sorted(path.name for path in cache.rglob("*.partial*"))


def command(timeout=20.0):
    """A process that fetches w.pt from the address that the environment names."""
    program = f"from clipjax.download import fetch_release as f; print(f('w', 'w.pt', {SHA256!r}, timeout={timeout}))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_PROXY": "*", "CLIPJAX_QUIET": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def refuse_to_write(*args):
    raise PermissionError(13, "Read-only file system")
