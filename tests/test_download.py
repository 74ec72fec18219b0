"""Downloads against a server on this machine that does to them what real ones do; nothing else is contacted."""

import contextlib
import hashlib
import http.server
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

import pytest

from clipjax import download, transfer
from clipjax.download import Source, fetch, fetch_hub, fetch_hub_model, fetch_release
from clipjax.errors import InputError

BODY = random.Random(0).randbytes(300_000)
HALF = len(BODY) // 2
SHA256 = hashlib.sha256(BODY).hexdigest()
REPOSITORY = Path(__file__).parents[1]


# --- answers: what the server does with one request; `send` is the request's handler --------------------------


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
        with self.server.guard:
            self.server.requests.append((self.path, dict(self.headers)))
            answers = self.server.answers.get(self.path, [lambda send: error(send, 404)])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        with contextlib.suppress(ConnectionError):
            answer(self)

    def extra(self, key, value):
        self._extra.append((key, value))

    def body(self, status, content, length=False):
        self.send_response(status)
        if length:
            self._extra.append(("Content-Length", str(len(content))))
        for key, value in self._extra:
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()
        self.server.sent += len(content)

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


def source(url, sha256=SHA256, filename="w.pt"):
    return Source(url, filename, sha256)


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


# --- delivering -------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_then_no_request_is_made(server, cache, capsys, monkeypatch):
    url = server.on("/w", whole)
    path = fetch("ViT-B/32", [source(url)])
    assert path == cache / "w.pt"
    assert path.read_bytes() == BODY
    monkeypatch.setattr(download, "hash_file", lambda *args: pytest.fail("hashed a file that was just verified"))
    assert fetch("ViT-B/32", [source(url)]) == path
    assert len(server.requests) == 1
    assert left_over(cache) == []
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "download w.pt: 0.3/0.3 MB  100%" in captured.err


@pytest.mark.parametrize("breaks", [half, stall])
def test_a_broken_transfer_goes_on_where_it_stopped(server, breaks):
    url = server.on("/w", breaks, whole)
    assert fetch("w", [source(url)], timeout=1.0).read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={HALF}-"]
    assert server.headers("If-Range") == [None, '"one"']
    assert server.sent == len(BODY)


def test_many_breaks_are_survived_as_long_as_bytes_arrive(server, monkeypatch):
    monkeypatch.setattr(transfer, "ENOUGH", 30_000)
    stops = [30_000 * i for i in range(1, 10)]
    answers = [lambda send, stop=stop: whole(send, upto=stop) for stop in stops]
    assert fetch("w", [source(server.on("/w", *answers, whole))]).read_bytes() == BODY
    assert len(server.requests) == 10 > transfer.TRIES
    assert server.sent == len(BODY)


def test_a_server_without_ranges_is_asked_for_the_whole_again(server):
    url = server.on("/w", lambda send: half(send, ranges=False), lambda send: whole(send, ranges=False))
    assert fetch("w", [source(url)]).read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={HALF}-"]


def test_another_version_on_the_server_is_fetched_from_its_start(server):
    other = random.Random(1).randbytes(len(BODY))
    url = server.on("/w", lambda send: half(send, body=other, etag='"old"'), whole)
    # Without a digest: only If-Range keeps the halves of two versions apart.
    assert fetch("w", [source(url, sha256=None)]).read_bytes() == BODY
    assert server.headers("If-Range") == [None, '"old"']


def test_a_server_that_ignores_if_range_does_not_get_its_mixture_accepted(server):
    other = random.Random(1).randbytes(len(BODY))

    def ignores(send):
        del send.headers["If-Range"]
        whole(send, etag='"new"')

    url = server.on("/w", lambda send: half(send, body=other, etag='"old"'), ignores)
    assert fetch("w", [source(url, sha256=None)]).read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={HALF}-", None]


def test_without_an_etag_the_digest_guards_the_resumed_file(server):
    other = random.Random(1).randbytes(len(BODY))
    url = server.on("/w", lambda send: half(send, body=other, etag=None), lambda send: whole(send, etag=None))
    assert fetch("w", [source(url)]).read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={HALF}-", None]


def test_without_an_etag_and_a_digest_nothing_is_resumed(server):
    url = server.on("/w", lambda send: half(send, etag=None), lambda send: whole(send, etag=None))
    assert fetch("w", [source(url, sha256=None)]).read_bytes() == BODY
    assert server.headers("Range") == [None, None]


def test_a_weak_etag_is_not_sent_as_if_range_but_the_date_is(server):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"

    def dated(send, **options):
        del send.headers["If-Range"]
        whole(send, etag='W/"weak"', Last_Modified=date, **options)

    url = server.on("/w", lambda send: dated(send, upto=HALF), dated)
    assert fetch("w", [source(url)]).read_bytes() == BODY
    assert server.headers("If-Range") == [None, date]


def test_another_range_than_asked_for_is_not_appended(server):
    def shifted(send):
        send.extra("Content-Range", f"bytes {HALF - 5}-{len(BODY) - 1}/{len(BODY)}")
        send.body(206, BODY[HALF - 5 :], length=True)

    url = server.on("/w", half, shifted, whole)
    # Without a digest, which would find the mixture out by itself.
    assert fetch("w", [source(url, sha256=None)]).read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={HALF}-", None]


def test_a_part_longer_than_the_file_starts_anew(server, cache):
    # A HALF-sized file on the server now, and a part of a longer one here.
    short = BODY[: HALF // 2]
    url = server.on("/w", half, lambda send: whole(send, body=short, etag='"one"'))
    digest = hashlib.sha256(short).hexdigest()
    assert fetch("w", [source(url, digest)]).read_bytes() == short
    assert server.headers("Range") == [None, f"bytes={HALF}-", None]


def test_chunked_bodies_arrive_and_a_torn_one_is_noticed(server):
    def chunked(send, end=b"0\r\n\r\n"):
        send.extra("Transfer-Encoding", "chunked")
        send.body(200, b"%x\r\n" % len(BODY) + BODY + b"\r\n" + end)

    url = server.on("/w", lambda send: chunked(send, end=b""), chunked)
    assert fetch("w", [source(url, sha256=None)]).read_bytes() == BODY
    assert len(server.requests) == 2


def test_without_length_and_digest_a_file_is_refused(server, cache):
    url = server.on("/w", lambda send: whole(send, length=False, upto=HALF))
    assert "sent no length" in reasons(fetch, "w", [source(url, sha256=None)])
    assert not (cache / "w.pt").exists()


def test_a_connection_kept_open_after_the_last_byte_does_not_hang(server):
    def keeps(send):
        whole(send)
        send.server.release.wait(20)

    # No deadline is measured: one read past the end would be a timeout, and a second request.
    assert fetch("w", [source(server.on("/w", keeps))], timeout=5.0).read_bytes() == BODY
    assert len(server.requests) == 1


# --- being interrupted ------------------------------------------------------------------------------------------


def test_an_interrupted_download_is_resumed_by_the_next_call(server, cache, monkeypatch):
    url = server.on("/w", whole)
    read, blocks = transfer._read, []
    monkeypatch.setattr(transfer, "BLOCK", 10_000)

    def interrupted(response):
        if len(blocks) == 5:
            raise KeyboardInterrupt
        blocks.append(read(response))
        return blocks[-1]

    monkeypatch.setattr(transfer, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("w", [source(url)])
    had = sum(map(len, blocks))
    assert not (cache / "w.pt").exists()
    assert (cache / "w.pt.partial").stat().st_size == had > 0
    monkeypatch.setattr(transfer, "_read", read)
    assert fetch("w", [source(url)]).read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={had}-"]
    assert left_over(cache) == []


def test_a_complete_part_needs_no_request(server, cache):
    url = server.on("/w", whole)
    cache.mkdir()
    (cache / "w.pt.partial").write_bytes(BODY)
    (cache / "w.pt.partial-origin").write_text(json.dumps({"url": url, "validator": '"one"'}))
    assert fetch("w", [source(url)]).read_bytes() == BODY
    assert server.requests == []


def test_a_part_of_unknown_origin_is_not_continued(server, cache):
    cache.mkdir()
    (cache / "w.pt.partial").write_bytes(b"something else")
    assert fetch("w", [source(server.on("/w", whole), sha256=None)]).read_bytes() == BODY
    assert server.headers("Range") == [None]


def test_a_source_that_fails_leaves_the_part_of_another_alone(server, cache):
    mirror = server.on("/mirror", whole)
    cache.mkdir()
    (cache / "w.pt.partial").write_bytes(BODY[:HALF])
    (cache / "w.pt.partial-origin").write_text(json.dumps({"url": mirror, "validator": '"one"'}))
    page = server.on("/page", lambda send: whole(send, body=b"<html>sign in</html>"))
    sources = [source(server.on("/gone")), source(page), source(mirror)]
    server.answers["/gone"] = [lambda send: error(send, 410)]
    assert fetch("w", sources).read_bytes() == BODY
    assert server.headers("Range") == [None, None, f"bytes={HALF}-"]


def command(url, timeout=20.0):
    text = f"fetch('w', [Source({url!r}, 'w.pt', {SHA256!r})], timeout={timeout})"
    program = f"from clipjax.download import Source, fetch; print({text})"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_PROXY": "*", "CLIPJAX_QUIET": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_loses_nothing_that_had_arrived(server, cache):
    url = server.on("/w", stall, whole)
    with command(url) as process:
        assert server.stalled.wait(60)
        part, deadline = cache / "w.pt.partial", time.monotonic() + 60
        while not (part.exists() and part.stat().st_size == HALF) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert fetch("w", [source(url)]).read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={HALF}-"]


def test_two_processes_download_once(server, cache):
    go = threading.Event()

    def held(send):
        go.wait(20)
        whole(send)

    url = server.on("/w", held)
    with command(url) as one, command(url) as two:

        def watch(process):
            for line in process.stderr:
                if line.startswith("waiting for another process that is downloading w.pt"):
                    go.set()

        watchers = [threading.Thread(target=watch, args=(process,)) for process in (one, two)]
        for watcher in watchers:
            watcher.start()
        # The server answers only after one process has said that it waits for the other.
        assert go.wait(20)
        outputs = [process.stdout.read().strip() for process in (one, two)]
        for watcher in watchers:
            watcher.join()
        assert [process.wait() for process in (one, two)] == [0, 0]
    assert outputs == [str(cache / "w.pt")] * 2
    assert len(server.requests) == 1


def test_two_threads_download_once(server, monkeypatch):
    go = threading.Event()

    def held(send):
        go.wait(20)
        whole(send)

    url = server.on("/w", held)
    monkeypatch.setattr(download, "say", lambda message: go.set())
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(fetch("w", [source(url)], timeout=60))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == BODY for path in paths] == [True, True]
    assert len(server.requests) == 1


# --- sources that fail ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_goes_to_the_next_source_at_once(server, status):
    refused = server.on("/refused", lambda send: error(send, status))
    good = server.on("/good", whole)
    assert fetch("w", [source(refused), source(good)]).read_bytes() == BODY
    assert [path for path, _ in server.requests] == ["/refused", "/good"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_but_not_for_ever(server, status):
    busy = server.on("/busy", lambda send: error(send, status), whole)
    assert fetch("w", [source(busy)]).read_bytes() == BODY
    always = server.on("/always", lambda send: error(send, status))
    text = reasons(fetch, "w", [source(always, filename="other.pt")])
    assert f"{status}" in text
    assert [path for path, _ in server.requests].count("/always") == transfer.TRIES


def test_a_source_that_always_breaks_at_once_is_given_up(server, cache):
    url = server.on("/w", lambda send: whole(send, upto=0))
    good = server.on("/good", whole)
    assert fetch("w", [source(url), source(good)]).read_bytes() == BODY
    assert [path for path, _ in server.requests] == ["/w"] * transfer.TRIES + ["/good"]


def test_a_source_that_never_answers_is_given_up(server):
    url = server.on("/w", lambda send: send.server.release.wait(20))
    text = reasons(fetch, "w", [source(url)], timeout=0.1)
    assert "timed out (5 times in a row)" in text


def test_a_wrong_hash_leaves_nothing_and_the_next_source_is_used(server, cache):
    liar = server.on("/liar", lambda send: whole(send, body=BODY[::-1]))
    text = reasons(fetch, "w", [source(liar)])
    assert "sha256" in text
    assert SHA256[:12] in text
    assert len(server.requests) == 1
    assert not (cache / "w.pt").exists()
    assert left_over(cache) == []
    good = server.on("/good", whole)
    assert fetch("w", [source(liar), source(good)]).read_bytes() == BODY


@pytest.mark.parametrize(
    "page",
    [
        lambda send: whole(send, body=b"\n <!DOCTYPE html><title>Sign in</title>"),
        lambda send: whole(send, body=b"Sign in", Content_Type="text/html; charset=utf-8"),
    ],
)
def test_a_web_page_with_status_200_is_not_the_file(server, cache, page):
    assert "web page" in reasons(fetch, "w", [source(server.on("/w", page), sha256=None)])
    assert not (cache / "w.pt").exists()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda send: whole(send, body=b""), "empty"),
        (lambda send: whole(send, Content_Encoding="gzip"), "encoding"),
        (lambda send: error(send, 204), "204"),
    ],
)
def test_other_bodies_that_are_not_the_file(server, cache, answer, reason):
    assert reason in reasons(fetch, "w", [source(server.on("/w", answer), sha256=None)])
    assert not (cache / "w.pt").exists()


def test_a_host_that_cannot_be_reached_is_tried_once(server, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: pytest.fail("waited for a host that is not there"))
    strange = ["http://[bad/w", "http://127.0.0.1:port/w", "ftp://nowhere.invalid/w", "file:///etc/hostname", "w"]
    urls = ["http://nowhere.invalid/w", f"http://127.0.0.1:{port}/w", *strange]
    text = reasons(fetch, "w", [source(url) for url in urls])
    assert "nowhere.invalid: cannot connect (Name or service not known)" in text
    assert f"127.0.0.1:{port}: cannot connect (Connection refused)" in text


def test_a_network_that_goes_away_in_the_middle_is_waited_for(server, monkeypatch):
    connect, calls = socket.socket.connect, []

    def flaky(self, address):
        calls.append(address)
        if len(calls) == 2:
            raise OSError(101, "Network is unreachable")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", flaky)
    assert fetch("w", [source(server.on("/w", half, whole))]).read_bytes() == BODY
    assert len(calls) == 3
    assert server.sent == len(BODY)


# --- redirects and tokens ---------------------------------------------------------------------------------------


def test_redirects_are_followed_with_the_range_and_resumed(server):
    server.on("/to", half, whole)
    url = server.on("/w", moved("/to"))
    assert fetch("w", [source(url)]).read_bytes() == BODY
    assert server.headers("Range") == [None, None, f"bytes={HALF}-", f"bytes={HALF}-"]
    assert server.sent == len(BODY)


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://nowhere.invalid/w", "gopher://nowhere.invalid/"])
def test_redirects_lead_to_http_only(server, cache, to):
    text = reasons(fetch, "w", [source(server.on("/w", moved(to)), sha256=None)])
    assert "refused" in text or "not allowed" in text
    assert len(server.requests) == 1
    assert not (cache / "w.pt").exists()


def test_redirects_never_leave_https():
    request = urllib.request.Request("https://nowhere.invalid/w")
    with pytest.raises(urllib.error.HTTPError, match="refused") as caught:
        transfer._Redirects().redirect_request(request, None, 302, "", Message(), "http://nowhere.invalid/w")
    caught.value.close()


def test_an_endless_redirect_ends(server):
    assert "302" in reasons(fetch, "w", [source(server.on("/w", moved("/w")))])


def test_the_token_goes_to_the_hub_and_to_no_other_host(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
    with running() as other:
        other.on("/cdn", whole)
        server.on("/org/name/resolve/main/a.bin", moved("/org/new/resolve/main/a.bin"))
        server.on("/org/new/resolve/main/a.bin", moved(other.url + "/cdn"))
        folder = fetch_hub("org/name", ["a.bin"])
        assert (folder / "a.bin").read_bytes() == BODY
        assert server.headers("Authorization") == ["Bearer hf_secret"] * 2
        fetch("w", [source(other.on("/w", whole))])
        assert other.headers("Authorization") == [None, None]


def test_a_token_with_a_line_break_is_refused_without_showing_it(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret\nhf_other")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    text = failure(fetch_hub, "org/name", ["a.bin"])
    assert "HF_TOKEN" in text
    assert "secret" not in text
    assert server.requests == []


# --- the cache --------------------------------------------------------------------------------------------------


def test_a_file_copied_into_the_cache_is_verified_once(server, cache, monkeypatch):
    cache.mkdir()
    (cache / "w.pt").write_bytes(BODY)
    sources = [source("http://nowhere.invalid/w")]
    assert fetch("w", sources) == cache / "w.pt"
    monkeypatch.setattr(download, "hash_file", lambda *args: pytest.fail("hashed again"))
    assert fetch("w", sources) == cache / "w.pt"
    assert download.cached_path(sources) == cache / "w.pt"
    assert download.cached_path([source("http://nowhere.invalid/w", filename="none.pt")]) is None


@pytest.mark.parametrize("same_size", [True, False])
def test_a_damaged_cached_file_is_noticed_and_replaced(server, cache, same_size):
    sources = [source(server.on("/w", whole))]
    path = fetch("w", sources)
    path.write_bytes(BODY[::-1] if same_size else BODY[:-1])
    os.utime(path, ns=(1, 1))
    assert fetch("w", sources).read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_damaged_cached_file_is_named_and_kept_when_nothing_replaces_it(cache):
    cache.mkdir()
    (cache / "w.pt").write_bytes(b"damaged")
    text = failure(fetch, "w", [source("http://nowhere.invalid/w")])
    assert f"{cache / 'w.pt'}: sha256 is" in text
    assert (cache / "w.pt").read_bytes() == b"damaged"


def test_the_digest_seen_first_holds_where_none_is_published(server, cache):
    sources = [source(server.on("/w", whole, lambda send: whole(send, body=BODY[::-1])), sha256=None)]
    path = fetch("w", sources)
    assert (cache / "w.pt.sha256").read_text() == f"{SHA256}  w.pt\n"
    path.write_bytes(b"damaged")
    text = reasons(fetch, "w", sources)
    assert "delete that to accept it" in text
    assert path.read_bytes() == b"damaged"
    (cache / "w.pt.sha256").unlink()
    path.unlink()
    assert fetch("w", sources).read_bytes() == BODY[::-1]


def test_any_cached_source_is_used_before_the_network(server, cache):
    second = source("http://nowhere.invalid/w", filename="mirror.pt")
    cache.mkdir()
    (cache / "mirror.pt").write_bytes(BODY)
    assert fetch("w", [source(server.on("/w", whole)), second]) == cache / "mirror.pt"
    assert server.requests == []


def refuse_to_write(*args):
    raise PermissionError(13, "Read-only file system")


def test_a_file_in_a_read_only_cache_is_used(cache, monkeypatch):
    cache.mkdir()
    (cache / "w.pt").write_bytes(BODY)
    monkeypatch.setattr(download, "_write_whole", refuse_to_write)
    monkeypatch.setattr(download, "_lock", refuse_to_write)
    for sha256 in (SHA256, None):
        assert fetch("w", [source("http://nowhere.invalid/w", sha256)]) == cache / "w.pt"
    assert sorted(path.name for path in cache.iterdir()) == ["w.pt"]


def test_a_cache_that_cannot_be_written_is_one_line(server, tmp_path):
    (tmp_path / "file").write_text("")
    text = failure(fetch, "w", [source(server.on("/w", whole))], cache=tmp_path / "file" / "cache")
    assert str(tmp_path / "file" / "cache") in text
    assert "CLIPJAX_CACHE" in text
    assert server.requests == []


def test_a_folder_without_write_permission(server, cache):
    cache.mkdir()
    cache.chmod(0o555)
    if os.access(cache, os.W_OK):
        pytest.skip("nothing is read-only to root")
    assert "Permission denied" in failure(fetch, "w", [source(server.on("/w", whole))])


def test_too_little_space_is_said_before_a_byte_is_written(server, cache, monkeypatch):
    good = fetch("w", [source(server.on("/w", whole))])
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 200_000}))
    text = failure(fetch, "v", [source(server.url + "/w", filename="v.pt")])
    assert "free some space" in text
    assert "v.pt" in text
    assert good.read_bytes() == BODY
    assert left_over(cache) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_disk_that_fills_up_is_one_line_and_harms_no_other_file(server, cache):
    good = fetch("w", [source(server.on("/w", whole))])
    (cache / "v.pt.partial").symlink_to("/dev/full")
    text = failure(fetch, "v", [source(server.url + "/w", filename="v.pt")])
    assert "No space left on device" in text
    assert "free some space" in text
    assert not (cache / "v.pt").exists()
    assert good.read_bytes() == BODY


@pytest.mark.parametrize("filename", ["../w.pt", "/w.pt", "a/../../w.pt", "", ".", "a\\w.pt"])
def test_a_file_name_stays_inside_the_cache(server, filename):
    assert "inside the cache" in failure(fetch, "w", [source(server.on("/w", whole), filename=filename)])
    assert server.requests == []


def test_the_cache_folder_is_the_environments_or_the_users(monkeypatch, tmp_path):
    assert download.cache_dir() == tmp_path / "cache"
    monkeypatch.setenv("CLIPJAX_CACHE", "~/weights")
    assert download.cache_dir() == Path.home() / "weights"
    monkeypatch.setenv("CLIPJAX_CACHE", "")
    assert download.cache_dir().name == "clipjax"


# --- no network, and what is said then --------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["CLIPJAX_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_never_touches_the_network(server, cache, monkeypatch, variable):
    url = server.on("/w", whole)
    monkeypatch.setenv(variable, "1")
    assert "forbids the network" in reasons(fetch, "w", [source(url)])
    assert "forbids the network" in reasons(fetch_hub, "org/name", ["config.json"])
    assert "forbids the network" in reasons(fetch_release, "w", "w.pt", SHA256, ["org/name"])
    assert server.requests == []
    cache.mkdir(exist_ok=True)
    (cache / "w.pt").write_bytes(BODY)
    assert fetch("w", [source(url)]).read_bytes() == BODY


def test_the_one_line_names_what_was_tried_and_three_ways(server, cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    mirror = download.hub_url("timm/vit_clip.openai", "open_clip_model.safetensors")
    sources = [
        Source("http://nowhere.invalid/a/ViT-B-32.pt", "ViT-B-32.pt", SHA256),
        Source(mirror, "ViT-B-32.safetensors", SHA256),
    ]
    text = failure(fetch, "ViT-B/32", sources)
    assert text.startswith("cannot get ViT-B/32: nowhere.invalid: cannot connect (Name or service not known)")
    assert f"127.0.0.1:{server.server_port}: 404 Not Found" in text
    assert f"(1) copy ViT-B-32.pt or ViT-B-32.safetensors into {cache}" in text
    assert "CLIPJAX_CACHE" in text
    assert "(2) download http://nowhere.invalid/a/ViT-B-32.pt on another machine" in text
    assert f"(3) pass the hub mirror hf://timm/vit_clip.openai ({server.url}/timm/vit_clip.openai)" in text


# --- OpenAI's host and the hub ----------------------------------------------------------------------------------


def test_addresses_and_their_overrides(monkeypatch):
    assert download.openai_url("ab12", "ViT-B-32.pt") == (
        "https://openaipublic.azureedge.net/clip/models/ab12/ViT-B-32.pt"
    )
    assert download.hub_url("openai/clip-vit", "config.json") == (
        "https://huggingface.co/openai/clip-vit/resolve/main/config.json"
    )
    assert download.hub_url("o/n", "a b.json", "refs/pr/1").endswith("/o/n/resolve/refs%2Fpr%2F1/a%20b.json")
    monkeypatch.setenv("CLIPJAX_OPENAI_ENDPOINT", "http://127.0.0.1:1/clip/")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.invalid/")
    assert download.openai_url("ab12", "x.pt") == "http://127.0.0.1:1/clip/ab12/x.pt"
    assert download.hub_url("o/n", "c").startswith("https://mirror.invalid/o/n/")
    for wrong in ("mirror.invalid", "ftp://mirror.invalid", "http://[mirror", "http://mirror:port", "http://"):
        monkeypatch.setenv("HF_ENDPOINT", wrong)
        assert "HF_ENDPOINT" in failure(download.hub_url, "o/n", "c")


@pytest.mark.parametrize("repo", ["name", "a/b/c", "../b", "a/..", "a b/c", "", "a/b\n"])
def test_a_repository_is_org_and_name(repo):
    assert "org/name" in failure(fetch_hub, repo, ["config.json"])


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


def test_a_hub_folder_with_an_optional_file_that_is_not_there(hub, cache):
    hub({"config.json": b"{}", "model.safetensors": BODY})
    folder = fetch_hub("org/name", ["config.json", "model.safetensors"], ["preprocessor_config.json"])
    assert folder == cache / "hub" / "org--name" / "main"
    assert (folder / "config.json").read_bytes() == b"{}"
    assert (folder / "model.safetensors").read_bytes() == BODY
    asked = hub.asked()
    fetch_hub("org/name", ["config.json", "model.safetensors"], ["preprocessor_config.json"])
    assert hub.asked() == asked == ["config.json", "preprocessor_config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        # timm's repositories: config.json and model.safetensors are not the whole CLIP there.
        (
            ["config.json", "model.safetensors", "open_clip_config.json", "open_clip_model.safetensors"],
            {"open_clip_config.json", "open_clip_model.safetensors"},
        ),
        (
            ["config.json", "model.safetensors", "preprocessor_config.json"],
            {"config.json", "model.safetensors", "preprocessor_config.json"},
        ),
        (["config.json", "pytorch_model.bin"], {"config.json", "pytorch_model.bin"}),
    ],
)
def test_a_hub_model_is_taken_in_the_layout_that_the_repository_has(hub, files, taken):
    hub({name: name.encode() for name in files})
    folder = fetch_hub_model("org/name")
    weights = {path.name for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".bin")}
    assert weights == taken
    assert len(hub.asked()) == len(set(hub.asked()))


def test_a_repository_without_weights_names_what_it_lacks(hub):
    hub({"config.json": b"{}"})
    text = failure(fetch_hub_model, "org/name")
    for name in ("open_clip_config.json", "model.safetensors", "pytorch_model.bin"):
        assert name in text.split("Three ways")[0]
    assert all(f"({i})" in text for i in (1, 2, 3))


def test_a_hub_that_breaks_is_not_a_file_that_is_not_there(hub, server):
    hub({"config.json": b"{}", "model.safetensors": BODY})
    server.on("/org/name/resolve/main/open_clip_config.json", lambda send: error(send, 500))
    text = reasons(fetch_hub_model, "org/name")
    assert "500" in text
    assert set(hub.asked()) == {"open_clip_config.json"}


@pytest.mark.parametrize("redirected", [True, False])
def test_the_sha256_that_the_hub_declares_is_checked(hub, server, cache, redirected):
    tag = f'"{SHA256}"'
    if redirected:
        server.on("/org/name/resolve/main/w.bin", moved("/cdn", X_Linked_Etag=tag))
        server.on("/cdn", lambda send: whole(send, body=BODY[::-1]), whole)
    else:
        lie = [lambda send: whole(send, body=BODY[::-1], X_Linked_ETag=tag)]
        server.on("/org/name/resolve/main/w.bin", *lie, lambda send: whole(send, X_Linked_ETag=tag))
    assert "sha256" in reasons(fetch_hub, "org/name", ["w.bin"])
    assert not list(cache.rglob("w.bin"))
    assert (fetch_hub("org/name", ["w.bin"]) / "w.bin").read_bytes() == BODY


def test_a_release_comes_from_openai_first_and_from_the_hub_when_that_is_gone(hub, server, cache):
    server.on(f"/clip/{SHA256}/ViT-B-32.pt", whole)
    assert fetch_release("ViT-B/32", "ViT-B-32.pt", SHA256, ["org/name"]) == cache / "ViT-B-32.pt"
    assert hub.asked() == ["ViT-B-32.pt"]
    (cache / "ViT-B-32.pt").unlink()
    del server.answers[f"/clip/{SHA256}/ViT-B-32.pt"]
    hub({"open_clip_config.json": b"{}", "open_clip_model.safetensors": BODY})
    folder = fetch_release("ViT-B/32", "ViT-B-32.pt", SHA256, ["org/none", "org/name"])
    assert folder == cache / "hub" / "org--name" / "main"
    asked = hub.asked()
    weights = folder / "open_clip_model.safetensors"
    assert download.release_path("ViT-B-32.pt", SHA256, ["org/none", "org/name"]) == weights
    assert download.release_path("ViT-B-32.pt", SHA256, ["org/none"]) is None
    assert fetch_release("ViT-B/32", "ViT-B-32.pt", SHA256, ["org/none", "org/name"]) == folder
    assert hub.asked() == asked


def test_a_release_that_nobody_has_is_one_line_with_three_ways(hub, server, cache):
    text = failure(fetch_release, "RN50", "RN50.pt", SHA256, ["org/name"])
    assert f"127.0.0.1:{server.server_port}: 404 Not Found" in text
    assert "org/name: 404, the repository does not have open_clip_config.json or config.json" in text
    assert f"(1) copy RN50.pt into {cache}" in text
    assert f"(2) download {server.url}/clip/{SHA256}/RN50.pt on another machine" in text
    assert f"(3) pass the hub mirror hf://org/name ({server.url}/org/name)" in text
