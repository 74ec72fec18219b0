"""The cache, no network, OpenAI's host and the hub."""

import os
from pathlib import Path

import pytest
from support.local_server import BODY, SHA256, error, failure, left_over, moved, reasons, refuse_to_write, source, whole

from clipjax import download, transfer
from clipjax.download import Source, fetch, fetch_hub, fetch_hub_model, fetch_release


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
