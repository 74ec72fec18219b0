"""Inputs from public reports, rebuilt small: each is read as its author meant it, or refused in one line.

Names are those of the sources. Zero-shot accuracies are compared with features, a product and an argmax computed beside
clipjax (`Box.check`); every remedy that a message names is taken from the message and run.
"""

import json

import pytest
from support.containers import remedies

from clipjax.errors import InputError

# labels, classes and groups: the reports of the first set


def test_wise_ft_25_classes_of_folders_in_another_order(box):
    truth = box.folders()
    asked = ["data.source=folder", f"data.path={box.folder}", "classes=ship,cat,airplane"]
    assert box.captions(*asked, "templates=a photo of a {}.") == {stem: (name,) for stem, name in truth.items()}
    box.check(truth, ("ship", "cat", "airplane"), *asked)


@pytest.mark.parametrize("classes", ["ship,cat,airplane", "zebra,airplane,cat,ship"])
def test_wise_ft_25_text_labels_and_another_list(box, classes):
    table = box.table("file,label\n0.png,cat\n1.png,ship\n2.png,airplane\n")
    asked = [*table, "data.label_column=label", f"classes={classes}"]
    truth = {"0": "cat", "1": "ship", "2": "airplane"}
    assert box.captions(*asked) == {stem: (name,) for stem, name in truth.items()}
    box.check(truth, tuple(classes.split(",")), *asked)


def test_clip_benchmark_109_shards_with_numbers_and_a_list_beside(box):
    members = [(f"{i}.{e}", d) for i in range(6) for e, d in (("png", i), ("cls", str(i % 3)))]
    asked = box.tar("test/0.tar", members)
    names = box.text("classnames.txt", "cat\nship\nairplane\n")
    truth = {str(i): ("cat", "ship", "airplane")[i % 3] for i in range(6)}
    box.check(truth, ("cat", "ship", "airplane"), *asked)
    box.check(truth, ("cat", "ship", "airplane"), *asked, f"classes={names}")
    box.check(truth, ("airplane", "cat", "ship"), *asked, "classes=airplane,cat,ship")


def test_laclip_10_imagenet_folders(box, capfd):
    ids = ("n02121808", "n01440764", "n01443537")
    truth = {
        stem: {"n02121808": "house cat", "n01440764": "tench", "n01443537": "goldfish"}[name]
        for stem, name in box.folders(ids).items()
    }
    mapping = box.text("../synsets.txt", "n01440764 tench\nn01443537 goldfish\nn02121808 house cat\nn09999999 other\n")
    box.check(truth, ("tench", "goldfish", "house cat"), f"data.path={box.folder}", f"data.class_names={mapping}")
    box.check(truth, ("tench", "goldfish", "house cat"), f"data.path={box.folder}", "classes=tench,goldfish,house cat")
    assert "by position: n01440764 = tench" in capfd.readouterr().err
    box.answers("zeroshot", f"data.path={box.folder}")  # n02121808 is none of ImageNet's 1,000
    assert "all classes are numbers or identifiers" in capfd.readouterr().err
    short = box.text("../short.txt", "n01440764=tench\nn01443537=goldfish\n")
    message = box.refused("zeroshot", f"data.path={box.folder}", f"data.class_names={short}")
    assert "add n02121808=NAME" in message


WATERBIRDS = "img_id,img_filename,y,split,place\n" + "".join(
    f"{i},{i}.png,{i % 2},{i % 3},{i // 2 % 2}\n" for i in range(8)
)


def test_wilds_148_waterbirds(box, capsys):
    table = [*box.table(WATERBIRDS, 8), "data.image_column=img_filename", "data.label_column=y"]
    truth = {str(i): ("landbird", "waterbird")[i % 2] for i in range(8)}
    asked = [*table, "classes=landbird,waterbird", "data.group_columns=y,place"]
    found, records = box.check(truth, ("landbird", "waterbird"), *asked)
    pairs = [r for r in records if r["metric"] == "top1" and len(r.get("group", {})) == 2]
    cells = {(r["group"]["y"], r["group"]["place"]): (r["k"], r["n"]) for r in pairs}
    for y in "01":
        for place in "01":
            inside = [i for i in range(8) if (str(i % 2), str(i // 2 % 2)) == (y, place)]
            right = sum(found[str(i)]["prediction"] == truth[str(i)] for i in inside)
            assert cells[y, place] == (right, len(inside))
    capsys.readouterr()
    box.answers("rates", *asked[:2], "data.image_column=img_filename", *asked[4:], "min_n=1")
    lines = [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("rate")]
    assert len(lines) == len(set(lines))  # two columns with the same values can be told apart


def test_fairface_of_the_hub(box):
    columns = {"age": [0, 1, 2, 1], "gender": [0, 1, 1, 0], "race": [0, 0, 1, -1]}
    names = {"age": ("0-2", "3-9", "10-19"), "gender": ("Male", "Female"), "race": ("White", "Black", "Indian")}
    box.parquet("data/test-00000-of-00001.parquet", columns, names)
    data = ["data.source=parquet", f"data.path={box.folder}", "data.split=test"]
    found, _ = box.answers("rates", *data, "data.group_columns=age,gender,race", "classes=a man,a woman")
    assert {stem: (row["age"], row["gender"], row["race"]) for stem, row in found.items()} == {
        "0": ("0-2", "Male", "White"), "1": ("3-9", "Female", "White"), "2": ("10-19", "Female", "Black"),
        "3": ("3-9", "Male", ""),
    }  # fmt: skip
    box.check(
        {"0": "White", "1": "White", "2": "Black", "3": ""},
        ("White", "Black", "Indian"),
        *data,
        "data.label_column=race",
    )


def test_clip_115_classes_in_json(box):
    table = [*box.table("file,label\n0.png,cat\n1.png,dog\n2.png,cat\n"), "data.label_column=label"]
    names = box.text("classes.json", '["dog", "cat"]')
    box.check({"0": "cat", "1": "dog", "2": "cat"}, ("dog", "cat"), *table, f"classes={names}")


@pytest.mark.parametrize("probe", ["linear", "fewshot"])
def test_clip_benchmark_125_a_class_that_only_the_test_part_has(box, probe, capfd):
    for c, name in enumerate(("cat", "dog", "ship", "bus", "ant", "tree", "yak")):
        box.put(f"test/{name}/t{c}.png", c)
        if name != "ship":
            box.put(f"train/{name}/a{c}.png", c + 8)
    own = ["C=1.0"] if probe == "linear" else ["shots=(1,)", "draws=2"]
    found, records = box.answers(probe, f"data.path={box.folder}", "max_iter=50", *own)
    assert "ship not in the training part" in capfd.readouterr().err
    assert all(r["n"] == 7 for r in records)
    if probe == "linear":
        assert "ship" not in {row["prediction"] for row in found.values()}
        right = {stem for stem, row in found.items() if row["prediction"] == row["label"]}
        top5 = next(r for r in records if r["metric"] == "top5")
        assert top5["k"] <= 6  # the class that is not known is in no top five
        assert next(r for r in records if r["metric"] == "top1")["k"] == len(right)


def test_fairlearn_1155_numbers_stay_as_they_are_written(box):
    table = box.table("file,version\n0.png,1.1\n1.png,1.10\n2.png,1.1\n")
    found, records = box.answers("rates", *table, "data.group_columns=version", "classes=a man,a woman", "min_n=1")
    assert {row["version"] for row in found.values()} == {"1.1", "1.10"}
    assert {r["n"] for r in records if r["metric"] == "rate" and r["group"] == {"version": "1.1"}} == {2}


def test_img2dataset_folders(box):
    for i in range(4):
        box.put(f"0000{i // 2}/00000000{i}.jpg", i)
        box.text(f"0000{i // 2}/00000000{i}.txt", f"caption\u2028number {i}\n")
        box.text(f"0000{i // 2}/00000000{i}.json", "{}")
    box.text("00000_stats.json", "{}")
    data = ["data.source=folder", f"data.path={box.folder}"]
    assert box.captions(*data) == {f"00000000{i}": (f"caption\u2028number {i}",) for i in range(4)}
    assert "has no classes" in box.refused("zeroshot", *data)
    found, _ = box.answers("retrieval", *data)
    assert set(found) == {f"00000000{i}" for i in range(4)}


def test_oml_a_table_that_the_source_does_not_read(box):
    box.images("img/0.png", "img/1.png")
    table = box.text("t.csv", "file,label\n0.png,cat\n1.png,dog\n")
    asked = [f"data.csv={table}", f"data.path={box.folder}/img"]
    message = box.refused("zeroshot", *asked)
    assert "not read by the source folder" in message
    asked += remedies(message)
    message = box.refused("zeroshot", *asked)
    named = [one.replace("NAME", "label") for one in remedies(message) if "NAME" in one]
    box.check({"0": "cat", "1": "dog"}, ("cat", "dog"), *asked, *named)


@pytest.mark.parametrize("probe", ["linear", "fewshot"])
def test_parts_of_shards_by_two_paths(box, probe):
    members = {
        part: [(f"{part}{i}.{e}", d) for i in range(8) for e, d in (("png", i + start), ("cls", ("cat", "dog")[i % 2]))]
        for part, start in (("a", 0), ("b", 8))
    }
    for part, listed in members.items():
        box.tar(f"{part}.tar", listed)
    own = ["C=1.0"] if probe == "linear" else ["shots=(2,)"]
    message = box.refused(probe, "data.source=webdataset", f"data.path={box.folder}/a.tar")
    assert "--config.data.train_path, --config.data.test_path" in message
    parts = [f"data.train_path={box.folder}/a.tar", f"data.test_path={box.folder}/b.tar"]
    found, records = box.answers(probe, "data.source=webdataset", *parts, *own, "max_iter=50")
    assert set(found) == {f"b{i}" for i in range(8)}
    assert all(r["n"] == 8 for r in records)


def test_webdataset_286_a_caption_is_missing(box):
    members = [
        (f"{i}.{e}", d) for i in range(20) for e, d in (("png", i), ("txt", f"caption {i}")) if (i, e) != (7, "txt")
    ]
    data = box.tar("a.tar", members)
    assert set(box.captions(*data)) == {str(i) for i in range(20) if i != 7}
    found, _ = box.answers("retrieval", *data)
    assert len(found) == 19
    data = box.tar("b.tar", [member for member in members if member[0] not in ("3.txt", "5.txt")])
    with pytest.raises(InputError) as error:
        box.captions(*data)
    assert len(box.captions(*data, *remedies(str(error.value)))) == 17


SEVERAL = {
    "cat|dog": ("cat|dog", "dog", "cat"),
    "JSON in csv": ('"[""cat"", ""dog""]"', "dog", "cat"),
    "a list as pandas writes it": ("\"['cat', 'dog']\"", "['dog']", "['cat']"),
}


@pytest.mark.parametrize("spelled", SEVERAL)
def test_several_labels_in_one_cell(box, spelled):
    cells = SEVERAL[spelled]
    table = box.table("file,label\n" + "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells)))
    truth = {"0": ("cat", "dog"), "1": ("dog",), "2": ("cat",)}
    _, records = box.check(truth, ("dog", "cat"), *table, "data.label_column=label", "classes=dog,cat")
    assert records[0]["metric"] == "map_all_point"


def test_several_labels_as_lists_of_jsonl(box):
    lines = [
        {"file": "0.png", "label": ["cat", "dog"]},
        {"file": "1.png", "label": ["dog"]},
        {"file": "2.png", "label": []},
    ]
    table = box.table("".join(json.dumps(line) + "\n" for line in lines), name="t.jsonl")
    truth = {"0": ("cat", "dog"), "1": ("dog",), "2": ("",)}
    box.check(truth, ("cat", "dog"), *table, "data.label_column=label")


# messages about keys


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.caption_column=x", 'nearest: "data.caption_columns"'),
        ("data.labelcolumn=x", 'nearest: "data.label_column"'),
        ("thresholds=0.1", "which is read by labels"),
        ("C=1", "which is read by attributes, fewshot, linear"),
    ],
)
def test_a_mistyped_key_is_one_line(box, override, said):
    assert said in box.mistyped("zeroshot", override)


def test_a_part_that_no_row_has(box):
    table = [*box.table(WATERBIRDS, 8), "data.image_column=img_filename", "data.label_column=y"]
    message = box.refused("linear", *table)
    assert "it has 0, 1, 2" in message
    assert "--config.train_split and --config.test_split" in message
    found, _ = box.answers("linear", *table, "train_split=0", "test_split=1", "C=1.0", "max_iter=50")
    assert set(found) == {"1", "4", "7"}


@pytest.mark.parametrize("probe", ["linear", "fewshot"])
def test_test_images_that_a_probe_is_fitted_to(box, probe, capfd):
    """Known by their bytes: under another name, in another order."""
    for c, name in enumerate(("cat", "dog")):
        for i in range(3):
            box.put(f"train/{name}/a{i}.png", 2 * i + c)
            box.put(f"test/{name}/b{9 - i}.png", 2 * i + c)
    data = [f"data.path={box.folder}", "max_iter=50", *(["C=1.0"] if probe == "linear" else ["shots=(1,)", "draws=2"])]
    assert "every test image is in the train part" in box.refused(probe, *data)
    box.put("test/cat/c.png", 10)
    box.answers(probe, *data)
    assert "6 of 7 test images are in the train part too; first: cat/b7.png" in capfd.readouterr().err
