"""Data sets kept as picture files: each reader on a miniature of its real layout, labels checked by name."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from clipjax.data import annotations, catalog
from clipjax.data.info import design
from clipjax.errors import InputError


def picture(path, level=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (level, 0, 0)).save(path)


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def load(key, path, *args, **kwargs):
    return catalog.module(key).open_source(path, *args, **kwargs)


def names(source):
    return [source.labels.names[i] for i in source.labels.index]


def structs(**fields):
    """What MATLAB calls a 1 x N struct array."""
    rows = np.zeros((1, len(next(iter(fields.values())))), [(name, object) for name in fields])
    for name, values in fields.items():
        for i, value in enumerate(values):
            rows[0, i][name] = value
    return rows


def cells(*values):
    """What MATLAB calls a 1 x N cell array."""
    array = np.empty((1, len(values)), object)
    array[0] = values
    return array


def test_food101(tmp_path):
    root = tmp_path / "food-101"
    write(root / "meta" / "test.txt", "waffles/7", "apple_pie/1005649")
    write(root / "meta" / "train.txt", "sushi/1")
    for i, name in enumerate(("waffles/7", "apple_pie/1005649", "sushi/1")):
        picture(root / "images" / f"{name}.jpg", 100 * i)
    source = load("food101", tmp_path)  # the folder above is as good as the folder itself
    assert names(source) == ["waffles", "apple pie"]
    assert source.files.tolist() == ["waffles/7.jpg", "apple_pie/1005649.jpg"]
    assert abs(source.image(1).getpixel((0, 0))[0] - 100) < 3  # JPEG
    assert source.labels.names == design("food101").names
    assert names(load("food101", root, "train")) == ["sushi"]
    with pytest.raises(InputError, match='no split "tset"; nearest: "test"; it has: train, test'):
        load("food101", root, "tset")
    with pytest.raises(InputError, match=r"food-101/meta/test.txt is missing; `clipjax datasets food101`"):
        load("food101", tmp_path / "elsewhere")
    write(root / "meta" / "test.txt", "waffels/7")
    with pytest.raises(InputError, match='"waffels" is none of the 101 classes of food101; nearest: "waffles"'):
        load("food101", root)


def test_birdsnap_is_what_the_web_still_has(tmp_path):
    root = tmp_path / "birdsnap"
    write(
        root / "species.txt",
        "id\tcommon\tscientific\tdir",
        "1\tAllen's Hummingbird\tSelasphorus sasin\tAllens_Hummingbird",
        "2\tSora\tPorzana carolina\tSora",
    )
    files = ["Sora/1.jpg", "Sora/2.jpg", "Allens_Hummingbird/3.jpg", "Sora/4.jpg"]
    write(root / "images.txt", "url\tmd5\tpath", *(f"http://x\t0\t{file}" for file in files))
    write(root / "test_images.txt", "path", "Sora/1.jpg", "Sora/2.jpg", "Allens_Hummingbird/3.jpg")
    for file in ("Sora/2.jpg", "Allens_Hummingbird/3.jpg", "Sora/4.jpg"):
        picture(root / "download" / "images" / file)
    source = load("birdsnap", tmp_path)
    assert source.labels.names == ("Allens Hummingbird", "Sora")
    assert source.files.tolist() == ["Sora/2.jpg", "Allens_Hummingbird/3.jpg"]
    assert names(source) == ["Sora", "Allens Hummingbird"]
    assert load("birdsnap", root, "train").files.tolist() == ["Sora/4.jpg"]
    write(root / "species.txt", "id\tname", "1\tSora")
    with pytest.raises(InputError, match=r'species.txt has no column "dir"'):
        load("birdsnap", root)


def test_sun397_partitions(tmp_path):
    root = tmp_path / "SUN397"
    files = ["/a/abbey/sun_a.jpg", "/a/apse/indoor/sun_b.jpg", "/y/youth_hostel/sun_c.jpg"]
    for file in files:
        picture(root / file.lstrip("/"))
    write(root / "Partitions" / "Testing_01.txt", files[2], files[1])
    write(root / "Partitions" / "Testing_10.txt", files[0])
    source = load("sun397", tmp_path)
    assert names(source) == ["youth hostel", "apse indoor"]
    assert source.files[1] == "a/apse/indoor/sun_b.jpg"
    assert names(load("sun397", root, partition=10)) == ["abbey"]
    assert names(load("sun397", root, "all")) == ["abbey", "apse indoor", "youth hostel"]
    with pytest.raises(InputError, match='no partition "11"; it has: 1, 2'):
        load("sun397", root, partition=11)


@pytest.mark.parametrize("place", ["", "devkit"])
def test_cars(tmp_path, place):
    root = tmp_path / "stanford_cars"
    (root / "devkit").mkdir(parents=True)
    known = design("cars").names
    own = (known[150], known[3], known[0])  # not in OpenAI's order
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": cells(*own)})
    rows = structs(bbox_x1=[1, 1], fname=["00001.jpg", "00002.jpg"], **{"class": [3, 1]})
    savemat(root / place / "cars_test_annos_withlabels.mat", {"annotations": rows})
    for i in (1, 2):
        picture(root / "cars_test" / f"0000{i}.jpg")
    source = load("cars", tmp_path)
    assert names(source) == [known[0], known[150]]
    assert source.files.tolist() == ["cars_test/00001.jpg", "cars_test/00002.jpg"]
    # The test annotations of the development kit have no classes.
    savemat(root / place / "cars_test_annos_withlabels.mat", {"annotations": structs(fname=["00001.jpg", "2.jpg"])})
    with pytest.raises(InputError, match='no field "class"'):
        load("cars", root)


def test_aircraft(tmp_path):
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    write(data / "images_variant_test.txt", "0062765 F-16A/B", "0034309 Cessna 172", "0000001 707-320")
    for number in ("0062765", "0034309", "0000001"):
        picture(data / "images" / f"{number}.jpg")
    source = load("aircraft", tmp_path)
    assert names(source) == ["F-16A/B", "Cessna 172", "707-320"]
    assert source.files[1] == "0034309.jpg"
    with pytest.raises(InputError, match=r"images_variant_trainval.txt is missing"):
        load("aircraft", tmp_path, "trainval")


def annotation(*objects):
    rows = (f"<object><name>{n}</name><difficult>{int(d)}</difficult></object>" for n, d in objects)
    return f"<annotation><filename>x</filename>{''.join(rows)}</annotation>"


def test_voc2007_difficult_counts_neither_way(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2007"
    write(root / "ImageSets" / "Main" / "test.txt", "000001", "000002")
    write(root / "Annotations" / "000001.xml", annotation(("sofa", 0), ("sofa", 1), ("person", 1)))
    write(root / "Annotations" / "000002.xml", annotation(("diningtable", 0), ("tvmonitor", 0)))
    for number in ("000001", "000002"):
        picture(root / "JPEGImages" / f"{number}.jpg")
    source = load("voc2007", tmp_path)
    chosen = [{source.labels.names[c] for c in np.flatnonzero(row)} for row in source.labels.present]
    hard = [{source.labels.names[c] for c in np.flatnonzero(row)} for row in source.protocol["difficult"]]
    assert chosen == [{"sofa"}, {"diningtable", "tvmonitor"}]
    assert hard == [{"person"}, set()]
    assert not source.labels.index
    assert source.labels.names.index("diningtable") == source.labels.names.index("sofa") + 1  # OpenAI's order, trap 8
    write(root / "Annotations" / "000002.xml", annotation(("dinosaur", 0)))
    with pytest.raises(InputError, match=r'000002.xml: "dinosaur" is none of the 20 classes'):
        load("voc2007", root)
    write(root / "Annotations" / "000002.xml", "<annotation>")
    with pytest.raises(InputError, match=r"000002.xml is damaged"):
        load("voc2007", root)


def test_dtd_partitions(tmp_path):
    root = tmp_path / "dtd"
    for split, file in (("test1", "zigzagged/z_1.jpg"), ("val1", "banded/b_1.jpg"), ("test2", "polka-dotted/p_1.jpg")):
        write(root / "labels" / f"{split}.txt", file)
        picture(root / "images" / file)
    assert names(load("dtd", tmp_path)) == ["zigzagged"]
    assert names(load("dtd", root, "val")) == ["banded"]
    assert names(load("dtd", root, "test", partition=2)) == ["polka-dotted"]
    with pytest.raises(InputError, match='no partition "0"; it has: 1, 2'):
        load("dtd", root, partition=0)


def test_pets_by_breed_never_by_number(tmp_path):
    root = tmp_path / "oxford-iiit-pet"
    # Numbers as published: american_bulldog is 2 there and 13th of OpenAI's list, where the cats come first.
    write(
        root / "annotations" / "test.txt",
        "# Image CLASS-ID SPECIES BREED ID",
        "american_bulldog_101 2 2 1",
        "Abyssinian_2 1 1 1",
        "British_Shorthair_7 10 1 5",
    )
    for name in ("american_bulldog_101", "Abyssinian_2", "British_Shorthair_7"):
        picture(root / "images" / f"{name}.jpg")
    source = load("pets", tmp_path)
    assert names(source) == ["american bulldog", "Abyssinian", "British Shorthair"]
    assert source.labels.index.tolist() == [12, 0, 4]
    write(root / "annotations" / "test.txt", "Abyssinian_2 1")
    with pytest.raises(InputError, match=r"test.txt line 1: 'Abyssinian_2 1' has 2 fields of 4"):
        load("pets", root)


def test_caltech101_draws_thirty_per_class(tmp_path):
    root = tmp_path / "101_ObjectCategories"
    counts = {"BACKGROUND_Google": 33, "Faces_easy": 31, "accordion": 32, "yin_yang": 30}
    for folder, count in counts.items():
        for i in range(1, count + 1):
            picture(root / folder / f"image_{i:04d}.jpg")
    (root / "BACKGROUND_Google" / "tmp").write_text("no picture")
    train, test, every = (load("caltech101", tmp_path, split) for split in ("train", "test", "all"))
    assert len(every) == sum(counts.values())
    assert set(train.files).isdisjoint(test.files)
    assert set(train.files) | set(test.files) == set(every.files)
    # 34 names of the background go into the draw, the one that is no picture too: 30 or 29 pictures are drawn.
    random, left = np.random.RandomState(1234), {}
    for folder, extra in (("BACKGROUND_Google", ["tmp"]), ("Faces_easy", []), ("accordion", [])):
        listing = [f"image_{i:04d}.jpg" for i in range(1, counts[folder] + 1)] + extra
        drawn = random.choice(listing, 30, replace=False)
        left[folder] = [f"{folder}/{name}" for name in listing if name not in drawn and name != "tmp"]
    assert test.files.tolist() == [file for files in left.values() for file in files]
    assert set(names(test)) == {"background", "centered face", "accordion"}
    assert set(names(every)) == {"background", "centered face", "accordion", "yin and yang symbol"}
    assert load("caltech101", tmp_path).files.tolist() == test.files.tolist()
    for file in list((root / "yin_yang").iterdir())[:1]:
        file.unlink()
    with pytest.raises(InputError, match="yin_yang holds 29 files, fewer than the 30"):
        load("caltech101", tmp_path)


def test_flowers102_counts_from_one(tmp_path):
    root = tmp_path / "102flowers"
    root.mkdir()
    savemat(root / "imagelabels.mat", {"labels": np.array([[1, 102, 58, 3]], np.uint8)})
    savemat(root / "setid.mat", {"trnid": [[4]], "valid": [[3]], "tstid": [[2, 1]]})
    for i in range(1, 5):
        picture(root / "jpg" / f"image_{i:05d}.jpg")
    assert names(load("flowers102", tmp_path)) == ["blackberry lily", "pink primrose"]
    assert names(load("flowers102", root, "val")) == ["geranium"]
    assert names(load("flowers102", root, "train")) == ["canterbury bells"]
    savemat(root / "setid.mat", {"tstid": [[5]]})
    with pytest.raises(InputError, match=r"beyond the 4 of imagelabels\.mat"):
        load("flowers102", root)
    (root / "setid.mat").write_bytes(b"not MATLAB" * 20)
    with pytest.raises(InputError, match=r"setid.mat is not a MATLAB file"):
        load("flowers102", root)


def test_rendered_sst2(tmp_path):
    root = tmp_path / "rendered-sst2"
    for file in ("test/positive/0.png", "test/negative/1.png", "test/negative/2.png", "valid/positive/0.png"):
        picture(root / file)
    assert names(load("sst2", tmp_path)) == ["negative", "negative", "positive"]
    assert names(load("sst2", root, "val")) == ["positive"]


@pytest.mark.parametrize("name", ["dev.jsonl", "dev_seen.jsonl"])
def test_hateful_memes(tmp_path, name):
    root = tmp_path / "hateful_memes"
    rows = [
        {"id": 8291, "img": "img/08291.png", "label": 1, "text": "t"},
        {"id": 2, "img": "img/00002.png", "label": 0},
    ]
    write(root / name, *(json.dumps(row) for row in rows))
    for row in rows:
        picture(root / row["img"])
    source = load("hateful_memes", tmp_path)
    assert names(source) == ["hatespeech meme", "meme"]
    assert source.name == "hateful_memes"
    with pytest.raises(InputError, match=r"train.jsonl is missing"):
        load("hateful_memes", root, "train")
    write(root / name, json.dumps({"img": "img/08291.png", "label": 2}))
    with pytest.raises(InputError, match='"2" is none of the 2 classes of hateful_memes'):
        load("hateful_memes", root)


def test_gtsrb_reads_the_training_set_both_ways(tmp_path):
    root = tmp_path / "GTSRB"
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
    write(root / "Final_Test" / "GT-final_test.csv", header, "00000.ppm;9;9;1;1;8;8;14", "00001.ppm;9;9;1;1;8;8;0")
    for i in range(2):
        picture(root / "Final_Test" / "Images" / f"0000{i}.ppm")
    for below, count in (("Training", 1), ("Final_Training/Images", 2)):
        for number in ("00000", "00042"):
            folder = root / below / number
            rows = [f"00000_0000{i}.ppm;9;9;1;1;8;8;{int(number)}" for i in range(count)]
            write(folder / f"GT-{number}.csv", header, *rows)
            for i in range(count):
                picture(folder / f"00000_0000{i}.ppm")
    first, last = design("gtsrb").names[0], design("gtsrb").names[42]
    source = load("gtsrb", tmp_path)
    assert names(source) == ["stop", "red and white circle 20 kph speed limit"]
    assert source.files[0] == "Final_Test/Images/00000.ppm"
    assert names(load("gtsrb", root, "train")) == [first, last]
    assert names(load("gtsrb", root, "train", protocol="official")) == [first, first, last, last]
    with pytest.raises(InputError, match='no protocol "mixed"; it has: paper, official'):
        load("gtsrb", root, "train", protocol="mixed")
    write(root / "Final_Test" / "GT-final_test.csv", header, "00000.ppm;9;9")
    with pytest.raises(InputError, match=r"GT-final_test.csv line 2 is cut short"):
        load("gtsrb", root)


@pytest.mark.parametrize(
    ("key", "folder", "own", "classes"),
    [
        ("eurosat", "2750", ["AnnualCrop", "SeaLake"], ["annual crop land", "lake or sea"]),
        ("resisc45", "NWPU-RESISC45", ["airplane", "wetland"], ["airplane", "wetland"]),
    ],
)
def test_vtab_splits(tmp_path, key, folder, own, classes):
    for name in own:
        for i in range(1, 11):
            picture(tmp_path / folder / name / f"{name}_{i}.jpg")
    parts = {split: load(key, tmp_path, split) for split in ("train", "val", "test", "all")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 12, "val": 4, "test": 4, "all": 20}
    files = [file for split in ("train", "val", "test") for file in parts[split].files]
    assert sorted(files) == sorted(parts["all"].files)
    # The whole order is TFDS's: by the hash of its key, "CLASS_FILE".
    keys = [f"{file.split('/')[0]}_{file.split('/')[1]}" for file in parts["all"].files]
    order = annotations.tfds_order(keys, "train")
    assert files == [parts["all"].files[i] for i in order]
    for part in parts.values():
        for file, name in zip(part.files, names(part), strict=True):
            assert name == dict(zip(own, classes, strict=True))[file.split("/")[0]]
    assert load(key, tmp_path / folder).files.tolist() == parts["test"].files.tolist()
    picture(tmp_path / folder / "unheard_of" / "x_1.jpg")
    with pytest.raises(InputError, match='"unheard_of" is none of the'):
        load(key, tmp_path, "all")


def test_iiit5k_has_a_lexicon_per_picture(tmp_path):
    root = tmp_path / "IIIT5K"
    root.mkdir()
    rows = structs(
        ImgName=["test/1_1.png", "test/2_1.png"],
        GroundTruth=["LONDON", "FOO"],
        smallLexi=[cells("LONDON", "BAR"), cells("LONDON", "FOO")],
        largeLexi=[cells("ZOO", "LONDON", "BAR"), cells("FOO", "FOO", "ZOO")],
    )
    savemat(root / "testdata.mat", {"testdata": rows})
    for file in ("test/1_1.png", "test/2_1.png"):
        picture(root / file)
    source = load("iiit5k", tmp_path)
    assert source.labels.names == ("BAR", "FOO", "LONDON", "ZOO")
    assert names(source) == ["LONDON", "FOO"]
    allowed = [{source.labels.names[i] for i in row} for row in source.protocol["lexicon"]]
    assert allowed == [{"ZOO", "LONDON", "BAR"}, {"FOO", "ZOO"}]
    assert load("iiit5k", root, lexicon="small").labels.names == ("BAR", "FOO", "LONDON")
    with pytest.raises(InputError, match="it has: large, small"):
        load("iiit5k", root, lexicon="medium")
    rows[0, 1]["GroundTruth"] = "QUX"
    savemat(root / "testdata.mat", {"testdata": rows})
    with pytest.raises(InputError, match=r'"QUX", the word of test/2_1\.png, is not in its lexicon'):
        load("iiit5k", root)
