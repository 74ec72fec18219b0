"""A prepared array_record data set, made and read without TensorFlow."""

import io
import json
import os
import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from clipjax.data import pipeline
from clipjax.data.kinds import tfds as prepared
from clipjax.data.kinds.shared import Columns
from clipjax.errors import InputError
from clipjax.image import Preprocess

N = 70  # more than one piece of the scan


class Insects(tfds.core.GeneratorBasedBuilder):
    """Pictures whose red value is their number; their label is the number modulo 2, unless it is plain."""

    VERSION = tfds.core.Version("1.0.0")
    PLAIN = False

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "label": np.int64 if self.PLAIN else tfds.features.ClassLabel(names=["bee", "ant"]),
            "attributes": {"Male": np.bool_, "age": tfds.features.Text()},
            "number": np.int64,
            "captions": tfds.features.Sequence({"id": np.int64, "text": tfds.features.Text()}),
        }
        if not self.PLAIN:
            features["file_name"] = tfds.features.Text()
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(3), "test": self._generate_examples(N)}

    def _generate_examples(self, n):
        for i in range(n):
            example = {
                "image": picture(i, "RGB"),
                "mask": picture(0, "L"),
                "label": 5 + 5 * (i % 2) if self.PLAIN else i % 2,
                "attributes": {"Male": i % 3 == 0, "age": "0-2"},
                "number": i,
                "captions": [{"id": k, "text": f"insect {i}, caption {k}"} for k in range(1 + i % 3)],
            }
            yield i, example if self.PLAIN else example | {"file_name": f"{i}.png"}


class Plain(Insects):
    """Without class names and without file names."""

    PLAIN = True


def picture(level, mode):
    file = io.BytesIO()
    Image.new(mode, (5, 4), level if mode == "L" else (level, 0, 0)).save(file, "PNG")
    file.seek(0)
    return file


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for builder in (Insects, Plain):
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_a_split_is_read_whole_and_by_name(data_dir):
    s = prepared.open_data_set(
        "insects", data_dir, "test", Columns(label="label", groups=("number", "attributes/Male"))
    )
    assert len(s) == N
    assert s.labels.names == ("bee", "ant")
    number = s.columns["number"].astype(int)
    assert sorted(number) == list(range(N))
    assert s.labels.index.tolist() == (number % 2).tolist()
    assert s.files.tolist() == [f"{i}.png" for i in number]
    assert s.columns["attributes/Male"].tolist() == [str(n % 3 == 0) for n in number]
    assert [s.image(i).getpixel((1, 1))[0] for i in range(N)] == number.tolist()
    assert type(s.read(0)) is bytes
    assert "tensorflow" not in sys.modules


def test_threads_read_it_at_once(data_dir):
    s = prepared.open_data_set("insects", data_dir, "test", Columns(label="label", groups=("number",)))
    spec = Preprocess(4, (0, 0, 0), (1, 1, 1))
    found = list(pipeline.batches(s, range(N), spec, 16, threads=6, dtype=np.uint8))
    assert np.concatenate([b.pixels for b in found])[:, 0, 0, 0].tolist() == s.columns["number"].astype(int).tolist()


def test_labels_and_files_without_names(data_dir):
    s = prepared.open_data_set("plain", data_dir, "test", Columns(label="label", groups=("number",)))
    assert s.labels.names == ("5", "10")
    assert s.labels.index.tolist() == (s.columns["number"].astype(int) % 2).tolist()
    assert s.files[12] == "test/000012"
    bare = prepared.open_data_set("plain", data_dir, "train", Columns())
    assert (bare.labels, len(bare)) == (None, 3)


def test_version_config_and_environment(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    prints = {prepared.open_data_set(name, None, "test").fingerprint for name in ("insects", "insects/1.0.0")}
    assert len(prints) == 1
    assert prepared.open_data_set("insects", None, "train").fingerprint not in prints


def test_the_newest_version_is_taken(data_dir, tmp_path):
    for version in ("2.0.0", "10.0.0"):
        (tmp_path / "insects" / version).mkdir(parents=True)
        for file in (data_dir / "insects/1.0.0").iterdir():
            (tmp_path / "insects" / version / file.name).write_bytes(file.read_bytes())
    assert prepared._version_folder("insects", tmp_path).name == "10.0.0"


def test_the_fingerprint_is_of_the_images_and_not_of_shards_or_labels(data_dir, tmp_path):
    before = prepared.open_data_set("insects", data_dir, "test").fingerprint
    assert prepared.open_data_set("insects", data_dir, "test", Columns()).fingerprint == before
    assert (
        prepared.open_data_set("insects", data_dir, "test", Columns(label="label", image="mask")).fingerprint != before
    )
    target = tmp_path / "moved/insects/1.0.0"
    target.parent.mkdir(parents=True)
    copied = [*(data_dir / "insects/1.0.0").iterdir()]
    target.mkdir()
    for file in copied:
        (target / file.name).write_bytes(file.read_bytes())
        os.utime(target / file.name, ns=(0, 5))
    assert prepared.open_data_set("insects", tmp_path / "moved", "test").fingerprint == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("insect", "test"), ["no prepared data set", 'nearest: "insects"', "tfds build insect", "array_record"]),
        (("insects", "tset"), ['no split "tset"', 'nearest: "test"', "test, train"]),
        (("insects", "test", Columns("imgae")), ['no feature "imgae"', 'nearest: "image"']),
        (("insects", "test", Columns("image", "lable")), ['no feature "lable"', 'nearest: "label"']),
        (("insects", "test", Columns("number")), ['"number" is not an image', "image, mask"]),
    ],
)
def test_what_is_not_there(data_dir, arguments, words):
    name, *rest = arguments
    with pytest.raises(InputError) as caught:
        prepared.open_data_set(name, data_dir, *rest)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_nested_feature_that_is_not_there(data_dir):
    with pytest.raises(InputError, match='no feature "attributes/male"; nearest: "Male"'):
        prepared.open_data_set("insects", data_dir, "test", Columns(label="label", groups=("attributes/male",)))


@pytest.mark.parametrize("file", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"type": 3}', "[" * 5000])
def test_a_damaged_description_is_one_line(data_dir, tmp_path, file, content):
    target = shutil.copytree(data_dir / "insects/1.0.0", tmp_path / "insects/1.0.0")
    (target / file).write_text(content)
    with pytest.raises(InputError, match=r"not a data set that TFDS prepared|features\.json: ") as caught:
        prepared.open_data_set("insects", tmp_path, "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["top", "inside"])
def test_a_description_imports_no_module(data_dir, tmp_path, monkeypatch, place):
    """TFDS imports the module of any class that features.json names: of a file that came with the data, say."""
    target = shutil.copytree(data_dir / "insects/1.0.0", tmp_path / "insects/1.0.0")
    (tmp_path / "insects" / "evil.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    described = json.loads((target / "features.json").read_text())
    node = described if place == "top" else next(iter(described["featuresDict"]["features"].values()))
    node["pythonClassName"] = "insects.evil.Feature"
    (target / "features.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"asks for insects\.evil\.Feature, which is not TFDS's own"):
        prepared.open_data_set("insects", tmp_path, "test")
    assert not (tmp_path / "ran").exists()


def test_a_format_that_needs_tensorflow_says_so(data_dir, tmp_path):
    target = tmp_path / "insects/1.0.0"
    target.mkdir(parents=True)
    for file in (data_dir / "insects/1.0.0").iterdir():
        (target / file.name.replace("array_record", "tfrecord")).write_bytes(file.read_bytes())
    info = json.loads((target / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    for split in info["splits"]:
        split["filepathTemplate"] = split["filepathTemplate"].replace("array_record", "tfrecord")
    (target / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="tfds build insects --file_format=array_record"):
        prepared.open_data_set("insects", tmp_path, "test")


def test_captions_of_a_sequence(data_dir):
    found = prepared.open_data_set("insects", data_dir, "test", Columns(captions=("captions/text",)))
    numbers = [int(file.removesuffix(".png")) for file in found.files]
    for number, captions in zip(numbers, found.captions, strict=True):
        assert captions == tuple(f"insect {number}, caption {k}" for k in range(1 + number % 3))
    with pytest.raises(InputError, match='no feature "captions/txt"'):
        prepared.open_data_set("insects", data_dir, "test", Columns(captions=("captions/txt",)))
