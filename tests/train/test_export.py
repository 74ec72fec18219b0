"""Between two models, and the sweep of `clipjax interpolate`."""

import dataclasses
import json

import numpy as np
import pytest

from clipjax.cli.main import main
from clipjax.data import table
from clipjax.errors import InputError
from clipjax.models import weights
from clipjax.testing import pictures, tiny_model
from clipjax.text.tokenizer import END, START
from clipjax.train.export import interpolate, seen_tokens
from clipjax.train.pairs import pairs


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    tiny_model(root / "a.safetensors", seed=0, layers=1)
    tiny_model(root / "b.safetensors", seed=1, layers=1)
    pictures(root / "photos", {"cat": 4, "dog": 4}, size=33)
    return root


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")


def load(path):
    return weights.load(path)


def test_ends_are_the_two_models_and_the_middle_is_their_mean(two):
    a, b = load(two / "a.safetensors"), load(two / "b.safetensors")
    for alpha, wanted in ((0, a.flat), (1, b.flat)):
        found = interpolate(a, b, alpha).flat
        assert all(np.array_equal(found[k], wanted[k]) for k in wanted)
    quarter = interpolate(a, b, 0.25)
    for name, array in quarter.flat.items():
        exact = 0.75 * a.flat[name].astype(np.float64) + 0.25 * b.flat[name].astype(np.float64)
        np.testing.assert_allclose(array, exact, rtol=1e-6, atol=1e-7)  # two float32 roundings
    assert quarter.source["interpolated"]["alpha"] == 0.25
    half = {k: v.astype(np.float16) for k, v in b.flat.items()}
    assert all(v.dtype == np.float16 for v in interpolate(a, dataclasses.replace(b, flat=half), 0.5).flat.values())


def test_other_architectures_and_no_numbers_are_refused(two, tmp_path):
    a = load(two / "a.safetensors")
    resnet = load(tiny_model(tmp_path / "r.safetensors", "resnet"))
    with pytest.raises(InputError, match="choose two models of one architecture"):
        interpolate(a, resnet, 0.5)
    with pytest.raises(InputError, match="alpha=nan"):
        interpolate(a, a, float("nan"))


def test_one_alpha_is_one_file(two, tmp_path, capsys):
    out = tmp_path / "half.safetensors"
    assert main(["interpolate", str(two / "a.safetensors"), str(two / "b.safetensors"), str(out)]) == 0
    a, b, found = (load(p).flat for p in (two / "a.safetensors", two / "b.safetensors", out))
    np.testing.assert_allclose(found["visual.proj"], (a["visual.proj"] + b["visual.proj"]) / 2, rtol=1e-6)
    assert "0.5 x tiny-vit + 0.5 x tiny-vit" in capsys.readouterr().out


def test_a_sweep_probes_every_model_on_the_way(two, tmp_path, capsys):
    out = tmp_path / "sweep"
    given = [str(two / "a.safetensors"), str(two / "b.safetensors"), str(out), "--alpha=0,0.5,1", "--probe=zeroshot"]
    assert main(["interpolate", *given, f"--config.data.path={two / 'photos'}"]) == 0
    assert {p.name for p in (out / "figures").iterdir()} >= {"top1.svg", "mean_per_class.png"}
    lines = (out / "sweep.md").read_text().splitlines()
    assert lines[0] == "|  | alpha 0 | alpha 0.5 | alpha 1 |"
    row = next(line for line in lines if line.startswith("| top1 "))
    for alpha, cell in zip(("0", "0.5", "1"), row.split("|")[2:5], strict=True):
        records = json.loads((out / f"alpha-{alpha}" / "probe" / "metrics.json").read_text())["records"]
        assert float(cell) == pytest.approx(next(r["value"] for r in records if r["metric"] == "top1"), abs=5e-5)
    assert main(["interpolate", *given, f"--config.data.path={two / 'photos'}"]) == 0  # again: the same files
    assert main(["report", *map(str, sorted(out.glob("alpha-*/probe"))), f"--out={tmp_path / 'report'}"]) == 0
    assert (tmp_path / "report" / "report.html").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--alpha=a"], "not a list of numbers"),
        (["--alpha=0,0"], "one comes twice"),
        (["--config.x=1"], "is for a probe"),
        (["--probe=zeroshoot", "--alpha=0,1"], 'nearest: "zeroshot"'),
        (["--alpha=0.5"], "name a .safetensors file"),
    ],
)
def test_bad_input_is_one_line(two, tmp_path, capsys, more, message):
    given = ["interpolate", str(two / "a.safetensors"), str(two / "b.safetensors"), str(tmp_path / "out"), *more]
    assert main(given) == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_token_that_fills_rows_up_is_seen_where_a_caption_has_it(two):
    (file, *_) = sorted((two / "photos").glob("cat/*"))

    def seen(text):
        source = table.from_rows("one", [file], {"captions": [(text,)]})
        return np.flatnonzero(seen_tokens(pairs(source), 49408, 77)).tolist()

    assert seen("!;") == [0, 282, START, END]
    assert seen("@") == [287, START, END]
