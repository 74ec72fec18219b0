"""What the page keeps and hands on: other wordings, its state as a file, the designs asked so far as a report."""

import html
import os
import re
import time

import pytest
from support.explored import Page, with_child

from clipjax import design
from clipjax.explore import serve, state


def test_wordings_side_by_side(page, mine):
    view = page.ask(
        "wordings", design=mine, wordings=["a photo of a {}.", "a drawing of a {}.", ""], grouping=["gender"]
    )
    assert [w["wording"] for w in view["wordings"]] == ["a photo of a {}.", "a drawing of a {}."]
    for w in view["wordings"]:
        alone = page.ask("rates", design=w["design"], question=view["question"], grouping=["gender"])
        assert w["design"]["templates"] == [w["wording"]]
        assert ([r["now"] for r in w["rows"]], w["moved"]) == ([r["now"] for r in alone["rows"]], alone["moved"])
    worded = page.ask("wordings", design=mine, of="man", wordings=["man", "gentleman"])["wordings"]
    assert worded[0]["moved"] == 0
    assert worded[1]["design"]["classes"][0]["texts"] == ["gentleman"]
    assert "1 to 24" in page.refused("wordings", design=mine, wordings=[" "])
    assert "needs exactly one {}" in page.refused("wordings", design=mine, wordings=["a photo"])
    assert "is a template" in page.refused("wordings", design=mine, of="man", wordings=["a {}"])
    assert "no such" in page.refused("wordings", design=mine, of="no such", wordings=["a"])


def test_the_state_of_the_page_is_a_design_file_with_one_more_key(page, mine, tmp_path, study):
    child = with_child(mine) | {"note": "two\nlines: of a note"}
    told = {
        "baseline": mine | {"name": "pinned"}, "trail": [mine, child], "view": "labels", "question": ["set", "job"],
        "grouping": ["age", "gender"], "column": "gender", "sides": ["male", "female"], "threshold": 0.2,
    }  # fmt: skip
    saved = page.ask("save", design=child, whole=True, **told)
    assert saved["file"] == "mine_child_explorer.yaml"
    found = page.ask("load", text=saved["text"], file=saved["file"])
    assert found["design"] == page.ask("load", text=page.ask("save", design=child)["text"], file="x.yaml")["design"]
    full = {"texts": [], "prompts": [], "sets": [], "attributes": {}}
    both = [mine, child | {"classes": [full | c for c in child["classes"]]}]
    assert found["explorer"] == told | {"trail": both}
    assert design.parse(saved["text"]).sha256 == design.parse(page.ask("save", design=child)["text"]).sha256
    (tmp_path / "state.yaml").write_text(saved["text"])
    again = Page(page.explorer.opened, before=state.read_file(tmp_path / "state.yaml"))
    assert again.ask("start")["state"] == found
    assert again.ask("start")["id"] != page.ask("start")["id"]
    assert page.ask("load", text="classes: [a]", file="plain.yaml")["explorer"] is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{view: {question: [set]}}", "bad.yaml: explorer: view.question"),
        ("{views: {}}", "bad.yaml: explorer: "),
        ("{trail: [{classes: [a, a]}]}", "bad.yaml: explorer.trail[0]: "),
        ("{pinned: {clases: [a]}}", 'nearest: "classes"'),
        ("[1]", "bad.yaml: explorer: "),
    ],
)
def test_a_bad_state_is_one_line(page, text, line):
    assert line in page.refused("load", text=f"classes: [a]\nexplorer: {text}", file="bad.yaml")


def test_a_trail_is_told_and_reported(page, mine):
    child = with_child(mine)
    told = page.ask("trail", design=child, trail=[mine, child])["steps"]
    assert [step["same"] for step in told] == [True, False]
    alone = [page.ask("rates", design=d) for d in (mine, child)]
    assert [s["text"] for s in told] == [
        (v["findings"] or [{"statement": v["silent"][0]}])[0]["statement"] for v in alone
    ]
    assert told[1]["moved"] == alone[1]["moved"]
    report = page.ask("report", design=child, trail=[mine, child])
    assert report["file"] == "trail_mine_child.html"
    text = html.unescape(report["text"])
    assert "What was found" in text
    for step in told:
        assert step["text"] in text
    assert "2. mine+child" in text
    assert "2 designs that were tried" in text
    assert not re.search(r"<script|(src|href)=\W?http|url\(http", report["text"])
    assert "not a list" in page.refused("report", design=child, trail="x")
    assert "no design" in page.refused("report", design=child, trail=[])


def test_an_address_lasts_a_day_and_is_its_owners(tmp_path):
    token = serve.kept_token(tmp_path / "run", tmp_path / "kept")
    assert serve.kept_token(tmp_path / "run", tmp_path / "kept") == token
    assert serve.kept_token(tmp_path / "other", tmp_path / "kept") != token
    (first, _) = sorted((tmp_path / "kept").iterdir(), key=lambda f: f.stat().st_mtime)
    assert first.stat().st_mode & 0o077 == 0
    first.chmod(0o644)  # others may have read it
    assert serve.kept_token(tmp_path / "run", tmp_path / "kept") != token
    first.chmod(0o600)
    assert serve.kept_token(tmp_path / "run", tmp_path / "kept") == token
    os.utime(first, (0, time.time() - serve.KEPT - 60))
    renewed = serve.kept_token(tmp_path / "run", tmp_path / "kept")
    assert renewed not in ("", token)
    assert serve.kept_token(tmp_path / "run", tmp_path / "kept") == renewed
    (tmp_path / "file").write_text("")
    assert len(serve.kept_token(tmp_path / "run", tmp_path / "file")) == len(token)  # nowhere to keep it
