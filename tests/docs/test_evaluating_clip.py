"""The scripts of experiments/evaluating_clip: planted answers are found again, and whole commands on small inputs."""

import csv
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support import numpy_model

from clipjax.errors import InputError
from clipjax.image import open_image
from clipjax.testing import pictures

FOLDER = Path(__file__).parents[2] / "experiments" / "evaluating_clip"
MODEL = f"py:{numpy_model.__file__}"
N = 1500


def script(name):
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


def labels(shares, seed):
    """bool [N, L] with these shares."""
    return np.random.default_rng(seed).random((N, len(shares))) < shares


def test_labels_that_are_only_as_frequent_agree_as_by_chance():
    """Nine in ten portraits have one label, one in twenty another: most labels are shared, and that says nothing."""
    shares = np.array([0.9, 0.05, 0.3])
    found = script("agreement").overlap(labels(shares, 0), labels(shares, 1))
    assert found["precision"][0] > 0.6
    for what in ("precision", "recall"):
        assert found[what][1] < found[f"{what}_by_chance"][0] < found[what][2]
    assert found["kappa"][1] < 0 < found["kappa"][2]
    assert abs(found["kappa"][0]) < 0.03


def test_agreement_by_hand_and_planted():
    agreement = script("agreement")
    a, b = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool), np.array([[1, 0], [0, 1], [0, 0], [1, 1]], bool)
    found = agreement.overlap(a, b)
    assert found["precision"][0] == found["recall"][0] == 3 / 4
    assert found["precision_by_chance"][0] == pytest.approx((3 * 2 + 1 * 2) / 4 / 4)
    expected = (3 * 2 + 1 * 2 + 1 * 2 + 3 * 2) / 16 / 2
    assert found["kappa"][0] == pytest.approx((6 / 8 - expected) / (1 - expected))
    same = labels(np.array([0.5, 0.1]), 2)
    assert agreement.overlap(same, same)["kappa"] == pytest.approx((1, 1, 1))
    constant = np.append(same, np.ones((N, 1), bool), axis=1)  # a label of every portrait cannot be ranked
    found, ranked = agreement.ranking(constant * 0.5 + 0.1, constant)
    assert (found["roc_auc"], ranked) == ((1, 1, 1), 2)
    assert agreement.ranking(np.full((N, 1), 0.5), np.ones((N, 1), bool)) == ({}, 0)


def test_a_planted_ratio_of_labels_is_found_and_only_there():
    categories, generator = script("categories"), np.random.default_rng(3)
    side = np.arange(N) % 4 == 0
    planted = categories.counted(generator.poisson(np.where(side, 2.0, 1.0)), side)
    assert planted.low < 2 < planted.high
    assert planted.p == 1 / (1 + categories.PERMUTATIONS)
    none = categories.counted(generator.poisson(1.0, N), side)
    assert none.low < 1 < none.high
    assert none.p > 0.05
    assert np.isnan(categories.counted(side.astype(int), side).ratio)
    probabilities = np.zeros((N, 3))
    probabilities[side, 0], probabilities[~side, 0] = 0.01, 0.5
    probabilities[0, 2] = 0.02
    assert categories.hidden(probabilities, side, 0.005, 0.04) == [(0, 0, 375), (2, 0, 1)]


def test_ways_of_answering_a_coarse_question():
    """cod and haddock are fish, a cat is not: what two fine classes share is a fish, whichever is likelier."""
    fine = np.array([[0.4, 0.2, 0.4], [0.1, 0.3, 0.6], [0.3, 0.3, 0.4], [0.0, 0.0, 1.0]])
    coarse = np.array([[0.6, 0.4], [0.6, 0.4], [0.4, 0.6], [0.4, 0.6]])
    found = script("granularity").right_by(fine, coarse, np.array([1, 1, 0, 2]), np.array([0, 0, 1]))
    assert {name: right.tolist() for name, right in found.items()} == {
        "fine": [False, False, False, True],
        "coarse": [True, True, False, True],
        "likeliest": [True, False, False, True],
        "summed": [True, False, True, True],
    }


def test_clips_are_the_mean_direction_of_their_frames():
    videos, generator = script("video_retrieval"), np.random.default_rng(4)
    assert videos.spread(24, 8).tolist() == [1, 4, 7, 10, 13, 16, 19, 22]
    assert videos.spread(3, 8).tolist() == [0, 1, 2]
    frames = generator.normal(size=(5, 6)) * [[1], [100], [1], [1], [1]]  # a frame's length decides nothing
    found = videos.of_clips(frames.astype(np.float32), np.array([0, 0, 1, 1, 1]))
    unit = frames / np.linalg.norm(frames, axis=1, keepdims=True)
    np.testing.assert_allclose(found, [unit[:2].mean(0), unit[2:].mean(0)], rtol=1e-5)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A table of six images with a class, a coarse class to be, and a caption."""
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")
    pictures(tmp_path, {"cod": 2, "haddock": 2, "cat": 2})
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg"))
    with open(tmp_path / "photos.csv", "w", newline="") as file:
        rows = [(name, name.split("/")[0], f"number {i}", "ab"[i % 2]) for i, name in enumerate(files)]
        csv.writer(file).writerows([("file", "name", "caption", "part"), *rows])
    (tmp_path / "fine.yaml").write_text(
        "classes:\n  - {name: cod, coarse: fish}\n  - {name: haddock, coarse: fish}\n  - {name: cat, coarse: mammal}\n"
    )
    return tmp_path


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_granularity_from_a_command(photos):
    granularity = script("granularity")
    words = [f"--csv={photos}/photos.csv", "--label-column=name", f"--design={photos}/fine.yaml", f"--model={MODEL}"]
    words += ["--group-columns=part", f"--out={photos}/out"]
    granularity.main(granularity.arguments().parse_args(words))
    rows = {row["images"]: row for row in table(photos / "out" / "granularity.csv")}
    assert [rows[name]["n"] for name in ("all images", "fish", "mammal", "part=a")] == ["6", "4", "2", "3"]
    assert float(rows["all images"]["likeliest"]) >= float(rows["all images"]["fine"])
    assert (photos / "out" / "granularity.png").exists()
    (photos / "fine.yaml").write_text("classes: [cod, haddock, cat]\n")
    with pytest.raises(InputError, match="class 'cod' has no attribute coarse"):
        granularity.main(granularity.arguments().parse_args(words))


def test_video_retrieval_from_a_command(photos):
    pytest.importorskip("av")
    videos = script("video_retrieval")
    words = [f"--csv={photos}/photos.csv", f"--make={photos}/clips", f"--model={MODEL}", "--frames=2"]
    found = videos.main(videos.arguments().parse_args([*words, f"--out={photos}/out"]))
    assert [(r.metric, r.n) for r in found["mean"]][:2] == [("recall@1", 6), ("recall@5", 6)]
    assert len(table(photos / "out" / "videos.csv")) == 2 * 5
    source = videos.video.of_clips("clips", [photos / "clips" / "0000.mp4"], {})
    shown = np.asarray(source.image(0).convert("RGB").resize((16, 16)), float)
    meant = np.asarray(open_image(photos / "cat" / "0000.jpg").convert("RGB").resize((16, 16)), float)
    assert abs(shown - meant).mean() < 20  # of 255: the middle frame is the image, as its codec shows it


def test_platforms_and_their_agreement_from_a_command(tmp_path):
    """Google and Amazon give the same labels, Microsoft one that nobody else knows."""
    head = "name\tgender\tparty\twiki_img_url\twiki_img_labels\twiki_img_labels_awsrek\twiki_img_labels_macv"
    lines = [
        f"n{i}\t{('Female', 'Male')[i % 2]}\tX\tmc_images/{i}.jpg\t{of}\t{of}\tindoor"
        for i, of in enumerate(["suit, long_hair", "suit", "long_hair", "suit"] * 6)
    ]
    (tmp_path / "mc_data.tsv").write_text("\n".join([head, *lines]) + "\n")
    paths = script("platforms").main(tmp_path / "mc_data.tsv", tmp_path / "runs", "0.5")
    records = json.loads((paths[0] / "metrics.json").read_text())["records"]
    rate = next(r for r in records if r["metric"] == "label_rate" and r["label"] == "long hair")
    assert (rate["group"], rate["k"], rate["n"]) == ({"gender": "Female"}, 12, 12)
    agreement = script("agreement")
    agreement.main(paths, tmp_path / "out", 0.5, "gender")
    rows = table(tmp_path / "out" / "agreement.csv")
    assert not any(r["statistic"] == "precision" for r in rows if r["service"] == "Microsoft")  # has no label of both
    kappa = {(r["service"], r["group"]): r["value"] for r in rows if r["statistic"] == "kappa"}
    assert float(kappa["Amazon", "all"]) == 1
    (tmp_path / "mc_data.tsv").write_text("\n".join([head, *lines]).replace("suit", "tie") + "\n")
    (tied, *_) = script("platforms").main(tmp_path / "mc_data.tsv", tmp_path / "tied", "0.5")
    with pytest.raises(InputError, match=r"tied/Google has other labels than .*runs/Google"):
        agreement.main([paths[0], tied], tmp_path / "out", 0.5, "gender")
    categories = script("categories")
    with pytest.raises(InputError, match="gives none of the 3 labels a category; --categories=TABLE"):
        categories.main(paths[0], tmp_path / "c", None)
    (tmp_path / "c.csv").write_text("label,category\nsuit,clothing\nlong hair,body\n")
    categories.main(paths[0], tmp_path / "c", tmp_path / "c.csv")
    assert "1 of 3 labels have no category" in (tmp_path / "c" / "categories.md").read_text()
    with open(tmp_path / "c.csv", "a") as file:
        file.write("suit,body\n")
    with pytest.raises(InputError, match="label 'suit' has two categories"):
        categories.main(paths[0], tmp_path / "c", tmp_path / "c.csv")
    rows = {row["category"]: row for row in table(tmp_path / "c" / "categories.csv")}
    assert (rows["body"]["Female"], rows["body"]["Male"]) == ("1.0", "0.0")
