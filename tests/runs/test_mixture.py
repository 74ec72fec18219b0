"""`data.mixture` from its text to a finished run: tables with keys of their own, weights and shares."""

import json
import shutil

import numpy as np
import pytest

from clipjax import stored
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.models import weights
from clipjax.runs import config as configs
from clipjax.runs import finetune_input, mixture
from clipjax.testing import pictures, tiny_model


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """a.csv of 12 cats with `caption`, `neg`; "b c.csv" of 6 dogs with `title`, `kind`, `w`; folders, 4 images."""
    root = tmp_path_factory.mktemp("tables")
    tiny_model(root / "tiny.safetensors", layers=1)
    pictures(root / "photos", {"cat": 12, "dog": 6}, size=33)
    pictures(root / "classes", {"bird": 2, "fish": 2}, size=33, seed=1)
    rows = {
        name: sorted(f"photos/{name}/{p.name}" for p in (root / "photos" / name).iterdir()) for name in ("cat", "dog")
    }
    cats = [f"{f},cat {i},{'no cat' if i % 3 else ''}" for i, f in enumerate(rows["cat"])]
    (root / "a.csv").write_text("\n".join(["file,caption,neg", *cats]))
    said = [f"{f},dog {i},{'ab'[i % 2]},{i + 1}" for i, f in enumerate(rows["dog"])]
    (root / "b c.csv").write_text("\n".join(["file,title,kind,w", *said]))
    return root


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")


def overrides(root, text, *more):
    said = text.format(root=root)
    own = ("data.caption_columns=caption", "batch_size=8", "steps=6", "optimizer.warmup=1", "threads=2", "devices=1",
           "optimizer.freeze=^token_embedding", "checkpoints.every=2", "log_every=2", "data.context=12",
           "evaluate.every=0")  # fmt: skip
    return [f"--config.{one}" for one in (*own, f"model={root / 'tiny.safetensors'}", f"data.mixture={said}", *more)]


def typed(root, text, *more):
    return configs.typed(configs.plain(configs.load("openai_vit_b32_csv", overrides(root, text, *more), "finetune")))


THREE = "csv={root}/a.csv; csv='{root}/b c.csv' caption_columns=title balance=kind weight=2; " + (
    "source=folder path={root}/classes caption_columns= templates='a photo of a {{}}.|the {{}}' weight=0.5"
)


def test_tables_have_keys_of_their_own(tables):
    config = typed(tables, THREE)
    found = mixture.parts(config)
    assert [(part.weight, part.share, part.data.source) for part in found] == [
        (1.0, None, "csv"), (2.0, None, "csv"), (0.5, None, "folder")
    ]  # fmt: skip
    pairs, validation = finetune_input.training_pairs(config)
    assert validation is None
    assert [table.name for table in pairs.tables] == ["a.csv", "b c.csv", "classes"]
    assert [table.templates for table in pairs.tables] == [("{}",), ("{}",), ("a photo of a {}.", "the {}")]
    np.testing.assert_allclose(pairs.weights, np.array([1.0] * 12 + [2.0] * 6 + [0.5] * 4) * 22 / 26)
    assert pairs.captions[0] == ("cat 0",)
    assert pairs.captions[12] == ("dog 0",)
    assert pairs.captions[-1] == ("fish",)


def test_shares_are_of_all_examples(tables):
    pairs, _ = finetune_input.training_pairs(
        typed(
            tables, "csv={root}/a.csv share=0.25; csv='{root}/b c.csv' caption_columns=title weight_column=w share=0.75"
        )
    )
    drawn = np.bincount(pairs.table, pairs.weights) / pairs.weights.sum()
    np.testing.assert_allclose(drawn, [0.25, 0.75])
    np.testing.assert_allclose(pairs.weights[12:] / pairs.weights[12], np.arange(1, 7))


def test_a_part_of_every_table_validates(tables):
    pairs, validation = finetune_input.training_pairs(typed(tables, THREE, "evaluate.share=0.5"))
    assert [table.name for table in validation.tables] == ["a.csv", "b c.csv", "classes"]
    assert len(pairs) + len(validation) == 22
    assert (validation.weights == 1).all()  # each once
    path = typed(
        tables, "csv={root}/a.csv; weight=2", f"data.validation_path={tables / 'a.csv'}", f"data.csv={tables / 'a.csv'}"
    )
    pairs, validation = finetune_input.training_pairs(path)
    assert [len(part.tables) for part in (pairs, validation)] == [2, 1]
    assert (pairs.images[:12] == pairs.images[12:]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("csv={root}/a.csv", "names one table: separate several by ;"),
        ("csv={root}/a.csv; csv={root}/a.csv lable=x", "'lable=x' is not KEY=VALUE"),
        ("csv={root}/a.csv; csv={root}/a.csv wieght=2", 'nearest: "weight"'),
        ("csv={root}/a.csv; {root}/a.csv", "is not KEY=VALUE with a key of a table"),
        ("csv={root}/a.csv csv=b.csv; weight=2", "csv is given twice for one table"),
        ("csv={root}/a.csv; csv='a", "close the quotation mark"),
        ("csv={root}/a.csv weight=0; csv={root}/a.csv", "weight=0 is not above 0"),
        ("csv={root}/a.csv weight=two; csv={root}/a.csv", "weight='two' is not a number"),
        ("csv={root}/a.csv weight=1 share=0.5; csv={root}/a.csv", "a weight or a share, not both"),
        ("csv={root}/a.csv share=0.5; csv={root}/a.csv", "1 of 2 tables have one, with the sum 0.5"),
        ("csv={root}/a.csv share=0.5; csv={root}/a.csv share=0.6", "with the sum 1.1"),
        ("csv={root}/a.csv; csv={root}/a.csv context=8", "'context=8' is not KEY=VALUE"),
        ("csv=a.csv caption_columns=caption; csv=b.csv caption_columns=caption", "caption_columns=caption is not read"),
        ("csv={root}/a.csv; source=folder path={root}/classes", "caption_columns=caption is not read by the source"),
    ],
)  # fmt: skip
def test_mixtures_that_cannot_be_meant(tables, text, message):
    with pytest.raises(InputError) as error:
        finetune_input.training_pairs(typed(tables, text))
    assert message in str(error.value)


@pytest.mark.exhaustive  # tests/train/test_weighing.py has the stream of batches
def test_a_weighted_run_goes_on_bit_for_bit_and_says_how_often_each_table_was_seen(tables, tmp_path, capsys):
    out = tmp_path / "run"
    text = THREE.replace("a.csv;", "a.csv hard_negative_columns=neg;")
    more = ("augment.preset=flip_safe", "resize.context=16", "resize.positions=keep", "resize.image_size=40")
    command = ["finetune", "openai_vit_b32_csv", *overrides(tables, text, *more)]
    assert main([*command, f"--out={out}"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    counts = manifest["counts"]["tables"]
    assert [one["name"] for one in counts] == ["a.csv", "b c.csv", "classes"]
    assert sum(one["examples"] for one in counts) == 48
    assert 19 <= counts[1]["examples"] <= 26  # 12 of 26
    events = [e for e in stored.events(out / "log.jsonl") if e["stage"] == "train"]
    assert sum(sum(e["tables"].values()) for e in events) == 48
    again = shutil.copytree(out, tmp_path / "again")
    for name in ("manifest.json", "model.safetensors"):
        (again / name).unlink()
    for step in (4, 6):
        shutil.rmtree(again / "checkpoints" / str(step))
    four = shutil.copytree(again, tmp_path / "four")
    others = {
        "weight=2;": "weight=3;", "hard_negative_columns=neg": "", "balance=kind": "weight_column=w",
        "caption_columns=title": "caption_columns=kind",
    }  # fmt: skip
    for old, new in others.items():
        changed = [word.replace(old, new) for word in command]
        assert main([*changed, f"--out={again}"]) == 1, old
        assert "not those that it was begun with (data: other pairs)" in capsys.readouterr().err, old
    assert main([*command, f"--out={again}"]) == 0
    wanted, found = (weights.load(run / "model.safetensors").flat for run in (out, again))
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert main([*command, "--config.devices=4", "--config.parts=2", f"--out={four}"]) == 0
    found = weights.load(four / "model.safetensors").flat
    for name, array in wanted.items():  # sums in another order; Adam moves a parameter by 1e-5 at most a step
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-6, err_msg=name)
    assert json.loads((again / "manifest.json").read_text())["counts"] == manifest["counts"]
    assert main(["report", str(out)]) == 0
    assert f"{counts[0]['examples']} examples were of a.csv: each of its pairs" in capsys.readouterr().out


def test_a_pair_that_would_be_its_own_negative_is_refused(tables, tmp_path, capsys):
    often = overrides(tables, "csv={root}/a.csv; csv='{root}/b c.csv' caption_columns=title weight=40 limit=2")
    command = ["finetune", "openai_vit_b32_csv", *often, f"--out={tmp_path / 'run'}"]
    assert main([*command, "--config.soft_targets=False"]) == 1
    assert "would be its own negative (soft_targets=False)" in capsys.readouterr().err
    assert main([*command, "--config.data.last_batch=carry"]) == 1
    assert "data.last_batch=drop" in capsys.readouterr().err
