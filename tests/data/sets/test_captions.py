"""Flickr30k and MSCOCO on miniatures of their own layouts."""

import json

import pytest
from PIL import Image

from clipjax.data.sets import flickr30k, mscoco
from clipjax.errors import InputError


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def sentences(file, n=5):
    return [{"raw": f"{file} caption {i} ", "tokens": [], "sentid": i} for i in range(n)]


def texts(file, n=5):
    return tuple(f"{file} caption {i}" for i in range(n))


def karpathy(path, records):
    images = [
        {"filename": file, "split": split, "sentences": sentences(file, n), "imgid": i, **more}
        for i, (file, split, n, more) in enumerate(records)
    ]
    path.write_text(json.dumps({"images": images, "dataset": "x"}))


def flickr(root, images="flickr30k-images"):
    for file in ("3.jpg", "1.jpg", "2.jpg"):
        picture(root / images / file)
    karpathy(
        root / "dataset_flickr30k.json",
        [("3.jpg", "test", 5, {}), ("1.jpg", "train", 5, {}), ("2.jpg", "test", 5, {})],
    )


@pytest.mark.parametrize("images", ["flickr30k-images", "flickr30k_images", "Images"])
def test_flickr30k_by_karpathys_splits(tmp_path, images):
    flickr(tmp_path, images)
    s = flickr30k.open_source(tmp_path)
    assert s.name == "flickr30k"
    assert s.labels is None
    assert s.files.tolist() == ["3.jpg", "2.jpg"]
    assert s.captions.tolist() == [texts("3.jpg"), texts("2.jpg")]
    assert s.image(1).size == (8, 8)
    assert flickr30k.open_source(tmp_path, "train").files.tolist() == ["1.jpg"]
    assert len(flickr30k.open_source(tmp_path, "all")) == 3
    assert flickr30k.open_source(tmp_path, captions=2).captions[0] == texts("3.jpg", 2)


def tokens(root):
    lines = [f"{f}.jpg#{i}\t{f}.jpg caption {i} \n" for f in (2, 1) for i in range(5)]
    (root / "results_20130124.token").write_text("".join(lines), encoding="utf-8")
    for file in ("1.jpg", "2.jpg"):
        picture(root / "flickr30k-images" / file)


def test_flickr30k_by_its_token_file(tmp_path):
    tokens(tmp_path)
    s = flickr30k.open_source(tmp_path, "all")
    assert s.captions.tolist() == [texts("2.jpg"), texts("1.jpg")]
    with pytest.raises(InputError, match=r"has no splits: put dataset_flickr30k\.json or test\.txt beside it"):
        flickr30k.open_source(tmp_path)
    (tmp_path / "test.txt").write_text("1\n")
    assert flickr30k.open_source(tmp_path).captions.tolist() == [texts("1.jpg")]
    (tmp_path / "test.txt").write_text("2.jpg\n1.jpg\n")
    assert flickr30k.open_source(tmp_path).files.tolist() == ["2.jpg", "1.jpg"]
    (tmp_path / "test.txt").write_text("7\n")
    with pytest.raises(InputError, match=r"names 7\.jpg, which results_20130124\.token does not know"):
        flickr30k.open_source(tmp_path)
    (tmp_path / "results_20130124.token").write_text("1.jpg#0\tfine\n1.jpg no tab\n")
    with pytest.raises(InputError, match="line 2 is not image#n, tab, caption"):
        flickr30k.open_source(tmp_path, "all")


def test_flickr30k_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"neither dataset_flickr30k\.json nor results_20130124\.token"):
        flickr30k.open_source(tmp_path)
    flickr(tmp_path)
    with pytest.raises(InputError, match='no split "val"; it has: test, train'):
        flickr30k.open_source(tmp_path, "val")
    with pytest.raises(InputError, match='no split "tset"; nearest: "test"'):
        flickr30k.open_source(tmp_path, "tset")
    with pytest.raises(InputError, match="at least 1, got 0"):
        flickr30k.open_source(tmp_path, captions=0)
    karpathy(tmp_path / "dataset_flickr30k.json", [("3.jpg", "test", 0, {})])
    with pytest.raises(InputError, match=r"3\.jpg has no caption"):
        flickr30k.open_source(tmp_path)
    (tmp_path / "dataset_flickr30k.json").write_text('{"images": [{"split": "test"}]}')
    with pytest.raises(InputError, match='a record has no "filename"'):
        flickr30k.open_source(tmp_path)
    (tmp_path / "dataset_flickr30k.json").write_text("[]")
    with pytest.raises(InputError, match="holds a list, not a dict"):
        flickr30k.open_source(tmp_path)


def coco(root, images=""):
    records = [
        ("COCO_val2014_000000000042.jpg", "test", 7, {"filepath": "val2014", "cocoid": 42}),
        ("COCO_train2014_000000000009.jpg", "train", 5, {"filepath": "train2014", "cocoid": 9}),
        ("COCO_val2014_000000000073.jpg", "test", 5, {"filepath": "val2014", "cocoid": 73}),
    ]
    for file, _, _, more in records:
        picture(root / images / more["filepath"] / file)
    return records


@pytest.mark.parametrize(("images", "below"), [("", ""), ("images", "annotations")])
def test_coco_by_karpathys_splits_keeps_five_captions(tmp_path, images, below):
    records = coco(tmp_path, images)
    (tmp_path / below).mkdir(exist_ok=True)
    karpathy(tmp_path / below / "dataset_coco.json", records)
    s = mscoco.open_source(tmp_path)
    first, second = records[0][0], records[2][0]
    assert s.files.tolist() == [f"val2014/{first}", f"val2014/{second}"]
    assert s.captions.tolist() == [texts(first), texts(second)]
    assert mscoco.open_source(tmp_path, captions=7).captions[0] == texts(first, 7)
    assert mscoco.open_source(tmp_path, "train").files.tolist() == [f"train2014/{records[1][0]}"]


def test_coco_by_its_own_files(tmp_path):
    records = coco(tmp_path)
    files = [records[2][0], records[0][0]]
    annotations = [
        {"image_id": 42, "id": 2, "caption": "A cat. "},
        {"image_id": 73, "id": 1, "caption": "A bus\non a road."},
        {"image_id": 42, "id": 3, "caption": "A black cat."},
    ]
    (tmp_path / "annotations").mkdir()
    listing = tmp_path / "annotations" / "captions_val2014.json"
    images = [{"id": 73, "file_name": files[0]}, {"id": 42, "file_name": files[1]}]
    listing.write_text(json.dumps({"images": images, "annotations": annotations}))
    s = mscoco.open_source(tmp_path, "val2014")
    assert s.files.tolist() == [f"val2014/{file}" for file in files]
    assert s.captions.tolist() == [("A bus on a road.",), ("A cat.", "A black cat.")]
    listing.write_text(json.dumps({"images": images, "annotations": annotations[:1]}))
    with pytest.raises(InputError, match=r"000000000073\.jpg has no caption"):
        mscoco.open_source(tmp_path, "val2014")


def test_coco_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r'has no dataset_coco\.json, which defines split "test"'):
        mscoco.open_source(tmp_path)
    with pytest.raises(InputError, match=r"captions_val2014\.json is missing"):
        mscoco.open_source(tmp_path, "val2014")
    with pytest.raises(InputError, match='no split "val2015"; nearest: "val201'):
        mscoco.open_source(tmp_path, "val2015")
    karpathy(tmp_path / "dataset_coco.json", [("a.jpg", "test", 5, {"filepath": "val2014"})])
    with pytest.raises(InputError, match="none of its 1 files is there"):
        mscoco.open_source(tmp_path)
