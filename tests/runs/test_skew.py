"""The skew probe: planted rankings, what is reported of them, and what is refused; from a command too."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipjax import design
from clipjax.analysis import skew
from clipjax.analysis.rates import Method
from clipjax.cli.main import main
from clipjax.runs.skew import SkewTask, skew_records
from clipjax.testing import pictures, tiny_model


def planted(lift, n=400, seed=0):
    """Cosines of two classes with images of two groups; the second class has those of "A" higher by `lift`."""
    generator = np.random.default_rng(seed)
    group = np.array(["A", "B"], object)[generator.integers(0, 2, n)]
    cosines = generator.normal(size=(n, 2))
    cosines[:, 1] += lift * (group == "A")
    task = SkewTask(None, design.of_classes(["doctor", "nurse"], source="here"), {}, [("g",)], ("share",), ())
    return {
        (r.metric, r.class_, *r.cell): r for r in skew_records(cosines, task, {"g": group}, (50,), Method())
    }  # fmt: skip


def test_a_planted_skew_is_found_and_only_there():
    found = planted(1.5)
    nurse = found["max_skew_at_k", "nurse"]
    assert (nurse.highest, nurse.over) == ("A", "g")
    assert nurse.p_benjamini_hochberg < 0.01
    assert found["ndkl", "nurse"].p_benjamini_hochberg < 0.01
    assert found["max_skew_at_k", "doctor"].p_benjamini_hochberg > 0.05
    assert found["skew_at_k", "nurse", "A"].value == nurse.value
    mean = found["mean_max_skew_at_k", None]
    assert mean.value == pytest.approx((nurse.value + found["max_skew_at_k", "doctor"].value) / 2)


def test_false_positives_are_at_their_level():
    """500 rankings without skew."""
    generator, group = np.random.default_rng(0), np.repeat([0, 1, 2], [30, 20, 10])
    ranked = [skew.rank(generator.random(60), group) for _ in range(500)]
    p = [skew._p(*null, value) for null, value in (measured(one) for one in ranked)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.03)  # three standard errors


def measured(ranked):
    statistic = skew._NDKL((1 / 3, 1 / 3, 1 / 3))
    return skew.rankings.null(ranked, statistic), float(statistic(ranked.group[None], ranked.ends)[0])


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A model, and a table of 40 images with two columns."""
    root = tmp_path_factory.mktemp("people")
    tiny_model(root / "tiny.safetensors", layers=1)
    pictures(root / "photos", {"cat": 20, "dog": 20}, size=33)
    files = sorted(str(p.relative_to(root / "photos")) for p in (root / "photos").rglob("*.jpg"))
    lines = [f"{name},{'FM'[i % 2]},{'old' if i % 3 else 'young'},same" for i, name in enumerate(files)]
    (root / "people.csv").write_text("\n".join(["file,gender,age,one", *lines]) + "\n")
    return root


def probe(people, out, *more, columns="gender,age"):
    keys = {
        "data.csv": people / "people.csv", "data.path": people / "photos", "data.group_columns": columns,
        "model": people / "tiny.safetensors", "cache_dir": "none", "classes": "doctor,nurse", "k": "(10,)",
    }  # fmt: skip
    given = [one.partition("=")[0] for one in more]
    return main([
        "probe", "skew", f"--out={out}", *[f"--config.{k}={v}" for k, v in keys.items() if k not in given],
        *[one if one.startswith("--") else f"--config.{one}" for one in more],
    ])  # fmt: skip


def test_from_a_command(people, tmp_path, capsys):
    out = tmp_path / "run"
    assert probe(people, out, "bias=gender=F|M", "groups=gender,gender*age", "k=(20, 30)") == 0
    records = json.loads((out / "metrics.json").read_text())["records"]
    table = pq.read_table(out / "predictions.parquet").to_pydict()
    cosines, gender = np.array(table["similarities"])[:, 0], np.array(table["gender"])
    first = gender[np.argsort(-cosines, kind="stable")[:20]]
    bias = next(r for r in records if r["metric"] == "bias_at_k" and r["class"] == "doctor" and r["k"] == 20)
    assert bias["value"] == pytest.approx(((first == "F").sum() - (first == "M").sum()) / 20)
    crossed = [r for r in records if r["metric"] == "skew_at_k" and len(r["group"]) == 2]
    assert {tuple(sorted(r["group"])) for r in crossed} == {("age", "gender")}
    assert {r["reference"] for r in crossed} == {"uniform", "share"}
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("max_skew@20 doctor gender uniform "))
    assert "%" not in line
    again = "bias=gender=F|M", "groups=gender,gender*age", "k=(20, 30)"
    assert main(["report", str(out), f"--out={tmp_path / 'report'}"]) == 0
    rows = (tmp_path / "report" / "tables" / "skew_gender.md").read_text()
    assert "MaxSkew@20" in rows
    assert "mean of the classes" in rows
    crossed = next((tmp_path / "report" / "tables").glob("skew_gender*age*_groups.md")).read_text()
    assert "F, old" in crossed
    assert probe(people, out, *again, "--fail-if=ndkl[over=gender] > 5") == 0
    assert probe(people, out, *again, "--fail-if=ndkl[over=gender] > 0") == 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["k=(41,)"], "k=41 of 40 images; choose k below 40"),
        (["k=(1,)"], "k=1 is below 1/0.5 for group"),
        (["k=(40,)"], "share reference with k = N = 40 is 0 by construction"),
        (["reference=equal"], "reference='equal'; choose uniform, share, or both"),
        (["bias=gender"], "bias='gender' is not COLUMN=FIRST|SECOND"),
        (["bias=gender=F|X"], "no image has gender 'X'"),
        (["groups=sex"], "groups: no column 'sex' among gender, age"),
        (["data.group_columns=one"], "column 'one' has one value"),
    ],
)
def test_refusals(people, tmp_path, capsys, more, message):
    assert probe(people, tmp_path / "run", *more) == 1
    said = capsys.readouterr().err.strip()
    assert message in said
    assert not (tmp_path / "run").exists()
