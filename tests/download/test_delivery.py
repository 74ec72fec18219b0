"""Bytes on their way: delivered, broken, resumed, interrupted."""

import hashlib
import json
import random
import signal
import threading
import time

import pytest
from support.local_server import BODY, HALF, command, error, half, left_over, reasons, source, stall, whole

from clipjax import download, transfer
from clipjax.download import fetch


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
