"""OpenAI's address and its mirrors on the hub: sources that fail, redirects, and in which order they are asked."""

import socket
import urllib.error
import urllib.request
from email.message import Message

import pytest
from support.local_server import BODY, HALF, SHA256, error, failure, fetch, half, left_over, moved, reasons, whole

from clipjax import download

LAYOUT = {"open_clip_config.json": b"{}", "open_clip_model.safetensors": BODY}


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500])
def test_a_refusal_goes_to_the_next_source(server, openai, hub, status):
    openai(lambda send: error(send, status))
    hub.add(LAYOUT)
    assert (fetch(repositories=["org/none", "org/name"]) / "open_clip_model.safetensors").read_bytes() == BODY


def test_an_address_that_always_breaks_at_once_is_given_up(server, openai, hub):
    url = openai(lambda send: whole(send, upto=0))
    hub.add(LAYOUT)
    assert (fetch(repositories=["org/name"]) / "open_clip_model.safetensors").read_bytes() == BODY
    assert [path for path, _ in server.requests].count(url.removeprefix(server.url)) == download.TRIES


def test_a_server_that_never_answers_is_given_up(server, openai):
    openai(lambda send: send.server.release.wait(20))
    assert "timed out (5 times in a row)" in reasons(fetch, timeout=0.1)


@pytest.mark.parametrize("body", [BODY[::-1], b"<!DOCTYPE html><title>Sign in</title>", b""])
def test_a_wrong_hash_leaves_nothing_and_the_next_source_is_used(server, openai, hub, cache, body):
    openai(lambda send: whole(send, body=body))
    text = reasons(fetch)
    assert f"not {SHA256[:12]}" in text
    assert len(server.requests) == 1
    assert not (cache / "w.pt").exists()
    assert left_over(cache) == []
    hub.add(LAYOUT)
    assert (fetch(repositories=["org/name"]) / "open_clip_model.safetensors").read_bytes() == BODY


@pytest.mark.parametrize("address", ["http://nowhere.invalid", "http://127.0.0.1:1"])
def test_a_host_that_cannot_be_reached_is_tried_once(monkeypatch, address):
    monkeypatch.setenv("CLIPJAX_OPENAI_ENDPOINT", address)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: pytest.fail("waited for a host that is not there"))
    assert "cannot connect (" in reasons(fetch)


def test_a_network_that_goes_away_in_the_middle_is_waited_for(server, openai, monkeypatch):
    connect, calls = socket.socket.connect, []

    def flaky(self, address):
        calls.append(address)
        if len(calls) == 2:
            raise OSError(101, "Network is unreachable")
        connect(self, address)

    openai(half, whole)
    monkeypatch.setattr(socket.socket, "connect", flaky)
    assert fetch().read_bytes() == BODY
    assert len(calls) == 3
    assert server.sent == len(BODY)


def test_redirects_are_followed_with_the_range_and_resumed(server, openai):
    server.on("/to", half, whole)
    openai(moved("/to"))
    assert fetch().read_bytes() == BODY
    assert server.headers("Range") == [None, None, f"bytes={HALF}-", f"bytes={HALF}-"]
    assert server.sent == len(BODY)


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://nowhere.invalid/w", "gopher://nowhere.invalid/"])
def test_redirects_lead_to_http_only(server, openai, cache, to):
    openai(moved(to))
    text = reasons(fetch)
    assert "refused" in text or "not allowed" in text
    assert len(server.requests) == 1
    assert not (cache / "w.pt").exists()


def test_redirects_never_leave_https():
    request = urllib.request.Request("https://nowhere.invalid/w")
    with pytest.raises(urllib.error.HTTPError, match="refused") as caught:
        download._Redirects().redirect_request(request, None, 302, "", Message(), "http://nowhere.invalid/w")
    caught.value.close()


def test_an_endless_redirect_ends(server, openai):
    openai(moved(f"/clip/{SHA256}/w.pt"))
    assert "302" in reasons(fetch)


def test_a_release_comes_from_openai_first_and_from_the_hub_when_that_is_gone(openai, hub, server, cache):
    openai(whole)
    hub.add(LAYOUT)
    assert fetch(repositories=["org/name"]) == cache / "w.pt"
    assert len(server.requests) == 1
    (cache / "w.pt").unlink()
    openai(lambda send: error(send, 404))
    folder = fetch(repositories=["org/none", "org/name"])
    assert download.release_path("w.pt", ["org/none", "org/name"]) == folder / "open_clip_model.safetensors"
    assert download.release_path("w.pt", ["org/none"]) is None
    asked = len(server.requests)
    assert fetch(repositories=["org/none", "org/name"]) == folder
    assert len(server.requests) == asked


def test_a_release_that_nobody_has_is_one_line_with_three_ways(openai, hub, server, cache):
    hub.add({"config.json": b"{}"})
    text = failure(fetch, repositories=["org/name"])
    assert text.startswith("cannot get w: 127.0.0.1: 404 Not Found; hf://org/name: the repository does not have open_")
    assert f"(1) copy w.pt into {cache}" in text
    assert f"(2) download {server.url}/clip/{SHA256}/w.pt on another machine" in text
    assert "(3) pass the hub mirror hf://org/name" in text
