"""Country211, CLEVR counts and KITTI distance on miniatures; the sets whose labels come out of TFDS's examples."""

import io
import json
import random

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.datasets.kitti.kitti_dataset_builder import _build_splits

from clipjax.data import catalog
from clipjax.data.info import own_names
from clipjax.data.sets import celeba, clevr_counts, country211, imagenet, imagenet_a, kitti_distance, mscoco
from clipjax.errors import InputError

KEYS = (
    "ucf101 kinetics700 rareact country211 clevr_counts kitti_distance flickr30k mscoco imagenet imagenet_a imagenet_r "
    "imagenet_sketch objectnet youtube_bb imagenet_vid fairface celeba congress"
).split()


def picture(path, color=(0, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path)


def names(source):
    return [source.labels.names[i] for i in source.labels.index]


@pytest.mark.parametrize("key", KEYS)
def test_what_is_said_of_each_set_is_complete(key, tmp_path):
    info = catalog.info(key)
    module = catalog.module(key)
    assert info.key == key
    assert info.split in module.SPLITS
    assert "http" in info.obtain
    assert info.layout.strip()
    assert info.reading.endswith(".")
    # An empty folder is refused in one line that says where to look, and nothing is read with an unknown split.
    with pytest.raises(InputError) as empty:
        module.open_source(tmp_path)
    assert str(tmp_path) in str(empty.value)
    assert "\n" not in str(empty.value)
    with pytest.raises(InputError, match='has no split "nosuch"'):
        module.open_source(tmp_path, "nosuch")


def test_country211_goes_by_code(tmp_path):
    for code, split in (("ZW", "test"), ("AD", "test"), ("XK", "test"), ("DE", "train")):
        picture(tmp_path / "country211" / split / code / "1.jpg")
    s = country211.open_source(tmp_path)
    assert names(s) == ["Andorra", "Kosovo", "Zimbabwe"]
    assert s.files.tolist() == ["AD/1.jpg", "XK/1.jpg", "ZW/1.jpg"]
    assert len(s.labels.names) == 211
    assert names(country211.open_source(tmp_path / "country211", "train")) == ["Germany"]
    picture(tmp_path / "country211" / "test" / "YU" / "1.jpg")
    with pytest.raises(InputError, match='"YU" is none of the 211 classes'):
        country211.open_source(tmp_path)
    with pytest.raises(InputError, match="country211/valid is missing"):
        country211.open_source(tmp_path, "valid")


def clevr(root, counts, split="val"):
    scenes = []
    for i, count in enumerate(counts):
        file = f"CLEVR_{split}_{i:06d}.png"
        scenes.append({"image_filename": file, "objects": [{"color": "red"}] * count, "image_index": i})
        picture(root / "images" / split / file)
    (root / "scenes").mkdir(exist_ok=True)
    (root / "scenes" / f"CLEVR_{split}_scenes.json").write_text(json.dumps({"scenes": scenes, "info": {}}))


def test_clevr_counts_objects(tmp_path):
    clevr(tmp_path / "CLEVR_v1.0", [3, 10, 9, 4])
    clevr(tmp_path / "CLEVR_v1.0", [5], "train")
    s = clevr_counts.open_source(tmp_path)
    assert names(s) == ["3", "10", "9", "4"]
    assert s.labels.names == ("10", "3", "4", "5", "6", "7", "8", "9")
    assert s.files[0] == "CLEVR_val_000000.png"
    assert names(clevr_counts.open_source(tmp_path, "train")) == ["5"]
    clevr(tmp_path / "CLEVR_v1.0", [3, 11])
    with pytest.raises(InputError, match='"11" is none of the 8 classes'):
        clevr_counts.open_source(tmp_path)
    (tmp_path / "CLEVR_v1.0" / "scenes" / "CLEVR_val_scenes.json").write_text('{"scenes": [{"objects": []}]}')
    with pytest.raises(InputError, match='a record has no "image_filename"'):
        clevr_counts.open_source(tmp_path)


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([], "none"),
        ([("Pedestrian", 2.0), ("Tram", 3.0), ("Cyclist", 1.0)], "none"),
        ([("Car", 8.0)], "below_8"),
        ([("Van", 8.01)], "below_20"),
        ([("Truck", 20.0), ("Car", 60.0)], "below_20"),
        ([("Car", 20.01), ("DontCare", -1000.0)], "above_20"),
        ([("Car", 300.0), ("Van", -1.5)], "below_8"),
    ],
)
def test_vtabs_distance_rule(objects, expected):
    assert kitti_distance.distance_class(objects) == expected


def kitti(root, drives, lines_of, mapping="devkit_object/mapping"):
    """`drives` is the drive of each picture; the mapping lists pictures in another order, as the devkit does."""
    order = list(range(len(drives)))
    random.Random(7).shuffle(order)  # line -> picture
    folder = root / mapping
    folder.mkdir(parents=True)
    (folder / "train_mapping.txt").write_text("".join(f"2011_09_26 {drives[p]} {p:010d}\n" for p in order))
    line_of = {p: line for line, p in enumerate(order, 1)}
    (folder / "train_rand.txt").write_text(",".join(str(line_of[p]) for p in range(len(drives))) + "\n")
    for p in range(len(drives)):
        picture(root / "training" / "image_2" / f"{p:06d}.png", (p, 0, 0))
        label = root / "training" / "label_2" / f"{p:06d}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text("".join(lines_of(p)))
    return folder


def line(kind, z):
    return f"{kind} 0.00 0 -1.57 100.0 150.0 200.0 250.0 1.5 1.6 3.9 -2.0 1.7 {z:.2f} -1.62\n"


def by_remainder(p):
    """Distances by the picture's number, so that a label can be told from its file."""
    cases = [[line("Car", 5)], [line("Van", 15)], [line("Truck", 50)], [line("DontCare", -1000), line("Tram", 2)]]
    return cases[p % 4]


SENTENCES = ["on my left or right side.", "nearby.", "in the distance.", "with no car."]


@pytest.mark.parametrize("mapping", ["devkit_object/mapping", "mapping"])
def test_kitti_goes_by_case_to_openais_sentences(tmp_path, mapping):
    drives = [f"2011_09_26_drive_{p % 20:04d}_sync" for p in range(60)]
    folder = kitti(tmp_path, drives, by_remainder, mapping)
    test, train = kitti_distance.open_source(tmp_path), kitti_distance.open_source(tmp_path, "train")
    assert sorted([*test.files, *train.files]) == [f"{p:06d}.png" for p in range(60)]
    for s in (test, train):
        for file, name in zip(s.files, names(s), strict=True):
            assert name.endswith(SENTENCES[int(file[:6]) % 4])
    # TFDS's own function is the oracle: VTAB's 711 test pictures are its test split.
    devkit = [
        (f"mapping/{file}", io.BytesIO((folder / file).read_bytes()))
        for file in ("train_rand.txt", "train_mapping.txt")
    ]
    expected = [sorted(part) for part in _build_splits(iter(devkit))]
    drawn = kitti_distance.drives(folder)
    assert [drawn["train"], drawn["validation"], drawn["test"]] == expected
    assert test.files.tolist() == [f"{p:06d}.png" for p in expected[2]]
    assert 0 < len(test) < len(train)


def test_kitti_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match="training/label_2 is missing"):
        kitti_distance.open_source(tmp_path)
    folder = kitti(tmp_path, [f"d{p}" for p in range(12)], by_remainder)
    number = int(kitti_distance.open_source(tmp_path).files[0][:6])
    label = tmp_path / "training" / "label_2" / f"{number:06d}.txt"
    label.write_text("Car 0.00 0\n")
    with pytest.raises(InputError, match=r"line 1: 'Car 0\.00 0' has 3 fields of 15"):
        kitti_distance.open_source(tmp_path)
    label.write_text(line("Car", 5).replace("5.00", "near"))
    with pytest.raises(
        InputError, match=f"{number:06d}.txt has a distance .* .could not convert string to float: 'near'"
    ):
        kitti_distance.open_source(tmp_path)
    (folder / "train_rand.txt").write_text("1,2,99")
    with pytest.raises(InputError, match=r"no valid train_rand\.txt"):
        kitti_distance.open_source(tmp_path)
    (folder / "train_mapping.txt").unlink()
    with pytest.raises(InputError, match=r"train_mapping\.txt is missing"):
        kitti_distance.open_source(tmp_path)


def png(level):
    """An encoded picture, red by its number."""
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (level, 0, 0)).save(file, "PNG")
    return file.getvalue()


def prepare(folder, key, version, features, splits):
    """A data set as TFDS writes it; examples of `splits` by key."""

    class Miniature(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = key
        VERSION = tfds.core.Version(version)

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {
                split: (
                    (name, {**example, "image": io.BytesIO(example["image"])}) for name, example in examples.items()
                )
                for split, examples in splits.items()
            }

        def _generate_examples(self):
            raise NotImplementedError

    Miniature(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder / key / version


IMAGE = tfds.features.Image(encoding_format="png")


def test_clevr_as_tfds_prepares_it(tmp_path):
    objects = tfds.features.Sequence({"size": tfds.features.ClassLabel(names=["small", "large"])})
    examples = {
        f"{n}.png": {"image": png(n), "file_name": f"{n}.png", "objects": [{"size": 0}] * n} for n in (3, 7, 10)
    }
    features = {"image": IMAGE, "file_name": tfds.features.Text(), "objects": objects}
    where = prepare(tmp_path, "clevr", "3.1.0", features, {"validation": examples})
    for path in (tmp_path, where.parent, where):
        s = clevr_counts.open_source(path)
        assert s.name == "clevr_counts"
        assert [f"{n}.png" for n in names(s)] == s.files.tolist()
        assert [s.image(i).getpixel((0, 0))[0] for i in range(3)] == [int(n) for n in names(s)]
    with pytest.raises(InputError, match='no split "train"'):
        clevr_counts.open_source(tmp_path, "train")


def test_kitti_as_tfds_prepares_it(tmp_path):
    kinds = ["Car", "Van", "Truck", "Pedestrian", "Tram"]
    objects = tfds.features.Sequence(
        {
            "type": tfds.features.ClassLabel(names=kinds),
            "location": tfds.features.Tensor(shape=(3,), dtype=np.float32),
        }
    )
    cases = {
        "0": [("Pedestrian", 1), ("Car", 9)],
        "1": [("Tram", 3)],
        "2": [("Van", 21), ("Truck", 8)],
        "3": [("Truck", 50)],
    }
    examples = {
        key: {
            "image": png(int(key)),
            "image/file_name": f"{key}.png",
            "objects": [{"type": kind, "location": [0, 0, z]} for kind, z in found],
        }
        for key, found in cases.items()
    }
    features = {"image": IMAGE, "image/file_name": tfds.features.Text(), "objects": objects}
    prepare(tmp_path, "kitti", "3.3.0", features, dict.fromkeys(("train", "validation", "test"), examples))
    s = kitti_distance.open_source(tmp_path)
    expected = {0: SENTENCES[1], 1: SENTENCES[3], 2: SENTENCES[0], 3: SENTENCES[2]}
    for i, name in enumerate(names(s)):
        assert name.endswith(expected[s.image(i).getpixel((0, 0))[0]])
    assert len(s) == 4
    assert len(kitti_distance.open_source(tmp_path, "train")) == 8


def test_coco_as_tfds_prepares_it(tmp_path):
    captions = tfds.features.Sequence({"text": tfds.features.Text(), "id": np.int64})
    examples = {
        f"{n}": {
            "image": png(n),
            "image/filename": f"{n}.jpg",
            "captions": [{"text": f"{n} caption {i}", "id": i} for i in range(n)],
        }
        for n in (5, 7)
    }
    features = {"image": IMAGE, "image/filename": tfds.features.Text(), "captions": captions}
    where = prepare(tmp_path / "coco_captions", "2014", "1.1.0", features, {"test": examples})
    for path in (tmp_path, where):
        s = mscoco.open_source(path)
        assert s.labels is None
        for i, file in enumerate(s.files):
            n = int(file.removesuffix(".jpg"))
            assert s.captions[i] == tuple(f"{n} caption {j}" for j in range(5))
            assert s.image(i).getpixel((0, 0))[0] == n


def test_celeba_as_tfds_prepares_it(tmp_path):
    features = {
        "image": IMAGE,
        "attributes": {"Male": np.bool_, "Bald": np.bool_},
        "identity": {"Identity_No": np.int64},
    }
    examples = {
        f"{n}": {
            "image": png(n),
            "attributes": {"Male": n % 2 == 1, "Bald": n > 2},
            "identity": {"Identity_No": 100 + n},
        }
        for n in range(4)
    }
    prepare(tmp_path, "celeb_a", "2.1.0", features, {"test": examples})
    s = celeba.open_source(tmp_path)
    levels = [s.image(i).getpixel((0, 0))[0] for i in range(4)]
    assert s.columns["identity"].tolist() == [str(100 + n) for n in levels]
    assert s.columns["Male"].tolist() == [str(n % 2) for n in levels]
    assert s.columns["Bald"].tolist() == [str(int(n > 2)) for n in levels]
    listing = tmp_path / "names.csv"
    listing.write_text("identity,name\n102,Cee\n")
    assert names(celeba.open_source(tmp_path, names=listing)) == ["Cee"]


def test_imagenet_a_as_tfds_prepares_it(tmp_path):
    """TFDS labels it over all 1,000 classes; here they are its 200."""
    wnids = list(own_names("imagenet"))
    features = {
        "image": IMAGE,
        "label": tfds.features.ClassLabel(names=wnids),
        "file_name": tfds.features.Text(),
    }
    shown = {"n01498041": "stingray", "n02051845": "pelican"}
    examples = {w: {"image": png(1), "label": w, "file_name": f"{w}.jpg"} for w in shown}
    prepare(tmp_path, "imagenet_a", "0.1.0", features, {"test": examples})
    s = imagenet_a.open_source(tmp_path)
    assert {file[:9]: name for file, name in zip(s.files, names(s), strict=True)} == shown
    assert len(s.labels.names) == 200
    whole = prepare(tmp_path, "imagenet2012", "5.1.0", features, {"validation": examples})
    assert sorted(names(imagenet.open_source(whole))) == ["pelican", "stingray"]
    outside = {"n01440764": {"image": png(1), "label": "n01440764", "file_name": "x.jpg"}}
    prepare(tmp_path / "b", "imagenet_a", "0.1.0", features, {"test": outside})
    with pytest.raises(InputError, match='imagenet_a row 0: "n01440764" is not among the 200 classes'):
        imagenet_a.open_source(tmp_path / "b")
