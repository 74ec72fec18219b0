"""The explorer over HTTP: the numbers of the command line, the texts that are asked, images, hostile designs."""

import csv
import dataclasses
import io
import json
import shutil

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.testclient import TestClient
from support.explored import Page, with_child

from clipjax import design
from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.explore.guard import Guard
from clipjax.explore.opened import open_run
from clipjax.explore.texts import Superseded, Texts
from clipjax.testing import tiny_model


def records_of(run, metric="rate"):
    return [r for r in json.loads((run / "metrics.json").read_text())["records"] if r["metric"] == metric]


def same_rates(view, records, kind, name, grouping):
    """Every row is the command line's record to the last bit."""
    wanted = {frozenset(r["group"].items()): r for r in records if r.get(kind) == name and set(r["group"]) == grouping}
    rows = {frozenset(r["group"].items()): r["now"] for r in view["rows"] if set(r["group"]) == grouping}
    assert rows == wanted
    assert wanted
    return len(rows)


def test_the_runs_own_design_has_the_runs_own_numbers(page, run):
    answer = page.ask("start")
    assert answer["differ"] == 0
    assert answer["images"] == 58
    assert [tuple(g) for g in answer["groupings"]][:4] == [(), ("age",), ("skin_tone",), ("gender",)]
    seen = 0
    for grouping in answer["groupings"]:
        for kind, name in (("set", "person"), ("set", "job"), ("set", "fantasy"), ("class", "elf")):
            if kind == "class" and len(grouping) > 1:
                continue  # the probe does not cross single classes
            view = page.ask("rates", design=answer["design"], question=[kind, name], grouping=grouping)
            assert view["moved"] == 0
            seen += same_rates(view, records_of(run), kind, name, set(grouping))
    assert seen > 60


def test_an_edited_design_has_the_numbers_of_probe_and_compare(page, mine, study, run, tmp_path):
    edited = with_child(mine)
    edited["templates"].append("art of a {}.")
    edited["classes"][4] |= {"name": "crow", "prompts": ["a crow", "one black bird"], "sets": ["fantasy", "bird"]}
    saved = page.ask("save", design=edited)
    assert saved["file"] == "mine_child.yaml"
    (study.root / "edited.yaml").write_text(saved["text"])
    again = study.probe("rates", design="edited.yaml")
    for name, grouping in (("person", ["age"]), ("fantasy", ["skin_tone", "gender"]), ("bird", [])):
        view = page.ask("rates", design=edited, question=["set", name], grouping=grouping)
        same_rates(view, records_of(again), "set", name, set(grouping))
    assert main(["compare", str(run), str(again), f"--out={tmp_path / 'compared'}"]) == 0
    wanted = json.loads((tmp_path / "compared" / "compare.json").read_text())["records"]
    answers = page.explorer.answers
    base = answers.ask(answers.opened.design)
    edited_file = answers.ask(design.read_design(str(study.root / "edited.yaml")))
    between = answers.between(base, edited_file)
    assert [r.to_dict() for r in between.records] == wanted
    compared = json.loads((tmp_path / "compared" / "compare.json").read_text())
    assert [f.to_dict() for f in between.findings] == compared["findings"]
    view = page.ask("rates", design=edited, question=["set", "fantasy"], grouping=["skin_tone"])
    answer = [r["paired"] for r in view["rows"]]
    assert answer == [r for r in wanted if r["set"] == "fantasy" and set(r["group"]) <= {"skin_tone"}]
    flips = (tmp_path / "compared" / "flips.csv").read_text().splitlines()
    assert view["moved"] == len(flips) - 1 > 0
    assert sum(n for *_, n in view["moves"]) == view["moved"]


def test_a_pinned_design_is_the_baseline(page, mine):
    child = with_child(mine)
    fewer = child | {"name": "fewer", "classes": child["classes"][1:]}
    there = page.ask("rates", design=fewer, baseline=child, question=["set", "person"], grouping=["gender"])
    back = page.ask("rates", design=child, baseline=fewer, question=["set", "person"], grouping=["gender"])
    assert there["baseline"]["name"] == "mine+child"
    for a, b in zip(there["rows"], back["rows"], strict=True):
        assert a["paired"]["difference"] == -b["paired"]["difference"]
        assert (a["paired"]["only_a"], a["paired"]["p"]) == (b["paired"]["only_b"], b["paired"]["p"])
        assert a["now"] == b["base"]


@pytest.mark.parametrize("text", ["pirate", "pirate:person", "pirate:person:job"])
def test_an_added_class_is_the_command_lines(page, mine, study, text):
    """The same text is the same design, and has the same numbers, `no set` among them."""
    found = page.ask("add", design=mine, text=text)["class"]
    wanted = design.read_design(f"{study.root / 'mine.yaml'}+{text}")
    added = mine | {"classes": [*mine["classes"], found]}
    saved = design.parse(page.ask("save", design=added)["text"])
    assert saved.sha256 == wanted.sha256
    run = study.probe("rates", design=f"mine.yaml+{text}", groups="age")
    answer = page.ask("rates", design=added)["design"]
    assert answer["unset"] == wanted.unset_note().replace("mine+pirate:", "mine:")
    assert ("no set" in answer["sets"]) == (text == "pirate")
    for name in answer["sets"]:
        view = page.ask("rates", design=added, question=["set", name], grouping=["age"])
        same_rates(view, records_of(run), "set", name, {"age"})
        assert all(row["paired"]["k_b"] == row["now"]["k"] for row in view["rows"])
        assert all(row["paired"]["k_a"] == row["base"]["k"] for row in view["rows"])


def test_a_class_that_cannot_be_added_is_one_line(page, mine):
    assert 'nearest: "person"' in page.refused("add", design=mine, text="child:persn")
    assert "is empty" in page.refused("add", design=mine, text=" ")
    assert "10,000 characters" in page.refused("add", design=mine, text="x" * 10_000)
    assert "'no set' counts" in page.refused("add", design=mine, text="child", sets=["no set"])
    there = page.ask("add", design=mine, text="child:person", sets=["young", " person"])["class"]
    assert there["sets"] == ["person", "young"]  # a set of its own field may be new


def test_labels_are_those_of_the_probe(study):
    run = study.probe(
        "congress:csv", "--config.thresholds=0.1,0.3", "--config.contrast=gender=female|male", groups="gender,age"
    )
    page = Page(open_run(read_run(run)))
    answer = page.ask("start")
    assert (answer["kind"], answer["contrast"]) == ("labels", {"column": "gender", "sides": ["female", "male"]})
    for threshold in (0.1, 0.3):
        view = page.ask("labels", design=answer["design"], threshold=threshold)["labels"]
        records = json.loads((run / "metrics.json").read_text())["records"]
        mine = [r for r in records if r.get("threshold") == threshold]
        for row in view["rows"]:
            wanted = [r for r in mine if r["metric"] == "label_rate" and r["label"] == row["label"]]
            got = [(s["k"], s["n"], s["value"], s["low"], s["high"]) for s in row["sides"]]
            assert got == [(r["k"], r["n"], r["value"], r["low"], r["high"]) for r in wanted]
            for test, name in (("chi_squared", "images"), ("chi_squared", "tokens"), ("fisher", "fisher")):
                there = [
                    r for r in mine if r["metric"] == test and r["label"] == row["label"]
                    and (test == "fisher" or r["denominator"] == name)
                ]  # fmt: skip
                assert [r["p_benjamini_hochberg"] for r in there] == (
                    [row[name]["p_benjamini_hochberg"]] if name in row else []
                )
        assert view["per_image"] == [r["value"] for r in mine if r["metric"] == "labels_per_image"]
    csv = page.ask("table", design=answer["design"], view="labels")
    assert csv["text"].splitlines()[0].startswith("label,female k,female n,female rate")
    assert "not a probability" in page.refused("labels", design=answer["design"], threshold=7)


def test_a_zero_shot_run_can_be_explored(study):
    run = study.probe("zeroshot:csv", "--config.data.label_column=gender", design="", groups="age")
    page = Page(open_run(read_run(run)))
    answer = page.ask("start")
    assert answer["differ"] == 0
    assert [c["name"] for c in answer["design"]["classes"]] == ["female", "male", "neutral"]
    assert "label" in answer["columns"]
    view = page.ask("rates", design=answer["design"], question=["class", "male"], grouping=["label"])
    found = pq.read_table(run / "predictions.parquet").to_pydict()
    called = [p == "male" for p, truth in zip(found["prediction"], found["label"], strict=True) if truth == "female"]
    women = next(r["now"] for r in view["rows"] if r["group"] == {"label": "female"})
    assert (women["k"], women["n"]) == (sum(called), len(called))


def test_only_new_prompts_are_encoded(fresh, mine, monkeypatch):
    asked = []
    encode = Texts._encode
    monkeypatch.setattr(Texts, "_encode", lambda self, texts: asked.append(list(texts)) or encode(self, texts))
    fresh.ask("rates", design=mine)
    assert asked == []  # the run's own are in the command line's cache
    assert fresh.explorer.answers.texts._features_of_run is None  # so that nobody has waited for the model
    fresh.ask("rates", design=with_child(mine))
    fresh.ask("rates", design=with_child(mine) | {"name": "another name"})
    assert [sorted(texts) for texts in asked] == [["a drawing of a child.", "a photo of a child."]]


def test_texts_of_another_device_are_not_mixed_with_those_encoded_here(study, mine, monkeypatch):
    with jax.default_matmul_precision("highest"):  # to a CPU the same; to the cache what a GPU's run is to a laptop
        made = Page(open_run(read_run(study.probe("rates"))))
    asked = []
    encode = Texts._encode
    monkeypatch.setattr(Texts, "_encode", lambda self, texts: asked.append(list(texts)) or encode(self, texts))
    made.ask("rates", design=mine)
    texts = [text for part in asked for text in part]
    assert sorted(texts) == sorted({text for prompts in made.explorer.opened.design.prompts() for text in prompts})


def test_an_older_question_is_dropped(fresh, mine, monkeypatch):
    fresh.ask("rates", design=mine, page="a", turn=5)
    assert fresh.ask("rates", 409, design=mine, page="a", turn=4) == {"superseded": True}
    fresh.ask("rates", design=mine, page="b", turn=1)
    texts = fresh.explorer.answers.texts
    monkeypatch.setattr("clipjax.explore.texts.STEP", 1)
    waits = iter([False, False, True])
    with pytest.raises(Superseded):
        texts.features(["one", "two", "three"], lambda: next(waits))
    assert sorted(set(texts._known) & {"one", "two", "three"}) == ["one", "three"]  # encoded in order of the texts
    fresh.explorer.close()
    fresh.ask("rates", 409, design=mine)


def test_images_are_off_until_they_are_switched_on(page, mine, run, study):
    design_now = with_child(mine) | {"classes": with_child(mine)["classes"][3:]}
    assert "switched off" in page.client.get("/images/0").json()["error"]
    assert "switched off" in page.refused("sample", design=design_now)
    assert page.ask("images", on=True) == {"on": True}
    found = page.ask("sample", design=design_now)
    assert found["of"] > 0
    one = found["images"][0]
    table = pq.read_table(run / "predictions.parquet").to_pydict()
    assert (table["file"][one["index"]], table["prediction"][one["index"]]) == (one["file"], one["from"])
    image = page.client.get(f"/images/{one['index']}")
    assert image.headers["content-type"] == "image/jpeg"
    assert image.content[:2] == b"\xff\xd8"
    for path in (
        "/images/60",
        "/images/-1",
        "/images/people.csv",
        "/images/%2e%2e%2fpeople.csv",
        "/page/../form.py",
    ):
        assert page.client.get(path).status_code in (400, 404), path
    move = [one["from"], one["to"]]
    assert all([p["from"], p["to"]] == move for p in page.ask("sample", design=design_now, move=move)["images"])
    group = page.ask("sample", design=design_now, group={"gender": "female"})
    assert {table["gender"][p["index"]] for p in group["images"]} == {"female"}
    assert "no column" in page.refused("sample", design=design_now, group={"no": "F"})
    page.ask("images", on=False)
    assert page.client.get(f"/images/{one['index']}").status_code == 400


def test_a_run_with_an_unreadable_image(study, tmp_path):
    """Rows of the cache are rows of the source; predictions and images skip what could not be read."""
    shutil.copytree(study.root / "people", tmp_path / "people")
    with open(study.root / "people.csv", newline="", encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    (tmp_path / "people" / names[2]).write_bytes(b"no picture")
    run = study.probe("rates", f"--config.data.path={tmp_path / 'people'}", "--config.data.max_skipped=0.1")
    page = Page(open_run(read_run(run)))
    answer = page.ask("start")
    assert (answer["images"], answer["skipped"], answer["differ"]) == (57, 1, 0)
    view = page.ask("rates", design=answer["design"], question=["set", "fantasy"], grouping=["age"])
    same_rates(view, records_of(run), "set", "fantasy", {"age"})
    page.ask("images", on=True)
    shown = np.array(Image.open(io.BytesIO(page.client.get("/images/2").content)), float)
    there = {name: tmp_path / "people" / name for i, name in enumerate(names) if i != 2}
    apart = {
        name: np.abs(shown - np.array(Image.open(path).convert("RGB"), float)).mean() for name, path in there.items()
    }
    assert min(apart, key=lambda name: apart[name]) == names[3]  # the one that moved up


def test_images_that_have_changed_are_not_shown(study, cache, tmp_path):
    shutil.copytree(study.root / "people", tmp_path / "people")
    run = study.probe("rates", f"--config.data.path={tmp_path / 'people'}")
    page = Page(open_run(read_run(run)))
    first = tmp_path / "people" / read_run(run).predictions["file"][0]
    first.write_bytes(first.read_bytes() + b"more")
    assert "have changed since the run" in page.refused("images", on=True)
    shutil.rmtree(tmp_path / "people")
    assert "cannot be opened" in page.refused("images", on=True)


def test_what_is_taken_along(page, mine, tmp_path):
    child = with_child(mine)
    table = page.ask("table", design=child, question=["set", "fantasy"], grouping=["age"])
    lines = table["text"].splitlines()
    view = page.ask("rates", design=child, question=["set", "fantasy"], grouping=["age"])
    assert len(lines) == 1 + len(view["rows"])
    assert repr(view["rows"][1]["now"]["low"]) in lines[2]
    svg = page.ask("figure", design=child, format="svg")
    assert svg.startswith(b"<?xml")
    assert page.ask("figure", design=child, format="png").startswith(b"\x89PNG")
    for which in ("labels", "curves"):
        assert b"<svg" in page.ask("figure", design=child, view="labels", figure=which)
    assert "svg or png" in page.refused("figure", design=child, format="exe")


def test_designs_come_and_go_as_yaml(page, mine):
    for name in design.shipped():
        found = page.ask("shipped", name=name)["design"]
        text = page.ask("save", design=found)["text"]
        assert design.parse(text) == dataclasses.replace(design.read_design(name), source="")
        assert page.ask("load", text=text, file="x.yaml")["design"] == found
    extended = page.ask("load", text="extends: fairface-default\nadd: [child]", file="mine.yaml")["design"]
    assert extended["name"] == "mine"
    assert extended["classes"][-1]["name"] == "child"
    assert "there is no shipped design" in page.refused("shipped", name="../../etc/passwd")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "bad.yaml: "),
        ("- a\n- b", "a class design is a mapping"),
        ("classes: [a, a]", "is given twice"),
        ("classes: []", "has no classes"),
        ("classes: [{name: a, prompt: b, texts: [c]}]", "keep one"),
        ("classes: [a]\ntemplates: [none]", "needs exactly one {}"),
        ("clases: [a]", 'nearest: "classes"'),
        ("extends: ../secrets\nadd: [a]", "unknown class design"),
        ("a: &a [x]\nb: [*a, *a]", "aliases"),
        ("name: !!python/object/apply:os.system [ls]\nclasses: [a]", "tags (!name) are not read"),
        ("[" * 5000, "bad.yaml"),
        ("name: 2026-99-99\nclasses: [a]", "bad.yaml"),
        ("classes: [" + "x" * 10_000 + "]", "10,000 characters"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line(page, text, line):
    assert line in page.refused("load", text=text, file="bad.yaml")


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        ({"name": ""}, "class 7 has no name"),
        ({"name": "  "}, "class 7 has no name"),
        ({"name": "man"}, "'man' is given twice"),
        ({"name": "x" * 10_000}, "10,000 characters"),
        ({"name": "x " * 300}, "307 tokens"),
        ({"name": "a", "prompts": ["{} it"]}, "as it stands"),
        ({"name": "a", "prompts": [" "]}, "empty"),
        ({"name": "a", "sets": "person"}, "is not a text"),
        ({"name": "a", "attributes": ["b"]}, "not a mapping"),
        ({"name": 7}, "is not a text"),
        ({"name": "\ud800"}, "half a character"),
        ("a", "is not a class"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_asked_is_one_line(page, mine, edit, line):
    assert line in page.refused("rates", design=mine | {"classes": [*mine["classes"], edit]})


def test_a_design_that_cannot_be_asked_is_one_line(page, mine):
    for body in ({}, {"design": None}, {"design": {"classes": 3}}, {"design": mine, "baseline": [1]}):
        assert "no class design" in page.refused("rates", **body)
    assert "has no classes" in page.refused("rates", design=mine | {"classes": []})
    assert "no template left" in page.refused("rates", design=mine | {"templates": []})
    assert "needs exactly one {}" in page.refused("rates", design=mine | {"templates": ["a photo"]})
    many = [{"name": f"class {i}"} for i in range(5001)]
    assert "5001 classes" in page.refused("rates", design=mine | {"classes": many})
    assert "new prompts at once" in page.refused("rates", design=mine | {"classes": many[:3000]})
    for content in (b"no json", b"[1]", b"[" * 100_000):
        answer = page.client.post("/api/rates", content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, "no JSON object" in answer.text) == (400, True)


def test_a_class_called_script_is_a_class(page, mine):
    name = "<script>alert(1)</script>"
    found = with_child(mine)
    found["classes"][-1]["name"] = name
    view = page.ask("rates", design=found, question=["class", name])
    assert view["design"]["classes"][-1] == name
    assert name not in page.ask("figure", design=found, question=["class", name]).decode()


def test_the_model_has_to_be_the_runs(mine, run, tmp_path):
    page = Page(open_run(read_run(run)))
    texts, other = page.explorer.answers.texts, str(tiny_model(tmp_path / "other.safetensors"))
    texts._config = dataclasses.replace(texts._config, model=other)
    page.ask("rates", design=mine)
    assert "are not those of the run" in page.refused("rates", design=with_child(mine))
    texts._config = dataclasses.replace(texts._config, model="emoji-clip")
    page.ask("rates", design=with_child(mine))


def test_answers_of_another_device_are_reported(run, tmp_path):
    there = tmp_path / "run"
    shutil.copytree(run, there)
    table = pq.read_table(there / "predictions.parquet")
    names = np.array(table["prediction"].to_pylist(), object)
    names[:3] = [next(n for n in ("man", "elf") if n != names[i]) for i in range(3)]
    pq.write_table(table.set_column(table.column_names.index("prediction"), "prediction", [names.tolist()]),
                   there / "predictions.parquet")  # fmt: skip
    assert Page(open_run(read_run(there, as_written=False))).ask("start")["differ"] == 3


def test_a_defect_is_one_line_too(fresh, mine, monkeypatch, capsys):
    monkeypatch.setattr(fresh.explorer, "rates", lambda *a: 1 / 0)
    fresh.client = TestClient(Guard(fresh.explorer.app(), "secret"), base_url="http://127.0.0.1:8000")
    fresh.client.get("/?token=secret")
    assert "a defect of clipjax (ZeroDivisionError)" in fresh.ask("rates", 500, design=mine)["error"]
    assert "Traceback" in capsys.readouterr().err
