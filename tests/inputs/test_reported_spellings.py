"""More inputs of the kinds that public reports have: spellings, listings and layouts; see test_reported_files.py."""

import shutil
import unicodedata
from pathlib import Path

import pytest
from support.containers import NAMES, remedies


def test_semicolons_and_quoted_commas(box):
    table = box.table('file;label;note\n0.png;"cat, black";a,b\n1.png;dog;"x;y"\n2.png;dog;\n')
    box.check({"0": "cat, black", "1": "dog", "2": "dog"}, ("cat, black", "dog"), *table, "data.label_column=label")


COUNTED = "file,label\n0.png,1\n1.png,3\n2.png,2\n"


@pytest.mark.parametrize("key", ["classes", "data.class_names"])
def test_labels_that_count_from_one(box, key):
    table = [*box.table(COUNTED), "data.label_column=label"]
    box.check({"0": "cat", "1": "ship", "2": "dog"}, ("cat", "dog", "ship"), *table, f"{key}=cat,dog,ship")


@pytest.mark.parametrize("key", ["classes", "data.class_names"])
def test_labels_that_may_count_from_zero_or_one(box, key):
    """Ten names and labels 1 to 9: one class has no image, and nothing says which."""
    table = [*box.table(COUNTED), "data.label_column=label"]
    message = box.refused("zeroshot", *table, f"{key}=cat,dog,ship,bus")
    (named,) = remedies(message)
    assert "count from 0 or from 1" in message
    assert named.startswith("data.class_names=1=NAME,2=NAME")
    box.check({"0": "a", "1": "b", "2": "c"}, ("a", "c", "b"), *table, "data.class_names=1=a,3=b,2=c")


def test_minus_one_is_asked_about(box):
    table = [*box.table("file,label\n0.png,0\n1.png,-1\n2.png,1\n"), "data.label_column=label"]
    for asked in ("classes=cat,dog", "data.class_names=cat,dog"):
        assert any(one.startswith("data.class_names=-1=,") for one in remedies(box.refused("zeroshot", *table, asked)))
    box.check({"0": "cat", "1": "", "2": "dog"}, ("cat", "dog"), *table, "data.class_names=-1=,0=cat,1=dog")


@pytest.mark.parametrize("text", ["0.0", "0", "False"])
def test_zero_and_one_as_floats_numbers_and_truth_values(box, text):
    other = {"0.0": "1.0", "0": "1", "False": "True"}[text]
    table = [*box.table(f"file,label\n0.png,{text}\n1.png,{other}\n2.png,{other}\n"), "data.label_column=label"]
    truth = {"0": "cat", "1": "dog", "2": "dog"}
    if text == "False":
        message = box.refused("zeroshot", *table, "classes=cat,dog")
        assert "OLD=NEW" in message
        names = box.text("names.txt", "False=cat\nTrue=dog\n")
        (named,) = remedies(message)
        table += [named.replace("FILE", str(names))]
    box.check(truth, ("cat", "dog"), *table, "classes=cat,dog")


@pytest.mark.parametrize(
    ("name", "text"),
    {
        "bom.txt": "\ufeffcat  \r\ndog\t\r\n\r\nship \r\n",
        "list.json": '["cat", "dog", "ship"]',
        "by-position.json": '{"0": "cat", "1": "dog", "2": "ship"}',
        "class_to_idx.json": '{"ship": 2, "cat": 0, "dog": 1}',
        "imagenet_class_index.json": '{"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "ship"]}',
        "with-header.csv": "id,name\n0,cat\n1,dog\n2,ship\n",
        "numbered.tsv": "0\tcat\n1\tdog\n2\tship\n",
        "one-column.csv": "cat\ndog\nship\n",
    }.items(),
)
@pytest.mark.parametrize("key", ["classes", "data.class_names"])
def test_files_of_names(box, key, name, text):
    table = [*box.table("file,label\n0.png,2\n1.png,0\n2.png,1\n"), "data.label_column=label"]
    box.check({"0": "ship", "1": "cat", "2": "dog"}, ("cat", "dog", "ship"), *table, f"{key}={box.text(name, text)}")


def test_a_file_of_names_with_too_many_columns(box):
    table = [*box.table("file,label\n0.png,0\n1.png,1\n2.png,1\n"), "data.label_column=label"]
    names = box.text("names.csv", "id,name,count\n0,cat,4\n1,dog,5\n")
    assert "two of labels and names" in box.refused("zeroshot", *table, f"data.class_names={names}")
    names = box.text("names.csv", "id,name\n0,cat\n1,dog\n")
    box.check({"0": "cat", "1": "dog", "2": "dog"}, ("cat", "dog"), *table, f"data.class_names={names}")


def test_a_file_of_a_thousand_and_one_names(box, capfd):
    truth = box.folders(("0", "1"))
    listed = "\n".join(["background", "tench", *(f"name {i}" for i in range(999))])
    box.text("classnames.txt", listed)
    named = {stem: {"0": "background", "1": "tench"}[label] for stem, label in truth.items()}
    box.check(named, ("background", "tench"), f"data.path={box.folder}")
    assert "labels are named by" in capfd.readouterr().err


def test_folders_with_numbers_of_one_width(box):
    truth = box.folders(("00000", "00001", "00002"))
    named = {stem: {"00000": "stop", "00001": "yield", "00002": "turn"}[label] for stem, label in truth.items()}
    for asked in ("classes=stop,yield,turn", "data.class_names=stop,yield,turn"):
        box.check(named, ("stop", "yield", "turn"), f"data.path={box.folder}", asked)


def test_folders_that_differ_in_case(box):
    box.images("Cat/a.png", "cat/b.png", "dog/c.png")
    message = box.refused("zeroshot", f"data.path={box.folder}", "classes=cat,dog")
    (named,) = remedies(message)
    truth = {"a": "cat", "b": "cat", "c": "dog"}
    box.check(truth, ("cat", "dog"), f"data.path={box.folder}", "classes=cat,dog", named.replace("CLASS", "cat"))


def test_spaces_around_labels(box):
    table = [*box.table("file,label\n0.png, cat \n1.png,cat\n2.png,dog\n"), "data.label_column=label"]
    box.check({"0": "cat", "1": "cat", "2": "dog"}, ("cat", "dog"), *table)


def test_accents_in_either_spelling(box):
    composed, apart = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    box.put(f"{apart}.png", 0)
    box._of[composed] = 0
    table = [*box.table(f"file,label\n{composed}.png,{apart}\n1.png,dog\n2.png,dog\n"), "data.label_column=label"]
    box.check({composed: composed, "1": "dog", "2": "dog"}, (composed, "dog"), *table, f"classes={composed},dog")


def test_a_table_of_absolute_paths_and_names_with_spaces(box):
    box.put("my cat.png", 0)
    table = [*box.table(f"file,label\n{box.folder}/my cat.png,cat\n1.png,dog\n2.png,dog\n"), "data.label_column=label"]
    box.check({"my cat": "cat", "1": "dog", "2": "dog"}, ("cat", "dog"), *table)


def test_paths_of_windows(box):
    box.images("img/a.png", "img/b.png")
    table = [*box.table("file,label\nimg\\a.png,cat\nimg\\b.png,dog\n"), "data.label_column=label"]
    box.check({"a": "cat", "b": "dog"}, ("cat", "dog"), *table)
    table = [*box.table("file,label\nC:\\data\\a.png,cat\nC:\\data\\b.png,dog\n"), "data.label_column=label"]
    assert "write paths relative to the folder of the images, with /" in box.refused("zeroshot", *table)


def test_a_row_that_comes_twice(box):
    table = [*box.table("file,label\n0.png,cat\n1.png,dog\n0.png,cat\n"), "data.label_column=label"]
    assert "0.png is named twice (rows 0 and 2); keep one" in box.refused("zeroshot", *table)


def test_folders_of_splits_and_folders_within_classes(box):
    truth = {}
    for part, start in (("train", 0), ("test", 4)):
        for c, name in enumerate(("cat", "dog")):
            for i in range(2):
                box.put(f"{part}/{name}/{part}{c}{i}.png", start + 2 * c + i)
                truth |= {f"{part}{c}{i}": name} if part == "test" else {}
    message = box.refused("zeroshot", f"data.path={box.folder}")
    assert f"give {box.folder}/test itself" in message
    box.check(truth, ("cat", "dog"), f"data.path={box.folder}/test")
    box.check(truth, ("cat", "dog"), f"data.path={box.folder}", "data.split=test")
    assert "test, train" in box.refused("linear", f"data.path={box.folder}", "test_split=val")
    box.put("test/cat/sub/x.png", 9)
    assert "put each class into one folder" in box.refused("zeroshot", f"data.path={box.folder}/test")


def test_hidden_folders_and_suffixes_in_capitals(box):
    box.images("cat/a.JPG", "dog/b.PNG", ".ipynb_checkpoints/c.png", "cat/.hidden.png")
    box.check({"a": "cat", "b": "dog"}, ("cat", "dog"), f"data.path={box.folder}")


def test_two_images_under_one_key(box):
    data = box.tar(
        "a.tar", [("0.jpg", 0), ("0.png", 1), ("0.cls", "cat"), ("1.jpg", 2), ("1.png", 3), ("1.cls", "dog")]
    )
    (named,) = remedies(box.refused("zeroshot", *data))
    box._of |= {"0": 0, "1": 2}
    box.check({"0": "cat", "1": "dog"}, ("cat", "dog"), *data, named)
    data = box.tar(
        "b.tar", [("0.left.png", 0), ("0.right.png", 1), ("0.cls", "cat"), ("1.left.png", 2), ("1.cls", "dog")]
    )
    (named,) = remedies(box.refused("zeroshot", *data))
    assert named == "data.image_column=left.png"
    box.check({"0.left": "cat", "1.left": "dog"}, ("cat", "dog"), *data, named)


def test_names_beside_the_shards_and_other_words_for_them(box):
    """Labels that have names are not renamed by their numbers."""
    data = box.tar("a.tar", [(f"{i}.{e}", d) for i in range(4) for e, d in (("png", i), ("cls", str(i % 2)))])
    box.text("classnames.txt", "cat\ndog\n")
    message = box.refused("zeroshot", *data, "classes=puppy,kitten")
    (named,) = remedies(message)
    names = box.text("names.txt", "0=kitten\n1=puppy\n")
    truth = {str(i): ("kitten", "puppy")[i % 2] for i in range(4)}
    box.check(truth, ("puppy", "kitten"), *data, "classes=puppy,kitten", named.replace("FILE", str(names)))


@pytest.mark.parametrize("written", ["{c}", "{classname}", "{0}"])
def test_templates_of_other_tools(box, written):
    truth = box.folders()
    templates = box.text("../templates.txt", f"a drawing of {written}.\n")
    message = box.refused("zeroshot", f"data.path={box.folder}", f"templates={templates}")
    assert "'a drawing of {}.'" in message
    templates = box.text("../templates.txt", "\ufeffa drawing of {}.\r\n\r\n")
    box.check(truth, NAMES, f"data.path={box.folder}", f"templates={templates}", template="a drawing of {}.")
    templates = box.text("../templates.json", '["a drawing of {}."]')
    box.check(truth, NAMES, f"data.path={box.folder}", f"templates={templates}", template="a drawing of {}.")


def test_a_template_without_a_place_and_a_list_that_is_not_there(box):
    box.folders()
    assert "write {} once" in box.refused("zeroshot", f"data.path={box.folder}", "templates=a photo")
    assert "no such file of templates" in box.refused("zeroshot", f"data.path={box.folder}", "templates=none.txt")
    assert "no such file of classes" in box.refused("zeroshot", f"data.path={box.folder}", "classes=none.txt")


@pytest.mark.parametrize("mark", [",", ";"])
def test_labels_that_are_made_of_labels(box, mark):
    table = [*box.table(f'file,label\n0.png,"cat{mark} dog"\n1.png,dog\n2.png,cat\n'), "data.label_column=label"]
    several, whole = remedies(box.refused("zeroshot", *table))
    box.check({"0": ("cat", "dog"), "1": ("dog",), "2": ("cat",)}, ("cat", "dog"), *table, several)
    box.check({"0": f"cat{mark} dog", "1": "dog", "2": "cat"}, ("cat", f"cat{mark} dog", "dog"), *table, whole)


def test_a_column_for_each_label(box):
    table = box.table("file,cat,dog\n0.png,1,0\n1.png,1,1\n2.png,0,1\n")
    assert "write the classes of each image into one, as cat|dog" in box.refused(
        "zeroshot", *table, "data.label_column=cat,dog"
    )


@pytest.mark.parametrize("name", ["label", "file", "prediction", "probability", "probabilities"])
def test_group_columns_called_as_our_own(box, name):
    table = [
        *box.table(f"image,{name}\n0.png,a\n1.png,b\n2.png,b\n"),
        "data.image_column=image",
        "classes=a man,a woman",
    ]
    assert f"a group column is called '{name}'" in box.refused("rates", *table, f"data.group_columns={name}")
    table = [*box.table("image,own\n0.png,a\n1.png,b\n2.png,b\n"), "data.image_column=image", "classes=a man,a woman"]
    found, _ = box.answers("rates", *table, "data.group_columns=own")
    assert [found[str(i)]["own"] for i in range(3)] == ["a", "b", "b"]


@pytest.mark.parametrize("name", ["video", "split", "anchor", "lexicon", "difficult", "captions", "annotation", "verb"])
def test_group_columns_called_as_those_of_named_data_sets(box, name):
    table = box.table(f"file,y,{name}\n0.png,cat,0\n1.png,cat,1\n2.png,dog,1\n")
    truth = {"0": "cat", "1": "cat", "2": "dog"}
    found, records = box.check(truth, ("cat", "dog"), *table, "data.label_column=y", f"data.group_columns={name}")
    assert [found[str(i)][name] for i in range(3)] == ["0", "1", "1"]
    assert {r["n"] for r in records if r.get("group")} == {1, 2}
    assert next(r["n"] for r in records if r["metric"] == "top1") == 3


def test_limit_takes_rows_and_leaves_the_classes(box):
    box.folders(("b", "a", "c"))
    box.check({"a0": "a"}, ("a", "b", "c"), f"data.path={box.folder}", "data.limit=1")


def test_images_by_their_number_and_class_labels_as_groups(box):
    data = box.parquet(
        "test.parquet",
        {"label": [0, 1, -1, 1], "sex": [1, 0, 1, -1]},
        {"label": ("cat", "dog", "ship"), "sex": ("f", "m")},
    )
    found, _ = box.check(
        {"0": "cat", "1": "dog", "2": "", "3": "dog"}, ("cat", "dog", "ship"), *data, "data.group_columns=sex"
    )
    assert [found[str(i)]["sex"] for i in range(4)] == ["m", "f", "m", ""]


def test_imagefolder_with_more_columns_than_are_read(box):
    box.images("a/0.png", "b/1.png", "b/2.png")
    box.text("metadata.csv", "file_name,label,note,size\na/0.png,cat,x,3\nb/1.png,dog,,4\nb/2.png,dog,y,\n")
    data = ["data.source=imagefolder", f"data.path={box.folder}"]
    box.check({"0": "cat", "1": "dog", "2": "dog"}, ("cat", "dog"), *data)
    (named,) = remedies(box.refused("retrieval", *data))
    found, _ = box.answers("retrieval", *data, named.replace("a,b", "note"), "data.max_skipped=0.5")
    assert set(found) == {"0", "2"}


def test_a_table_without_a_header(box):
    table = box.table("0.png,cat\n1.png,dog\n2.png,dog\n")
    assert "write a line with the names of the columns above it" in box.refused("zeroshot", *table)
    table = [*box.table("file,label\n0.png,cat\n1.png,dog\n2.png,dog\n"), "data.label_column=label"]
    box.check({"0": "cat", "1": "dog", "2": "dog"}, ("cat", "dog"), *table)


def test_words_that_look_like_nothing_are_labels(box):
    table = [*box.table("file,label\n0.png,NA\n1.png,None\n2.png,\n"), "data.label_column=label"]
    box.check({"0": "NA", "1": "None", "2": ""}, ("NA", "None"), *table)


@pytest.mark.parametrize("kind", ["folder", "imagefolder"])
def test_parts_of_a_data_set_are_not_classes(box, kind):
    box.images("test/a.png", "test/b.png", "Train/c.png", "Train/d.png")
    data = [f"data.source={kind}", f"data.path={box.folder}"]
    message = box.refused("zeroshot", *data)
    part, classes = remedies(message)
    found, _ = box.answers("zeroshot", *data, part, "classes=cat,dog")
    assert set(found) == {"a", "b"} or set(found) == {"c", "d"}
    box.check({"a": "test", "b": "test", "c": "Train", "d": "Train"}, ("Train", "test"), *data, classes)
    box.put("test tube/e.png", 4)  # of other names than parts: classes
    truth = {"a": "test", "b": "test", "c": "Train", "d": "Train", "e": "test tube"}
    box.check(truth, ("Train", "test", "test tube"), *data)


@pytest.mark.parametrize("kind", ["parquet", "shards"])
def test_files_of_several_parts_are_not_one(box, places, kind):
    held = {}
    for part in ("test", "train"):
        source, path = places.part(kind, "label", part)[:2]
        suffix = ".parquet" if kind == "parquet" else ".tar"
        place = Path(path.partition("=")[2])
        file = next((place if place.is_dir() else place.parent).glob(f"*{suffix}"))
        shutil.copy(file, box.folder / f"{part}-00000{suffix}")
        held[part] = set(box.answers("zeroshot", source, f"data.path={file}")[0])
    assert not held["test"] & held["train"]
    data = [source, f"data.path={box.folder}"]
    split, pattern = remedies(box.refused("zeroshot", *data))
    assert set(box.answers("zeroshot", *data, split)[0]) == held["test"]
    assert set(box.answers("zeroshot", source, pattern)[0]) == held["test"] | held["train"]
    (box.folder / f"test-00000{suffix}").unlink()
    assert set(box.answers("zeroshot", *data)[0]) == held["train"]


def test_rows_of_every_part_are_said(box, capsys):
    table = [
        *box.table("file,label,split\n0.png,cat,test\n1.png,dog,train\n2.png,cat,test\n"),
        "data.label_column=label",
    ]
    box.check({"0": "cat", "1": "dog", "2": "cat"}, ("cat", "dog"), *table)
    assert "all rows are read, of every split" in capsys.readouterr().err
    assert len(box.answers("zeroshot", *table, "data.split=test")[0]) == 2
    assert "all rows" not in capsys.readouterr().err


def test_images_that_metadata_does_not_name_are_said(box, capsys):
    box.text("metadata.csv", "file_name,label\n0.png,cat\nin/1.png,dog\n")
    box.images("0.png", "in/1.png", "in/2.png")
    box.check({"0": "cat", "1": "dog"}, ("cat", "dog"), "data.source=imagefolder", f"data.path={box.folder}")
    assert "images that it does not name are not read: 1; the first: in/2.png" in capsys.readouterr().err


def test_labels_and_groups_that_differ_in_case_are_said(box, capsys):
    text = "file,label,g\n0.png,cat,male\n1.png,Cat,Male \n2.png,dog,Male\n"
    table = [*box.table(text), "data.label_column=label"]
    box.check({"0": "cat", "1": "Cat", "2": "dog"}, ("Cat", "cat", "dog"), *table)
    said = capsys.readouterr().err
    assert "labels 'Cat' and 'cat' differ in case only and are two classes" in said
    box.check({"0": "cat", "1": "cat", "2": "dog"}, ("cat", "dog"), *table, *remedies(said))
    found, records = box.answers("zeroshot", *table, "data.group_columns=g", "min_n=1")
    assert {stem: row["g"] for stem, row in found.items()} == {"0": "male", "1": "Male", "2": "Male"}
    assert sorted((r["group"]["g"], r["n"]) for r in records if r.get("group")) == [("Male", 2), ("male", 1)]
    assert capsys.readouterr().err.count("'Male' and 'male' of g differ in case only and are two groups") == 1
