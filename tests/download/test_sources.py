"""Sources that fail, redirects and tokens."""

import socket
import urllib.error
import urllib.request
from email.message import Message

import pytest
from support.local_server import (
    BODY,
    HALF,
    SHA256,
    error,
    failure,
    half,
    left_over,
    moved,
    reasons,
    running,
    source,
    whole,
)

from clipjax import transfer
from clipjax.download import fetch, fetch_hub


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
