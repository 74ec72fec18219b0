"""Bytes on their way from OpenAI's address: delivered, broken, resumed, interrupted."""

import hashlib
import random
import signal
import threading
import time

import pytest
from support.local_server import BODY, HALF, command, error, fetch, half, left_over, stall, whole

from clipjax import download


def test_a_file_is_fetched_once_and_then_no_request_is_made(server, openai, cache, capsys, monkeypatch):
    openai(whole)
    path = fetch()
    assert path == cache / "w.pt"
    assert path.read_bytes() == BODY
    monkeypatch.setattr(download, "_hash", lambda *args: pytest.fail("hashed a file that was just verified"))
    assert fetch() == path
    assert len(server.requests) == 1
    assert left_over(cache) == []
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "download w.pt: 0.3/0.3 MB  100%" in captured.err


@pytest.mark.parametrize("breaks", [half, stall])
def test_a_broken_transfer_goes_on_where_it_stopped(server, openai, breaks):
    openai(breaks, whole)
    assert fetch(timeout=1.0).read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={HALF}-"]
    assert server.sent == len(BODY)


def test_many_breaks_are_survived_as_long_as_bytes_arrive(server, openai, monkeypatch):
    monkeypatch.setattr(download, "ENOUGH", 30_000)
    stops = [30_000 * i for i in range(1, 10)]
    openai(*[lambda send, stop=stop: whole(send, upto=stop) for stop in stops], whole)
    assert fetch().read_bytes() == BODY
    assert len(server.requests) == 10 > download.TRIES
    assert server.sent == len(BODY)


def test_a_server_without_ranges_is_asked_for_the_whole_again(server, openai):
    openai(lambda send: half(send, ranges=False), lambda send: whole(send, ranges=False))
    assert fetch().read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={HALF}-"]


def test_halves_of_two_versions_do_not_become_a_file(server, openai):
    other = random.Random(1).randbytes(len(BODY))
    openai(lambda send: half(send, body=other), whole)
    assert fetch().read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={HALF}-", None]


def test_a_part_longer_than_the_file_starts_anew(server, openai):
    # A HALF-sized file on the server now, and a part of a longer one here.
    short = BODY[: HALF // 2]
    digest = hashlib.sha256(short).hexdigest()
    openai(half, lambda send: whole(send, body=short), sha256=digest)
    assert fetch(digest).read_bytes() == short
    assert server.headers("Range") == [None, f"bytes={HALF}-", None]


def test_chunked_bodies_arrive_and_a_torn_one_is_noticed(server, openai):
    def chunked(send, end=b"0\r\n\r\n"):
        send.extra("Transfer-Encoding", "chunked")
        send.body(200, b"%x\r\n" % len(BODY) + BODY + b"\r\n" + end)

    openai(lambda send: chunked(send, end=b""), chunked)
    assert fetch().read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_connection_kept_open_after_the_last_byte_does_not_hang(server, openai):
    def keeps(send):
        whole(send)
        send.server.release.wait(20)

    # No deadline is measured: one read past the end would be a timeout, and a second request.
    openai(keeps)
    assert fetch(timeout=5.0).read_bytes() == BODY
    assert len(server.requests) == 1


def test_an_interrupted_download_is_resumed_by_the_next_call(server, openai, cache, monkeypatch):
    openai(whole)
    read, blocks = download._read, []
    monkeypatch.setattr(download, "BLOCK", 10_000)

    def interrupted(response):
        if len(blocks) == 5:
            raise KeyboardInterrupt
        blocks.append(read(response))
        return blocks[-1]

    monkeypatch.setattr(download, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch()
    had = sum(map(len, blocks))
    assert not (cache / "w.pt").exists()
    assert (cache / "w.pt.partial").stat().st_size == had > 0
    monkeypatch.setattr(download, "_read", read)
    assert fetch().read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={had}-"]
    assert left_over(cache) == []


def test_a_complete_part_is_taken_as_it_is(server, openai, cache):
    openai(whole)
    cache.mkdir()
    (cache / "w.pt.partial").write_bytes(BODY)
    assert fetch().read_bytes() == BODY
    assert server.headers("Range") == [f"bytes={len(BODY)}-"]
    assert server.sent == 0


def test_a_part_of_unknown_origin_is_replaced(server, openai, cache):
    openai(whole)
    cache.mkdir()
    (cache / "w.pt.partial").write_bytes(b"something else")
    assert fetch().read_bytes() == BODY
    assert server.headers("Range") == ["bytes=14-", None]


def test_a_killed_process_loses_nothing_that_had_arrived(server, openai, cache):
    openai(stall, whole)
    with command() as process:
        assert server.stalled.wait(60)
        part, deadline = cache / "w.pt.partial", time.monotonic() + 60
        while not (part.exists() and part.stat().st_size == HALF) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert fetch().read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={HALF}-"]


def test_two_processes_download_once(server, openai, cache):
    go = threading.Event()

    def held(send):
        go.wait(20)
        whole(send)

    openai(held)
    with command() as one, command() as two:

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


def test_two_threads_download_once(server, openai, monkeypatch):
    go = threading.Event()

    def held(send):
        go.wait(20)
        whole(send)

    openai(held)
    monkeypatch.setattr(download, "say", lambda message: go.set())
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(timeout=60))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == BODY for path in paths] == [True, True]
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_but_not_for_ever(server, openai, status):
    openai(lambda send: error(send, status), whole)
    assert fetch().read_bytes() == BODY
    url = openai(lambda send: error(send, status), filename="other.pt")
    with pytest.raises(ValueError, match=f"{status}.* \\(5 times in a row\\)"):
        fetch(filename="other.pt")
    assert [path for path, _ in server.requests].count(url.removeprefix(server.url)) == download.TRIES
