"""The cache of OpenAI's files, and no network."""

import os
from pathlib import Path

import pytest
from support.local_server import BODY, SHA256, failure, fetch, left_over, reasons, refuse_to_write, whole

from clipjax import download


def test_a_file_copied_into_the_cache_is_verified_once(cache, monkeypatch):
    cache.mkdir()
    (cache / "w.pt").write_bytes(BODY)
    assert fetch() == cache / "w.pt"
    monkeypatch.setattr(download, "_hash", lambda *args: pytest.fail("hashed again"))
    assert fetch() == cache / "w.pt"
    assert download.digest(cache / "w.pt") == SHA256
    assert download.release_path("w.pt") == cache / "w.pt"
    assert download.release_path("none.pt") is None


@pytest.mark.parametrize("same_size", [True, False])
def test_a_damaged_cached_file_is_noticed_and_replaced(server, openai, same_size):
    openai(whole)
    path = fetch()
    path.write_bytes(BODY[::-1] if same_size else BODY[:-1])
    os.utime(path, ns=(1, 1))
    assert fetch().read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_damaged_cached_file_is_named_and_kept_when_nothing_replaces_it(openai, cache):
    cache.mkdir()
    (cache / "w.pt").write_bytes(b"damaged")
    assert f"{cache / 'w.pt'}: sha256 is" in failure(fetch)
    assert (cache / "w.pt").read_bytes() == b"damaged"


def test_a_damaged_stamp_is_not_believed(cache):
    cache.mkdir()
    (cache / "w.pt").write_bytes(BODY)
    fetch()
    (stamp,) = (cache / "verified").iterdir()
    for damaged in (b"", b"\xff\xfe", stamp.read_bytes()[:-1]):
        stamp.write_bytes(damaged)
        assert fetch() == cache / "w.pt"


def test_a_file_in_a_read_only_cache_is_used(cache, monkeypatch):
    cache.mkdir()
    (cache / "w.pt").write_bytes(BODY)
    monkeypatch.setattr(download, "write_text", refuse_to_write)
    monkeypatch.setattr(download, "_lock", refuse_to_write)
    assert fetch() == cache / "w.pt"


def test_a_cache_that_cannot_be_written_is_one_line(server, openai, tmp_path, monkeypatch):
    openai(whole)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "file" / "cache"))
    text = failure(fetch)
    assert str(tmp_path / "file" / "cache") in text
    assert "CLIPJAX_CACHE" in text
    assert server.requests == []


def test_a_folder_without_write_permission(openai, cache):
    openai(whole)
    cache.mkdir()
    cache.chmod(0o555)
    if os.access(cache, os.W_OK):
        pytest.skip("nothing is read-only to root")
    assert "Permission denied" in failure(fetch)


def test_too_little_space_is_said_before_a_byte_is_written(openai, cache, monkeypatch):
    openai(whole)
    good = fetch()
    openai(whole, filename="v.pt")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 200_000}))
    text = failure(fetch, filename="v.pt")
    assert "free some space" in text
    assert "v.pt" in text
    assert good.read_bytes() == BODY
    assert left_over(cache) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_disk_that_fills_up_is_one_line_and_harms_no_other_file(openai, cache):
    openai(whole)
    good = fetch()
    openai(whole, filename="v.pt")
    (cache / "v.pt.partial").symlink_to("/dev/full")
    text = failure(fetch, filename="v.pt")
    assert "No space left on device" in text
    assert "free some space" in text
    assert not (cache / "v.pt").exists()
    assert good.read_bytes() == BODY


def test_the_cache_folder_is_the_environments_or_the_users(monkeypatch, tmp_path):
    assert download.cache_dir() == tmp_path / "cache"
    monkeypatch.setenv("CLIPJAX_CACHE", "~/weights")
    assert download.cache_dir() == Path.home() / "weights"
    monkeypatch.setenv("CLIPJAX_CACHE", "")
    assert download.cache_dir().name == "clipjax"


@pytest.mark.parametrize("variable", ["CLIPJAX_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_never_touches_the_network(server, openai, hub, cache, monkeypatch, variable):
    openai(whole)
    hub.add({"open_clip_config.json": b"{}", "open_clip_model.safetensors": BODY})
    monkeypatch.setenv(variable, "1")
    assert "forbids the network" in reasons(fetch, repositories=["org/name"])
    assert "forbids the network" in reasons(download.fetch_hub, "hf://org/name")
    assert server.requests == []
    cache.mkdir(exist_ok=True)
    (cache / "w.pt").write_bytes(BODY)
    assert fetch().read_bytes() == BODY


def test_addresses_and_their_overrides(monkeypatch):
    assert download.openai_url("ab12", "ViT-B-32.pt") == (
        "https://openaipublic.azureedge.net/clip/models/ab12/ViT-B-32.pt"
    )
    monkeypatch.setenv("CLIPJAX_OPENAI_ENDPOINT", "http://127.0.0.1:1/clip/")
    assert download.openai_url("ab12", "x.pt") == "http://127.0.0.1:1/clip/ab12/x.pt"
    for wrong in ("mirror.invalid", "ftp://mirror.invalid", "http://[mirror", "http://mirror:port", "http://"):
        monkeypatch.setenv("CLIPJAX_OPENAI_ENDPOINT", wrong)
        assert "CLIPJAX_OPENAI_ENDPOINT" in failure(download.openai_url, "ab12", "x.pt")
        monkeypatch.setenv("HF_ENDPOINT", wrong)
        assert "HF_ENDPOINT" in failure(download.fetch_hub, "hf://org/name")
