"""Who is let in, what every answer says to the browser, how a run that cannot be explored is refused, and the end."""

import json
import re
import shutil
import socket
import urllib.request

import pytest
from starlette.testclient import TestClient
from support.chromium import serving

from clipjax.cli.main import main
from clipjax.explore.guard import LARGEST, LOOPBACK, Guard
from clipjax.explore.server import PAGE, Explorer


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    def run(self, sockets):
        raise AssertionError("the server has started")

    monkeypatch.setattr("clipjax.explore.serve._Server.run", run)


@pytest.fixture
def guarded(opened):
    app = Explorer(opened, ahead=False).app()

    def client(base="http://127.0.0.1:8000", names=LOOPBACK):
        return TestClient(Guard(app, "secret", names), base_url=base)

    return client


def test_nothing_is_shown_without_the_token(guarded):
    client = guarded()
    for path in ("/", "/page/main.js", "/images/0", "/?token=wrong", "/?token=", "/?token=%ff"):
        assert client.get(path).status_code == 403, path
    assert client.post("/api/start", json={}).status_code == 403
    entered = client.get("/?token=secret", follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert re.search(r"HttpOnly.*SameSite=lax", entered.headers["set-cookie"], re.IGNORECASE)
    assert client.get("/").status_code == 200
    assert client.get("/page/main.js").headers["content-type"].startswith("text/javascript")


def test_other_names_are_refused(guarded):
    """DNS rebinding: a name of the internet that points at 127.0.0.1."""
    for name in ("evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "[", ""):
        client = guarded()
        assert client.get("/?token=secret", headers={"host": name}).status_code == 403, name
    for base in ("http://localhost:1", "http://127.0.0.1", "http://[::1]:8"):
        assert guarded(base).get("/?token=secret").status_code == 200
    assert guarded("http://box.example:8000", None).get("/?token=secret").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_only_the_page_itself_can_ask(guarded, headers, status):
    client = guarded()
    client.get("/?token=secret")
    sent = {"content-type": "application/json"} | headers
    assert client.post("/api/start", content=b"{}", headers=sent).status_code == status


def test_requests_have_an_end(guarded):
    client = guarded()
    client.get("/?token=secret")
    json_type = {"content-type": "application/json"}
    assert client.post("/api/load", content=b" " * (LARGEST + 1), headers=json_type).status_code == 413
    assert client.post("/api/load", content=iter([b"{}"]), headers=json_type).status_code == 411


def test_every_answer_tells_the_browser_to_stay(guarded):
    client = guarded()
    answers = [client.get("/"), client.get("/?token=secret"), client.get("/page/style.css"), client.get("/nothing"),
               client.post("/api/start", json={}), client.post("/api/rates", json={})]  # fmt: skip
    for answer in answers:
        assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_the_page_brings_everything_and_writes_text_only():
    files = sorted(PAGE.iterdir())
    assert {f.suffix for f in files} == {".html", ".css", ".js", ".svg"}
    for file in files:
        text = file.read_text(encoding="utf-8")
        addresses = set(re.findall(r"https?://[^\s\"')]+", text)) - {"http://www.w3.org/2000/svg"}
        assert addresses == set(), file.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            file.name
        )
        assert not re.search(r"url\(|@import", text), file.name
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", html)
    labelled = set(re.findall(r'\bfor="([\w-]+)"', html))
    for tag, name in re.findall(r'<(input|select)\b[^>]*\bid="([\w-]+)"', html):
        own = re.search(rf'<{tag}\b[^>]*\bid="{name}"[^>]*aria-label=', html)
        inside = re.search(rf"<label[^>]*><input[^>]*id=\"{name}\"", html)
        assert name in labelled or own or inside, f"{name} has no label"


def refused(capsys, *words):
    """`clipjax explore` says one line and no more; a server that started instead would run for ever."""
    capsys.readouterr()
    assert main(["explore", *map(str, words)]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1, line
    return line


def test_a_run_that_cannot_be_explored_is_one_line(run, study, tmp_path, capsys, monkeypatch):
    assert "no such run" in refused(capsys, tmp_path / "none")
    assert "no finished run" in refused(capsys, tmp_path)
    there = tmp_path / "run"
    shutil.copytree(run, there)
    manifest = json.loads((there / "manifest.json").read_text())

    def write(**changes):
        (there / "manifest.json").write_text(json.dumps(manifest | changes))

    write(config=manifest["config"] | {"model": str(tmp_path / "gone.safetensors")})
    assert "gone.safetensors" in refused(capsys, there)
    write(config=manifest["config"] | {"model": "ViT-B/32"})
    assert "ViT-B/32" in refused(capsys, there)
    write(config=manifest["config"] | {"cache_dir": "none"})
    assert "kept no image features" in refused(capsys, there)
    write(config=manifest["config"] | {"probe": "linear"})
    assert "a run of linear has no class design" in refused(capsys, there)
    write(data=manifest["data"] | {"fingerprint": "0" * 64})
    assert "holds none of its images" in refused(capsys, there)
    write(counts=manifest["counts"] | {"seen": 59})
    assert "holds 58 of its 59 images" in refused(capsys, there)
    write()
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "empty"))
    assert "holds none of its images" in refused(capsys, there)
    assert not (tmp_path / "empty" / "features").exists()  # looking leaves nothing behind


def test_a_port_in_use_is_one_line(run, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot be listened on" in refused(capsys, run, f"--port={taken.getsockname()[1]}")
    assert "cannot be listened on" in refused(capsys, run, "--port=99999")
    assert "cannot be listened on" in refused(capsys, run, "--host=300.1.1.1")


def test_a_server_starts_answers_and_ends_by_ctrl_c(run, cache):
    with serving(run, cache=cache) as (address, process):
        assert address.startswith("http://127.0.0.1:")
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert b"Class-design explorer" in opener.open(address, timeout=60).read()
        base = address.split("/?")[0]
        request = urllib.request.Request(f"{base}/api/start", b"{}", {"content-type": "application/json"})
        assert json.loads(opener.open(request, timeout=60).read())["images"] == 58
    assert process.returncode == 0


def test_another_host_is_warned_about(run, capsys, monkeypatch):
    monkeypatch.setattr("clipjax.explore.serve._Server.run", lambda self, sockets: None)
    assert main(["explore", str(run), "--host=0.0.0.0"]) == 0
    shown = capsys.readouterr()
    assert "http://0.0.0.0:" in shown.out
    assert "lets other machines reach this page" in shown.err
    assert main(["explore", str(run), "--host=localhost"]) == 0
    assert capsys.readouterr().err == ""
