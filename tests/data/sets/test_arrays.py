"""Data sets kept in one array, and prepared by TFDS: each reader on a miniature of its real layout, labels by name."""

import gzip
import io
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from clipjax.data import annotations, catalog, pickles
from clipjax.data.info import design, own_names
from clipjax.errors import InputError


def load(key, path, *args, **kwargs):
    return catalog.module(key).open_source(path, *args, **kwargs)


def names(source):
    return [source.labels.names[i] for i in source.labels.index]


def pixels(source):
    return np.stack([np.asarray(source.image(i)) for i in range(len(source))])


def pictures(n, *shape):
    return np.random.default_rng(n).integers(0, 256, (n, *shape), np.uint8)


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, and numpy under numpy 1's module names, as in CIFAR's own files."""

    def save_bytes(self, data):
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_bytes}


def python2_pickle(path, content):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue().replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"))


def cifar_batch(images, labels, key=b"labels"):
    data = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return {b"data": data, key: labels, b"filenames": [b"cat_s_%06d.png" % (i % 2) for i in range(len(images))]}


def test_cifar10_by_the_names_of_its_own_meta_file(tmp_path):
    root = tmp_path / "cifar-10-batches-py"
    images = pictures(3, 32, 32, 3)
    meta = [b"truck", b"cat", b"airplane"]  # not the order of the prompts
    python2_pickle(root / "batches.meta", {b"label_names": meta})
    python2_pickle(root / "test_batch", cifar_batch(images, [0, 2, 1]))
    for i in range(1, 6):
        python2_pickle(root / f"data_batch_{i}", cifar_batch(pictures(i, 32, 32, 3), [1] * i))
    source = load("cifar10", tmp_path)
    assert names(source) == ["truck", "airplane", "cat"]
    assert source.labels.names == design("cifar10").names
    np.testing.assert_array_equal(pixels(source), images)
    train = load("cifar10", root, "train")
    assert len(train) == 15
    np.testing.assert_array_equal(pixels(train)[:1], pictures(1, 32, 32, 3))
    python2_pickle(root / "batches.meta", {b"label_names": meta[:2]})
    with pytest.raises(InputError, match="row 1 has class number 2 of 2"):
        load("cifar10", root)


def test_cifar100_takes_fine_labels(tmp_path):
    root = tmp_path / "cifar-100-python"
    python2_pickle(root / "meta", {b"fine_label_names": [b"worm", b"aquarium_fish"], b"coarse_label_names": [b"x"]})
    batch = cifar_batch(pictures(2, 32, 32, 3), [1, 0], b"fine_labels") | {b"coarse_labels": [0, 0]}
    python2_pickle(root / "test", batch)
    assert names(load("cifar100", tmp_path)) == ["aquarium fish", "worm"]
    python2_pickle(root / "test", {b"data": batch[b"data"]})
    with pytest.raises(InputError, match='"fine_labels" is missing'):
        load("cifar100", root)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_cifar_pickles_cannot_run_anything(tmp_path):
    root = tmp_path / "cifar-100-python"
    root.mkdir()
    python2_pickle(root / "meta", {b"fine_label_names": [b"worm"]})
    fuse = tmp_path / "ran"
    (root / "test").write_bytes(pickle.dumps({b"data": Bomb(fuse)}, protocol=3))
    with pytest.raises(InputError, match=r"test is not a CIFAR batch: it names .*open, which CIFAR's files do not"):
        load("cifar100", root)
    assert not fuse.exists()
    (root / "test").write_bytes(b"\x80\x02}q")
    with pytest.raises(InputError, match="is not a CIFAR batch"):
        load("cifar100", root)


def changed_batch(folder, before, after):
    path = folder / "batch"
    python2_pickle(path, cifar_batch(pictures(2, 32, 32, 3), [0, 1]))
    data = path.read_bytes()
    assert data.count(before) == 1
    path.write_bytes(data.replace(before, after))
    return path


def test_a_state_that_crashes_numpys_own_reader_is_only_data(tmp_path):
    """numpy.dtype.__setstate__((3, '|', None, -1, -1, 0)) ends the process with SIGSEGV (numpy 2.4)."""
    found = pickles.load(changed_batch(tmp_path, b"q\rNNNJ", b"q\rNJ"))
    assert found[b"data"].shape == (2, 3072)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"X\x02\x00\x00\x00u1", b"X\x02\x00\x00\x00O8", "array of O8"),
        (b"X\x01\x00\x00\x00|", b"X\x01\x00\x00\x00?", "byte order"),
        (b"K\x02M\x00\x0c\x86", b"K\x03M\x00\x0c\x86", "cannot reshape"),
    ],
)
def test_arrays_that_are_not_of_numbers_or_of_another_size_are_refused(tmp_path, before, after, words):
    with pytest.raises(InputError, match=words):
        pickles.load(changed_batch(tmp_path, before, after))


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("folder", [".", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist(tmp_path, folder, packed):
    images, labels = pictures(4, 28, 28), np.array([7, 0, 9, 1], np.uint8)
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, array in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        data = idx(array)
        path = tmp_path / folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(data) if packed else data)
    source = load("mnist", tmp_path)
    assert names(source) == ["7", "0", "9", "1"]
    assert source.image(0).mode == "L"
    np.testing.assert_array_equal(pixels(source), images)


def test_mnist_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match="train-images-idx3-ubyte is missing"):
        load("mnist", tmp_path, "train")
    (tmp_path / "t10k-images.idx3-ubyte").write_bytes(idx(pictures(2, 28, 28)))  # another spelling in the wild
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(InputError, match="3 labels for 2 images"):
        load("mnist", tmp_path)
    labels.write_bytes(idx(np.zeros(2, np.uint8))[:-1])
    with pytest.raises(InputError, match=r"holds 1 values, its header says \[2\]"):
        load("mnist", tmp_path)
    labels.write_bytes(b"<html>no such page</html>")
    with pytest.raises(InputError, match="is not an idx file"):
        load("mnist", tmp_path)
    labels.unlink()
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="is not a gzip file"):
        load("mnist", tmp_path)


def test_svhn_calls_zero_ten(tmp_path):
    images = pictures(3, 32, 32, 3)
    savemat(tmp_path / "test_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": [[10], [1], [9]]})
    source = load("svhn", tmp_path)
    assert names(source) == ["zero", "one", "nine"]
    np.testing.assert_array_equal(pixels(source), images)
    savemat(tmp_path / "test_32x32.mat", {"X": images, "y": [[10], [1], [9]]})
    with pytest.raises(InputError, match=r"expected \[32, 32, 3, N\]"):
        load("svhn", tmp_path)
    savemat(tmp_path / "test_32x32.mat", {"X": images})
    with pytest.raises(InputError, match='has no variable "y"'):
        load("svhn", tmp_path)


def test_stl10_is_written_by_columns_and_in_folds(tmp_path):
    root = tmp_path / "stl10_binary"
    root.mkdir()
    images = pictures(4, 96, 96, 3)
    own = ["truck", "airplane", "monkey", *own_names("stl10")[:7]]
    (root / "class_names.txt").write_text("\n".join(own) + "\n")
    for split in ("train", "test"):
        (root / f"{split}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
        (root / f"{split}_y.bin").write_bytes(bytes([3, 1, 2, 1]))
    (root / "fold_indices.txt").write_text("0 2 \n3 1 \n")
    source = load("stl10", tmp_path)
    assert names(source) == ["monkey", "truck", "airplane", "truck"]
    np.testing.assert_array_equal(pixels(source), images)
    fold = load("stl10", root, "train", fold=1)
    assert fold.files.tolist() == ["00003", "00001"]
    np.testing.assert_array_equal(pixels(fold), images[[3, 1]])
    with pytest.raises(InputError, match='folds 0 to 9 of split "train", not fold 0 of "test"'):
        load("stl10", root, fold=0)
    with pytest.raises(InputError, match="has 2 folds of 10"):
        load("stl10", root, "train", fold=5)
    (root / "test_y.bin").write_bytes(bytes([3, 1]))
    with pytest.raises(InputError, match="for 2 labels"):
        load("stl10", root)


def test_fer2013_reads_pixels_from_a_csv(tmp_path):
    images = pictures(4, 48, 48)
    rows = zip((3, 6, 0, 5), images, ("Training", "PrivateTest", "PublicTest", "PrivateTest"), strict=True)
    cells = [f"{emotion},{' '.join(map(str, image.ravel()))},{usage}" for emotion, image, usage in rows]
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(["emotion,pixels,Usage", *cells]))
    source = load("fer2013", tmp_path)
    assert names(source) == ["neutral", "surprised"]
    assert source.files.tolist() == ["00001", "00003"]
    np.testing.assert_array_equal(pixels(source), images[[1, 3]])
    assert names(load("fer2013", tmp_path, "trainval")) == ["happy", "angry"]
    assert names(load("fer2013", tmp_path, "val")) == ["angry"]
    assert design("fer2013").classes[3].texts == ("happy", "smiling")
    path.write_text("\n".join(["emotion,pixels,Usage", "3,1 2 3,PrivateTest"]))
    with pytest.raises(InputError, match=r"fer2013.csv line 2: 3 pixels of 2304"):
        load("fer2013", tmp_path)
    path.write_text("emotion,pixels\n3,1\n")  # the form without answers
    with pytest.raises(InputError, match='has no column "Usage"'):
        load("fer2013", tmp_path)


def test_patch_camelyon(tmp_path):
    h5py = pytest.importorskip("h5py")
    images = pictures(3, 96, 96, 3)
    stem = tmp_path / "camelyonpatch_level_2_split_test"
    with h5py.File(f"{stem}_x.h5", "w") as file:
        file["x"] = images
    with h5py.File(f"{stem}_y.h5", "w") as file:
        file["y"] = np.array([1, 0, 1], np.uint8).reshape(3, 1, 1, 1)
    source = load("patch_camelyon", tmp_path)
    assert source.labels.index.tolist() == [1, 0, 1]
    assert source.labels.names == ("lymph node", "lymph node containing metastatic tumor tissue")
    np.testing.assert_array_equal(pixels(source), images)
    stem.with_name(f"{stem.name}_y.h5").write_bytes(b"packed still")
    with pytest.raises(InputError, match='is not an HDF5 file with an array "y"'):
        load("patch_camelyon", tmp_path)


@pytest.fixture
def prepare():
    """Writes a data set as TFDS does, without TensorFlow: pictures come encoded."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def write(folder, name, examples, features):
        kinds = {"image": tfds.features.Image(shape=(4, 4, 3), encoding_format="png"), **features(tfds)}

        def info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(kinds))

        def generate(self):
            for i, (key, example) in enumerate(examples):
                file = io.BytesIO()
                Image.new("RGB", (4, 4), (i, 0, 0)).save(file, "PNG")
                file.seek(0)
                yield key, {"image": file, **example}

        split = "train" if name in ("eurosat",) else "test"
        content = {
            "VERSION": tfds.core.Version("1.0.0"),
            "__module__": __name__,
            "_info": info,
            "_split_generators": lambda self, manager: {split: generate(self)},
            "_generate_examples": generate,
        }
        builder = type(name.title().replace("_", ""), (tfds.core.GeneratorBasedBuilder,), content)
        made = builder(data_dir=folder, file_format="array_record")
        made.download_and_prepare()
        return Path(made.data_dir)

    return write


def test_prepared_by_tfds_in_another_order_of_classes(tmp_path, prepare):
    own = ["american_bulldog", "Abyssinian", "Sphynx"]
    examples = [(f"p{i}", {"label": own[i % 3], "file_name": f"{own[i % 3]}_{i}.jpg"}) for i in range(7)]
    where = prepare(
        tmp_path,
        "oxford_iiit_pet",
        examples,
        lambda t: {"label": t.features.ClassLabel(names=own), "file_name": t.features.Text()},
    )
    for path in (tmp_path, where):
        source = load("pets", path)
        assert len(source) == 7
        assert source.name == "pets"
        assert source.labels.names == design("pets").names
        for file, name in zip(source.files, names(source), strict=True):
            assert name == file.rpartition("_")[0].replace("_", " ")


def test_vtab_order_is_the_order_tfds_writes(tmp_path, prepare):
    own = ["Forest", "AnnualCrop"]
    files = [f"{own[i % 2]}_{i}.jpg" for i in range(23)]
    keys = [f"{file.split('_')[0]}_{file}" for file in files]
    examples = [(k, {"label": f.split("_")[0], "filename": f}) for k, f in zip(keys, files, strict=True)]
    where = prepare(
        tmp_path,
        "eurosat",
        examples,
        lambda t: {"label": t.features.ClassLabel(names=own), "filename": t.features.Text()},
    )
    written = [load("eurosat", where, split).files.tolist() for split in ("train", "val", "test")]
    # From the pictures' names alone, as `load` does for class folders.
    ours = [[files[i] for i in annotations.vtab_rows(keys, split)] for split in ("train", "val", "test")]
    assert written == ours
    assert sum(map(len, ours)) == 23
    assert set(names(load("eurosat", where))) <= {"forest", "annual crop land"}


def test_prepared_partitions_are_not_mistaken_for_each_other(tmp_path, prepare):
    own = ["/a/abbey", "/y/yard"]
    examples = [("1", {"label": own[1]})]
    where = prepare(tmp_path, "sun397", examples, lambda t: {"label": t.features.ClassLabel(names=own)})
    second = tmp_path / "sun397" / "standard-part2-120k"
    second.mkdir()
    where.rename(second / "1.0.0")
    assert names(load("sun397", tmp_path, partition=2)) == ["yard"]
    with pytest.raises(InputError, match="does not hold SUN397"):
        load("sun397", tmp_path)
    (tmp_path / "features.json").write_text("{}")
    with pytest.raises(InputError, match=r"labels/test2\.txt is missing"):  # TFDS has partition 1 of DTD alone
        load("dtd", tmp_path, partition=2)


def test_voc2007_prepared_by_tfds(tmp_path, prepare):
    own = sorted(own_names("voc2007"))
    examples = [
        ("a", {"labels": ["sofa", "person"], "labels_no_difficult": ["sofa"]}),
        ("b", {"labels": ["diningtable"], "labels_no_difficult": ["diningtable"]}),
    ]
    where = prepare(
        tmp_path,
        "voc",
        examples,
        lambda t: {key: t.features.Sequence(t.features.ClassLabel(names=own)) for key in examples[0][1]},
    )
    source = load("voc2007", where)
    clear = {frozenset(source.labels.names[c] for c in np.flatnonzero(row)) for row in source.labels.present}
    hard = {frozenset(source.labels.names[c] for c in np.flatnonzero(row)) for row in source.protocol["difficult"]}
    assert clear == {frozenset({"sofa"}), frozenset({"diningtable"})}
    assert hard == {frozenset({"person"}), frozenset()}
