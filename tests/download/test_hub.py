"""The Hugging Face hub: its own library against a server that speaks its API, and the cache that users have."""

import hashlib
import os
import subprocess
import sys

import pytest
from huggingface_hub import constants, hf_hub_download
from support.amount import EXHAUSTIVE
from support.local_server import BODY, COMMIT, HALF, REPOSITORY, error, failure, half, whole

from clipjax import download, loading, testing
from clipjax import hub as hub_
from clipjax.download import fetch_hub

CLIP = b'{"model_type": "clip"}'
TRANSFORMERS = {"config.json": CLIP, "model.safetensors": BODY, "preprocessor_config.json": b"{}"}
OPEN_CLIP = {"open_clip_config.json": b"{}", "open_clip_model.safetensors": BODY}
TIMM = {"config.json": b'{"architecture": "vit_base_patch32_clip_224"}', "model.safetensors": b"image encoder"}


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (TIMM | OPEN_CLIP, {*OPEN_CLIP}),
        (TRANSFORMERS | {"README.md": b"", "optimizer.bin": BODY}, {*TRANSFORMERS}),
        ({"config.json": CLIP, "pytorch_model.bin": BODY}, {"config.json", "pytorch_model.bin"}),
        ({"open_clip_config.json": b"{}", "open_clip_pytorch_model.bin": BODY},) * 2,
    ],
)
def test_a_model_is_taken_in_the_layout_that_the_repository_has(hub, files, taken):
    hub.add(files)
    folder = fetch_hub("hf://org/name")
    assert folder.name == COMMIT
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: files[name] for name in taken}


def test_a_model_of_the_hub_is_loaded_by_its_address(hub, tmp_path):
    tiny = loading.convert(testing.tiny_model(tmp_path / "tiny.safetensors"), tmp_path / "model", "huggingface")
    hub.add({path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}, revision="v1.0")
    found = loading.find_weights("hf://org/name@v1.0")
    assert (found.name, found.config) == ("org/name@v1.0", tiny.config)
    assert found.source["sha256"] == hashlib.sha256((tmp_path / "model" / "model.safetensors").read_bytes()).hexdigest()


def test_a_whole_model_is_asked_for_once(hub, server):
    hub.add(TRANSFORMERS)
    folder = fetch_hub("hf://org/name")
    asked = len(server.requests)
    assert fetch_hub("hf://org/name") == folder
    assert len(server.requests) == asked


def test_weights_are_hashed_once(hub, monkeypatch):
    hub.add(TRANSFORMERS)
    weights = fetch_hub("hf://org/name") / "model.safetensors"
    monkeypatch.setattr(download, "_hash", lambda *args: pytest.fail("hashed again"))
    fetch_hub("hf://org/name")
    assert download.digest(weights) == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("offline", [True, False])
def test_what_another_program_left_in_the_users_cache_is_used(hub, server, monkeypatch, offline):
    """As `transformers` fetches: file by file, by the hub's library."""
    hub.add(TRANSFORMERS)
    for name in TRANSFORMERS:
        hf_hub_download("org/name", name, endpoint=server.url)
    asked = len(server.requests)
    if offline:
        monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    folder = fetch_hub("hf://org/name")
    assert (folder / "model.safetensors").read_bytes() == BODY
    assert len(server.requests) == asked
    assert download.release_path("none.pt", ["org/none", "org/name"]) == folder / "model.safetensors"


def test_a_snapshot_without_its_preprocessing_is_completed_where_there_is_a_network(hub, server, monkeypatch):
    hub.add(TRANSFORMERS)
    for name in ("config.json", "model.safetensors"):
        hf_hub_download("org/name", name, endpoint=server.url)
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    assert not (fetch_hub("hf://org/name") / "preprocessor_config.json").exists()
    monkeypatch.delenv("CLIPJAX_OFFLINE")
    sent = hub.storage.sent
    assert (fetch_hub("hf://org/name") / "preprocessor_config.json").exists()
    assert hub.storage.sent == sent
    (fetch_hub("hf://org/name") / "preprocessor_config.json").unlink()
    server.answers.clear()
    assert (fetch_hub("hf://org/name") / "model.safetensors").exists()


def test_what_timm_left_in_the_cache_is_not_a_clip_model(hub, server):
    hub.add(TIMM | OPEN_CLIP)
    for name in TIMM:
        hf_hub_download("org/name", name, endpoint=server.url)
    assert hub_.cached(hub_.Repository("org/name")) is None
    assert (fetch_hub("hf://org/name") / "open_clip_model.safetensors").read_bytes() == BODY


@pytest.mark.parametrize("revision", ["v1.0", "refs/pr/1", "ab" * 20])
def test_a_revision_is_pinned(hub, revision):
    hub.add(TRANSFORMERS)
    hub.add({"config.json": CLIP, "pytorch_model.bin": BODY[::-1]}, revision=revision, commit="ab" * 20)
    folder = fetch_hub(f"hf://org/name@{revision}")
    assert folder.name == "ab" * 20
    assert (folder / "pytorch_model.bin").read_bytes() == BODY[::-1]
    assert fetch_hub("hf://org/name").name == COMMIT
    assert fetch_hub(f"hf://org/name@{revision}") == folder


def test_a_cut_connection_is_resumed(hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.add(TRANSFORMERS)
    hub.file("model.safetensors", BODY, answers=[half, whole])
    assert (fetch_hub("hf://org/name") / "model.safetensors").read_bytes() == BODY
    assert hub.storage.headers("Range") == [None, f"bytes={HALF}-"]
    assert hub.storage.sent == len(BODY)


def test_an_interrupted_download_leaves_no_model(hub, monkeypatch):
    hub.add(TRANSFORMERS)
    hub.file("model.safetensors", BODY, answers=[lambda send: whole(send, upto=0)])
    text = failure(fetch_hub, "hf://org/name")
    assert text.startswith("cannot get hf://org/name: ")
    assert hub_.cached(hub_.Repository("org/name")) is None
    hub.file("model.safetensors", BODY)
    assert (fetch_hub("hf://org/name") / "model.safetensors").read_bytes() == BODY


def test_the_sha256_that_the_hub_declares_is_checked(hub):
    hub.add(TRANSFORMERS)
    hub.file("model.safetensors", BODY[::-1], declared=hashlib.sha256(BODY).hexdigest())
    text = failure(fetch_hub, "hf://org/name")
    assert "the hub declared" in text
    blob = text.partition("delete ")[2].partition(" and try")[0]
    os.unlink(blob)
    hub.file("model.safetensors", BODY)
    assert (fetch_hub("hf://org/name") / "model.safetensors").read_bytes() == BODY


def test_damage_in_the_users_cache_is_noticed(hub):
    hub.add(TRANSFORMERS)
    weights = fetch_hub("hf://org/name") / "model.safetensors"
    weights.resolve().write_bytes(BODY[:-1])
    assert f"delete {weights.resolve()}" in failure(fetch_hub, "hf://org/name")


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub, server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    hub.add(TRANSFORMERS)
    fetch_hub("hf://org/name")
    assert set(server.headers("authorization")) == {"Bearer hf_secret"}
    assert hub.storage.requests
    assert set(hub.storage.headers("authorization")) == {None}


def test_a_token_that_cannot_be_sent_is_not_shown(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secr\u00e9t")
    hub.add(TRANSFORMERS)
    with pytest.raises(ValueError, match="cannot get hf://org/name") as caught:
        fetch_hub("hf://org/name")
    assert "secr" not in str(caught.value)


def refused(status, code, message):
    def answer(send):
        send.extra("X-Error-Code", code)
        send.extra("X-Error-Message", message)
        error(send, status)

    return answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refused(403, "GatedRepo", "ask"), "gated: accept its terms at {url}/org/name and set HF_TOKEN"),
        (refused(401, "RepoNotFound", "no"), "401 Unauthorized (check the name; a private or gated repository needs"),
        (refused(404, "RepoNotFound", "no"), "404 Not Found (check the name"),
        (refused(404, "RevisionNotFound", "no"), "404, the repository has no revision main"),
        (lambda send: error(send, 403), "403 Forbidden (check the name"),
        (lambda send: error(send, 500), "500 Internal Server Error"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_a_remedy(hub, server, answer, said):
    server.on("/api/models/org/name/revision/main", answer)
    text = failure(fetch_hub, "hf://org/name")
    assert text.startswith(f"cannot get hf://org/name: {said.format(url=server.url)}")
    assert f"download {server.url}/org/name/tree/main on another machine" in text


def test_a_gated_file_of_a_listed_repository(hub, server):
    hub.add(TRANSFORMERS)
    server.on(f"/org/name/resolve/{COMMIT}/model.safetensors", refused(403, "GatedRepo", "ask"))
    assert "accept its terms" in failure(fetch_hub, "hf://org/name")


@pytest.mark.parametrize("address", ["http://nowhere.invalid", "http://127.0.0.1:1"])
def test_a_hub_that_cannot_be_reached(monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    text = failure(fetch_hub, "hf://org/name")
    assert "Name or service not known" in text or "Connection refused" in text


def test_a_repository_without_weights_names_what_it_lacks(hub):
    hub.add({"config.json": CLIP})
    text = failure(fetch_hub, "hf://org/name")
    for name in ("open_clip_config.json", "model.safetensors", "pytorch_model.bin", "revision main"):
        assert name in text


@pytest.mark.parametrize("code", [28, 122])
def test_a_full_disk_is_one_line(hub, monkeypatch, code):
    from huggingface_hub import file_download

    def full(*args):
        raise OSError(code, os.strerror(code), "blob")

    hub.add(TRANSFORMERS)
    monkeypatch.setattr(file_download, "_chmod_and_move", full)
    text = failure(fetch_hub, "hf://org/name")
    assert f"{os.strerror(code)} in {constants.HF_HUB_CACHE}: free some space, or set HF_HUB_CACHE" in text


def test_a_cache_that_cannot_be_written_is_one_line(hub, monkeypatch, tmp_path):
    hub.add(TRANSFORMERS)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert "set HF_HUB_CACHE to a folder that can be written" in failure(fetch_hub, "hf://org/name")


@pytest.mark.parametrize("address", ["name", "a/b/c", "../b", "a/..", "a b/c", "", "a/b\n", "a/b@", "a/b@../x"])
def test_a_repository_is_org_and_name(server, address):
    assert "hf://org/name" in failure(fetch_hub, f"hf://{address}") or "revision" in failure(fetch_hub, address)


PROGRAM = """
import sys, clipjax
from clipjax import download, loading, testing
assert "huggingface_hub" not in sys.modules
print(download.fetch_hub("hf://org/name"))
"""


def test_the_librarys_own_environment_holds(hub, server, tmp_path):
    hub.add(TRANSFORMERS)

    def run(**environment):
        known = {"PYTHONPATH": str(REPOSITORY), "NO_PROXY": "*", "CLIPJAX_CACHE": str(tmp_path / "cache")}
        own = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": server.url, "HF_TOKEN": "hf_own"}
        others = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM], env=others | known | own | environment,
            capture_output=True, text=True,
        )  # fmt: skip

    if EXHAUSTIVE:  # a process more
        refused = run(HF_HUB_OFFLINE="1")
        assert "InputError: cannot get hf://org/name: not in the cache, and" in refused.stderr
        assert server.requests == []
    done = run()
    assert done.stdout.strip() == str(tmp_path / "home" / "hub" / "models--org--name" / "snapshots" / COMMIT)
    assert set(server.headers("authorization")) == {"Bearer hf_own"}
    assert all(path.startswith(("/api/models/org/name/", "/org/name/")) for path, _ in server.requests)
    asked = len(server.requests)
    again = run(HF_HUB_OFFLINE="1")
    assert again.stdout == done.stdout, again.stderr
    assert len(server.requests) == asked
