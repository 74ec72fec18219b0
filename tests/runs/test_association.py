"""The association probe: planted vectors, its YAML, and what is refused; from a command too."""

import json

import numpy as np
import pytest

from clipjax.analysis.rates import Method
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.runs import association, association_tests
from clipjax.runs.association_tests import Association, Stimuli
from clipjax.testing import pictures, tiny_model

CAREER = """
templates: ["a photo of {}.", "a drawing of {}."]
tests:
  - name: career
    x: {images: {gender: F}}
    y: {images: {gender: M}}
    a: {texts: [office, salary]}
    b: {texts: [home, wedding]}
  - name: words
    x: {texts: [doctor, nurse]}
    a: {images: {gender: F}}
    b: {images: {gender: M}}
"""


def vectors(lift, seed):
    generator = np.random.default_rng(seed)
    sets = {name: generator.normal(size=(n, 16)) for name, n in (("x", 12), ("y", 12), ("a", 4), ("b", 4))}
    sets["x"] += lift * sets["a"].mean(0)
    return sets


def planted(lift, seed=0):
    test = Association("t", Stimuli(["x"]), Stimuli(["a"]), Stimuli(["b"]), Stimuli(["y"]))
    return association.tested(test, vectors(lift, seed), Method(), False, ())[0]


def test_a_planted_association_is_found_and_no_other():
    assert planted(3).p < 0.001
    assert planted(3).low > 0
    adjusted = association.adjusted([planted(0, seed) for seed in range(1, 20)])
    assert min(r.p_benjamini_hochberg for r in adjusted) > 0.05


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    tiny_model(root / "tiny.safetensors", layers=1)
    pictures(root / "photos", {"cat": 8, "dog": 8}, size=33)
    files = sorted(str(p.relative_to(root / "photos")) for p in (root / "photos").rglob("*.jpg"))
    lines = [f"{name},{'FM'[i % 2]},{'abc'[i % 3]}" for i, name in enumerate(files)]
    (root / "people.csv").write_text("\n".join(["file,gender,age", *lines]) + "\n")
    return root


def probe(people, out, tests, *more):
    if "\n" in tests:
        (people / "tests.yaml").write_text(tests)
        tests = people / "tests.yaml"
    return main([
        "probe", "association", f"--out={out}", f"--config.tests={tests}", f"--config.data.path={people / 'photos'}",
        f"--config.data.csv={people / 'people.csv'}", f"--config.model={people / 'tiny.safetensors'}",
        "--config.data.group_columns=gender,age", "--config.cache_dir=none",
        *[one if one.startswith("--") else f"--config.{one}" for one in more],
    ])  # fmt: skip


def test_from_a_command(people, tmp_path, capsys):
    out = tmp_path / "run"
    assert probe(people, out, CAREER) == 0
    records = json.loads((out / "metrics.json").read_text())["records"]
    career = next(r for r in records if r["label"] == "career")
    assert (career["sizes"], career["n"], career["partitions"]) == ([8, 8, 2, 2], 16, 10_000)
    assert career["p_benjamini_hochberg"] >= career["p"]
    assert [r["class"] for r in records if r["metric"] == "sc_eat"] == ["doctor", "nurse"]
    assert "eat career" in capsys.readouterr().out
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["design"]["classes"][0]["prompts"] == ["a photo of office.", "a drawing of office."]
    assert main(["report", str(out), f"--out={tmp_path / 'report'}"]) == 0
    assert probe(people, out, CAREER, "--fail-if=eat[label=career] < 5") == 3
    lines = (people / "people.csv").read_text().splitlines()
    (people / "turned.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    turned = [f"data.csv={people / 'turned.csv'}", "templates=the {}."]
    words = CAREER.replace("[office, salary]", "[salary, office]").replace(
        "x: {texts: [doctor, nurse]}", "x: {images: {age: b}}"
    )
    assert probe(people, tmp_path / "b", words.replace("name: words", "name: images"), *turned) == 0
    assert main(["compare", str(out), str(tmp_path / "b"), f"--out={tmp_path / 'compared'}"]) == 0
    (number,) = json.loads((tmp_path / "compared" / "compare.json").read_text())["numbers"]
    assert (number["metric"], number["label"]) == ("eat", "career")
    names = {r["class"] for r in json.loads((tmp_path / "b" / "metrics.json").read_text())["records"] if "class" in r}
    assert names == {line.split(",")[0] for line in lines if line.endswith(",b")}


def test_words_of_published_tests(tmp_path):
    lists = association_tests.published()
    assert {len(words) for words in lists.values()} == {6, 7, 8, 25}
    assert all(len(set(words)) == len(words) for words in lists.values())
    for one, other in map(
        str.split, ("flowers insects", "pleasant unpleasant", "career family", "math arts", "male female")
    ):
        assert len(lists[f"weat/{one}"]) == len(lists[f"weat/{other}"])
    text = CAREER.replace("texts: [office, salary]", "published: weat/career").replace("[home,", "[hut,")
    (tmp_path / "t.yaml").write_text(text)
    career = association_tests.read(str(tmp_path / "t.yaml")).tests[0]
    assert career.a.texts == lists["weat/career"]
    (tmp_path / "t.yaml").write_text(text.replace("weat/career", "weat/careers"))
    with pytest.raises(InputError, match=r"a has no published list \"weat/careers\"; nearest: \"weat/career\""):
        association_tests.read(str(tmp_path / "t.yaml"))


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ("", "association needs its tests: --config.tests=FILE.yaml"),
        ("nothing.yaml", "nothing.yaml: cannot be read"),
        ("tests: []\n", "tests names none"),
        ("tests: {\n", "not readable as YAML"),
        (CAREER.replace("gender: M}", "gender: X}", 1), "test 'career': y: no image has gender=X"),
        (CAREER.replace("gender: M}", "sex: X}", 1), 'test \'career\': y has no column "sex"'),
        (CAREER.replace("gender: M}", "gender: F}", 1), "test 'career': cat/"),
        (CAREER.replace("home", "office"), "office is in A and B; keep it in one"),
        (CAREER.replace("wedding", "home"), "b names 'home' twice"),
        (CAREER.replace("gender: M", "age: a", 1).replace("gender: F", "age: b", 1), "X and Y have 5 and 6 stimuli"),
        (CAREER.replace("name: words", "name: career"), "two tests are called 'career'"),
        (CAREER.replace("texts: [office, salary]", "words: [office]"), "unknown field words"),
        (CAREER.replace("a: {texts: [office, salary]}", "a: {}"), "a has neither texts nor images"),
        (CAREER.replace("{images: {gender: F}}\n    y: {images: {gender: M}}", "{texts: [p]}\n    y: {texts: [q]}"),
         "X has 1 stimulus; a partition needs at least 2 on each side"),
    ],
)  # fmt: skip
def test_refusals(people, tmp_path, capsys, tests, message):
    assert probe(people, tmp_path / "run", tests) == 1
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
