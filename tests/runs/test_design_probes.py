"""Probes of class designs from config to folder: every number recounted from predictions.parquet."""

import csv
import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipjax.analysis import chi_squared, clopper_pearson
from clipjax.cli.main import main
from clipjax.testing import pictures, tiny_model

DESIGN = """
name: mine
templates: ["a photo of a {}.", "a drawing of a {}."]
classes:
  - {name: man, sets: [person]}
  - {name: woman, sets: [person]}
  - {name: fox, sets: [other, animal]}
  - {name: thief, prompt: "a thief", sets: [other]}
"""


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A model, 60 pictures, and a table of them with groups."""
    root = tmp_path_factory.mktemp("people")
    tiny_model(root / "tiny.safetensors", layers=1)
    pictures(root / "photos", {"cat": 25, "dog": 20, "fish": 15}, size=33)
    files = sorted(str(p.relative_to(root / "photos")) for p in (root / "photos").rglob("*.jpg"))
    rng = np.random.default_rng(0)
    with open(root / "people.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "race", "gender", "age", "who", "split"])
        for i, name in enumerate(files):
            who = f"person {i % 12}"
            split = "train" if i // 2 % 2 else "val"
            writer.writerow(
                [name, rng.choice(["White", "Black"]), "MF"[i % 2], rng.choice(["3-9", "20-29"]), who, split]
            )
    (root / "mine.yaml").write_text(DESIGN)
    return root


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")


def probe(people, out, *extra, name="fairface:csv", groups="race,gender,age"):
    return main([
        "probe", name, f"--config.data.csv={people / 'people.csv'}", f"--config.data.path={people / 'photos'}",
        f"--config.data.group_columns={groups}", f"--config.model={people / 'tiny.safetensors'}",
        "--config.batch_size=8", f"--out={out}", *extra,
    ])  # fmt: skip


def read(out):
    manifest = json.loads((out / "manifest.json").read_text())
    records = json.loads((out / "metrics.json").read_text())["records"]
    return manifest, records, pq.read_table(out / "predictions.parquet").to_pydict()


def test_templates_of_the_command_line_stand_instead_of_the_designs(people, tmp_path):
    run = probe(people, tmp_path / "r", f"--config.design={people / 'mine.yaml'}", "--config.templates=a {}|the {}")
    assert run == 0
    asked = {c["name"]: c["prompts"] for c in read(tmp_path / "r")[0]["design"]["classes"]}
    assert asked["fox"] == ["a fox", "the fox"]
    assert asked["thief"] == ["a thief"]


def test_rates_of_any_table_with_groups(people, tmp_path, capsys):
    out = tmp_path / "run"
    assert probe(people, out, f"--config.design={people / 'mine.yaml'}") == 0
    shown = capsys.readouterr()
    assert "rate other, race=Black" in shown.out
    manifest, records, table = read(out)
    assert list(table) == [
        "file", "image_sha256", "race", "gender", "age", "age_band", "prediction", "probability", "probabilities",
    ]  # fmt: skip
    assert manifest["design"]["name"] == "mine"
    assert manifest["design"]["classes"][3]["prompts"] == ["a thief"]  # as it stands
    assert len(manifest["design"]["sha256"]) == 64
    assert manifest["model"]["logit_scale"] == pytest.approx(20)
    classes = {c["name"]: c["sets"] for c in manifest["design"]["classes"]}
    n, k = Counter(), Counter()
    for race, age, answer in zip(table["race"], table["age"], table["prediction"], strict=True):
        for key in ((), (race,), (age, race)):
            n[key] += 1
            for name in classes[answer]:
                k[(*key, name)] += 1
    checked = 0
    for r in records:
        if r["metric"] == "rate" and "set" in r and list(r["group"]) in ([], ["race"], ["age", "race"]):
            key = tuple(r["group"].values())
            assert (r["k"], r["n"]) == (k[(*key, r["set"])], n[key])
            assert (r["low"], r["high"]) == pytest.approx(clopper_pearson(r["k"], r["n"]))
            assert (r["level"], r["method"]) == (0.95, "clopper-pearson")
            checked += 1
    assert checked == 3 * (1 + 2 + 4)
    best = np.array(table["probabilities"]).argmax(1)
    assert [list(classes)[c] for c in best] == table["prediction"]
    assert set(table["age_band"]) == {"0-19", "20-59"}


def test_the_shipped_designs_and_plain_classes(people, tmp_path):
    assert probe(people, tmp_path / "a") == 0
    manifest, records, _ = read(tmp_path / "a")
    assert manifest["design"]["name"] == "fairface-default"
    assert len(manifest["design"]["classes"]) == 21
    assert {r["set"] for r in records if "set" in r} == {"person", "non-human", "crime", "denigration"}
    assert probe(people, tmp_path / "b", "--config.design=fairface-default+child") == 0
    assert read(tmp_path / "b")[0]["design"]["classes"][-1]["name"] == "child"
    assert probe(people, tmp_path / "c", "--config.classes=cat,dog", "--config.templates=a {}|{}") == 0
    manifest, records, _ = read(tmp_path / "c")
    assert manifest["design"]["classes"][0]["prompts"] == ["a cat", "cat"]
    assert {r["class"] for r in records} == {"cat", "dog"}


def test_sweeps_of_classes_and_templates(people, tmp_path):
    out = tmp_path / "run"
    sweep = ["--config.sweep.add=owl,eel", "--config.sweep.drop=fox", "--config.sweep.templates=a {}|{}"]
    assert probe(people, out, f"--config.design={people / 'mine.yaml'}", "--config.bands=", *sweep) == 0
    manifest, records, _ = read(out)
    assert len(manifest["result"]["sweep"]) == 8
    with open(out / "tables" / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({r["design"] for r in rows}) == 8
    assert probe(people, tmp_path / "one", f"--config.design={people / 'mine.yaml'}", "--config.templates={}") == 0
    other = next(r for r in read(tmp_path / "one")[1] if r.get("set") == "other" and r["group"] == {"race": "Black"})
    mine = next(r for r in rows if r["design"] == "mine | {}" and r["set"] == "other" and r["group"] == "Black")
    assert (int(mine["k"]), int(mine["n"])) == (other["k"], other["n"])
    ranges = [r for r in records if r["metric"] == "rate_range" and r["set"] == "other" and r["group"] == {}]
    values = [float(r["value"]) for r in rows if r["set"] == "other" and r["group"] == "everybody"]
    assert ranges[0]["smallest"] == pytest.approx(min(values), abs=1e-5)
    assert ranges[0]["largest"] == pytest.approx(max(values), abs=1e-5)
    assert ranges[0]["value"] == pytest.approx(max(values) - min(values), abs=1e-5)
    assert not {"low", "high", "method"} & ranges[0].keys()  # the two are not an interval


def test_classes_in_no_set_are_said_and_counted(people, tmp_path, capsys):
    """In the terminal, in metrics.json and in a sweep: disjoint sets and `no set` are all images."""
    own = f"--config.design={people / 'mine.yaml'}"
    assert probe(people, tmp_path / "a", own + "+owl", "--config.bands=") == 0
    shown = capsys.readouterr()
    assert "note: mine+owl: owl: in no set, counted as 'no set'" in shown.err
    assert "rate no set, race=Black" in shown.out
    records = [r for r in read(tmp_path / "a")[1] if r["metric"] == "rate"]
    assert sum(r["k"] for r in records if r.get("set") in ("person", "other", "no set") and r["group"] == {}) == 60
    assert probe(people, tmp_path / "b", own + "+owl:other", "--config.bands=") == 0
    shown = capsys.readouterr()
    assert "no set" not in shown.err + shown.out
    assert probe(people, tmp_path / "c", own, "--config.bands=", "--config.sweep.add=owl,eel:other") == 0
    assert "note: mine+owl: owl: in no set" in capsys.readouterr().err
    with open(tmp_path / "c" / "tables" / "sweep.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["group"] == "everybody" and r["set"] != "animal"]
    for name in ("mine", "mine+owl", "mine+eel:other"):
        mine = {r["set"]: int(r["k"]) for r in rows if r["design"] == name}
        assert list(mine) == ["person", "other", "no set"]
        assert sum(mine.values()) == 60
    assert probe(people, tmp_path / "d", own, "--config.sweep.add=owl:othr") == 1
    assert 'nearest: "other"' in capsys.readouterr().err


def test_fail_if(people, tmp_path, capsys):
    out = tmp_path / "run"
    design = f"--config.design={people / 'mine.yaml'}"
    gates = ["--fail-if=rate[set=other, race=*] >= 0 @ lower", "--fail-if=rate[set=person] > 2"]
    assert probe(people, out, design, *gates) == 3
    err = capsys.readouterr().err
    assert "2 breached" in err
    assert "of race=Black" in err
    assert (out / "manifest.json").exists()  # the run is complete
    assert probe(people, out, design, gates[1]) == 0  # finished runs are held against conditions too
    assert probe(people, out, design, gates[0]) == 3
    assert probe(people, out, design, "--fail-if=rate[set=othr] > 0") == 1
    assert "set: person, other, animal" in capsys.readouterr().err
    assert probe(people, tmp_path / "never", design, "--fail-if=rate > x") == 1
    assert not (tmp_path / "never").exists()  # read before anything is computed


def test_labels_by_gender(people, tmp_path):
    out = tmp_path / "run"
    assert (
        probe(people, out, "--config.thresholds=0.0034,0.04", "--config.contrast=gender=M|F", name="congress:csv") == 0
    )
    manifest, records, table = read(out)
    assert manifest["result"]["sides"] == ["M", "F"]
    probabilities, men = np.array(table["probabilities"]), np.array(table["gender"]) == "M"
    assert probabilities.shape == (60, 300)
    names = [c["name"] for c in manifest["design"]["classes"]]
    for r in records:
        if r["metric"] == "label_rate" and r["label"] in ("nanny", "judge"):
            side = men if r["group"]["gender"] == "M" else ~men
            assert r["k"] == (probabilities[side, names.index(r["label"])] >= np.float32(r["threshold"])).sum()
            assert r["n"] == side.sum()
    tests = [r for r in records if r["metric"] == "chi_squared" and r["threshold"] == 0.0034]
    assert tests
    for r in tests[:40]:
        has = probabilities[:, names.index(r["label"])] >= np.float32(0.0034)
        returned = probabilities >= np.float32(0.0034)
        if r["denominator"] == "images":
            cells = [[has[men].sum(), has[~men].sum()], [(~has)[men].sum(), (~has)[~men].sum()]]
        else:
            tokens = returned[men].sum(), returned[~men].sum()
            cells = [[has[men].sum(), has[~men].sum()], [tokens[0] - has[men].sum(), tokens[1] - has[~men].sum()]]
        wanted = chi_squared(cells, correction=r["correction"])
        assert (r["value"], r["p"]) == pytest.approx(wanted)
        assert r["p"] <= r["p_benjamini_hochberg"] <= r["p_bonferroni"]


def test_attributes_zero_shot_and_linear(people, tmp_path):
    out = tmp_path / "run"
    extra = ["--config.data.split=val", "--config.train_split=train", "--config.C=1.0", "--config.max_iter=50"]
    assert probe(people, out, *extra, name="fairface_attributes:csv", groups="race,gender,age,split") == 1  # M and F
    designs = "--config.attributes=race=fairface-race,age=fairface-age"
    assert probe(people, out, *extra, designs, name="fairface_attributes:csv", groups="race,age,gender") == 0
    _, records, table = read(out)
    assert len(table["file"]) == 30
    for classifier in ("zero-shot", "linear"):
        guess = np.array(table[f"prediction_race_{classifier.replace('-', '_')}"])
        truth = np.array(table["race"])
        mine = [r for r in records if r.get("attribute") == "race" and r["classifier"] == classifier]
        overall = [r for r in mine if r["metric"] == "top1" and r["group"] == {}]
        assert {r["reading"]: r["k"] for r in overall} == {
            "7-way": (guess == truth).sum(),
            "binary White/Non-White": ((guess == "White") == (truth == "White")).sum(),
        }
        recall = {r["class"]: (r["k"], r["n"]) for r in mine if r["metric"] == "recall"}
        assert recall["White"] == (((guess == truth) & (truth == "White")).sum(), (truth == "White").sum())
        mean = next(r for r in mine if r["metric"] == "top1_mean_of_groups" and r["over"] == "gender")
        shares = [(guess == truth)[np.array(table["gender"]) == g].mean() for g in "MF"]
        assert mean["value"] == pytest.approx(np.mean(shares))


def test_identities_keep_totals_only(people, tmp_path, capsys):
    out = tmp_path / "run"
    asked = ("--config.data.label_column=who", "--config.sizes=4,8,500")
    assert probe(people, out, *asked, name="celeba:csv", groups="") == 0
    err = capsys.readouterr().err
    assert "facial recognition is always out of scope" in err
    assert "candidate lists of 500 are left out" in err
    manifest, records, table = read(out)
    assert list(table) == ["file", "rank_4", "rank_8"]
    assert "person 1" not in json.dumps([manifest["design"], manifest["result"], records])
    for size in (4, 8):
        ranks = np.array(table[f"rank_{size}"])
        own = next(r for r in records if r["candidates"] == size and r["images"] == "of these candidates")
        assert (own["k"], own["n"]) == ((ranks == 1).sum(), (ranks > 0).sum())
        assert own["n"] == size * 5
    fixed = [r for r in records if r["images"] == "of the first 4 people" and r["metric"] == "top1"]
    assert [r["n"] for r in fixed] == [20, 20]
    assert fixed[1]["k"] <= fixed[0]["k"]  # more candidates never help over the same images


@pytest.mark.parametrize(
    ("name", "extra", "message"),
    [
        ("fairface:csv", ["--config.design=fairface-defalt"], 'nearest: "fairface-default"'),
        ("rates:csv", [], "name a class design"),
        ("fairface:csv", ["--config.groups=sex"], "no column 'sex' among race, gender, age"),
        ("fairface:csv", ["--config.sweep.add=a,b,c", "--config.sweep.most=2"], "makes 4 designs"),
        ("fairface:csv", ["--config.method=wald"], "unknown interval method 'wald'"),
        ("congress:csv", ["--config.contrast=party"], "no column 'party'"),
        ("congress:csv", ["--config.contrast=gender=M"], "needs two values"),
        ("congress:csv", ["--config.thresholds=5%"], "for example 0.005,0.04"),
        ("fairface_attributes:csv", ["--config.binary=race=Green"], "'Green' is not a class"),
        ("fairface_attributes:csv", ["--config.classifier=knn"], "none of zero-shot, linear"),
        ("celeba:csv", [], "has no names: bring your own"),
        ("celeba:csv", ["--config.data.label_column=who", "--config.sizes=100"], "names 12 people, fewer"),
    ],
)
def test_refused_before_a_folder_is_made(people, tmp_path, capsys, name, extra, message):
    groups = "" if name.startswith("celeba") else "race,gender,age"
    assert probe(people, tmp_path / "run", *extra, name=name, groups=groups) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_a_table_without_groups_gives_rates_of_everybody(people, tmp_path, capsys):
    design = f"--config.design={people / 'mine.yaml'}"
    assert probe(people, tmp_path / "run", design, name="rates:csv", groups="") == 0
    assert "name some with --config.data.group_columns" in capsys.readouterr().err
    assert {str(r["group"]) for r in read(tmp_path / "run")[1]} == {"{}"}
