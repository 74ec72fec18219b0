"""WebDataset shards by the format's rules: keys, extensions, samples, and which member is the image."""

import io
import json
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.amount import amount

from clipjax.data import tars
from clipjax.data.kinds import webdataset
from clipjax.errors import InputError

quickly = settings(max_examples=amount(40, 15), deadline=None, derandomize=True)


def write(path, *members):
    """Members are (name, bytes or text)."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            data = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def index(*shards, **arguments):
    return tars.index(shards, **arguments)


def images(found):
    return [found.read(i).decode() if place else None for i, place in enumerate(found.images)]


def test_keys_end_at_the_first_dot_of_the_name_and_extensions_are_lower_case(tmp_path):
    shard = write(
        tmp_path / "x.tar",
        ("a.b/1.JPG", "one"),
        ("a.b/1.Seg.PNG", "mask"),
        ("a.b/1.cls", "0"),
        ("./2.jpg", "two"),
        ("README", "no member of a sample"),
        ("__meta__/3.jpg", "the format's own"),
        ("._2.jpg", "what macOS adds"),
        (".hidden.jpg", "hidden"),
    )
    found = index(shard, wanted=["cls", "seg.png"])
    assert [sample.key for sample in found.samples] == ["a.b/1", "./2"]
    assert found.samples[0].extensions == ("jpg", "seg.png", "cls")
    assert sorted(found.samples[0].members) == ["cls", "jpg", "seg.png"]
    assert found.files == ("x.tar/a.b/1.JPG", "x.tar/./2.jpg")
    assert dict(found.extensions) == {"jpg": 2, "seg.png": 1, "cls": 1}
    assert images(found) == ["one", "two"]


@pytest.mark.parametrize(
    ("names", "image_key", "taken"),
    [
        (["1.jpg", "1.mask.png"], "", ["jpg"]),
        (["1.mask.png", "1.jpg"], "", ["jpg"]),
        (["1.left.jpg", "1.right.jpg"], "left.jpg", ["left.jpg"]),
        (["1.left.jpg", "1.right.jpg"], "right.jpg", ["right.jpg"]),
        (["1.png", "1.jpg", "2.png", "3.webp"], "jpg;png;webp", ["jpg", "png", "webp"]),
        (["1.jpg", "1.png"], ".PNG", ["png"]),
        (["1.left.jpg", "1.cls", "2.left.jpg"], "", ["left.jpg", "left.jpg"]),
        (["1.jpg", "2.mask.png"], "", ["jpg", None]),
        (["1.img", "2.img"], "img", ["img", "img"]),
    ],
)
def test_which_member_is_the_image(tmp_path, names, image_key, taken):
    shard = write(tmp_path / "x.tar", *((name, name.partition(".")[2]) for name in names))
    assert images(index(shard, image_key=image_key)) == taken


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1.jpg", "1.png"], ["1 has several images (.jpg, .png)", "--config.data.image_column=jpg"]),
        (["1.png", "1.jpg"], ["1 has several images (.jpg, .png)", "--config.data.image_column=jpg"]),
        (["1.left.jpg", "1.right.jpg"], [".left.jpg, .right.jpg", "--config.data.image_column=left.jpg"]),
        (["1.jpg", "1.JPG"], ["1.JPG comes twice"]),
        (["1.jpg", "1.cls", "1.cls"], ["1.cls comes twice"]),
        (["1.jpg", "2.jpg", "1.cls"], ["1.cls comes after other samples", "tar --sort=name"]),
        (["1.jpg", "2.jpg", "1.jpg"], ["1.jpg comes after other samples"]),
        (["1.cls", "1.txt"], ["no sample has an image, but .cls, .txt"]),
        ([], ["holds no samples"]),
    ],
)
def test_what_is_refused_within_a_shard(tmp_path, names, words):
    shard = write(tmp_path / "x.tar", *((name, name) for name in names))
    with pytest.raises(InputError) as caught:
        index(shard)
    for word in ("x.tar", *words):
        assert word in str(caught.value)
    for word in words:
        if word.startswith("--config"):
            index(shard, image_key=word.partition("=")[2])  # the remedy works


def test_an_image_of_another_extension_is_named_with_what_takes_it(tmp_path):
    found = index(write(tmp_path / "x.tar", ("1.jpg", "a"), ("2.b.png", "b"), ("3.cls", "0")))
    assert found.missing == {
        1: "x.tar/2 has no image, but .b.png; to take .b.png too: --config.data.image_column='jpg;b.png'",
        2: "x.tar/3 has no image, but .cls",
    }
    with pytest.raises(InputError, match=r"x\.tar/3 has no image"):
        found.read(2)
    assert images(index(found.shards[0], image_key="jpg;b.png")) == ["a", "b", None]


def test_keys_may_start_anew_in_every_shard_and_samples_may_not_be_shared(tmp_path):
    first = write(tmp_path / "a.tar", ("0.jpg", "one"), ("0.cls", "0"))
    second = write(tmp_path / "b.tar", ("0.jpg", "two"), ("0.cls", "1"))
    assert images(index(first, second)) == ["one", "two"]
    copy = write(tmp_path / "c.tar", ("0.jpg", "two"))
    with pytest.raises(InputError, match=r"c\.tar: 0\.jpg is in b\.tar already"):
        index(second, copy)
    head = write(tmp_path / "d.tar", ("0.jpg", "one"), ("1.jpg", "x"))
    tail = write(tmp_path / "e.tar", ("1.cls", "0"), ("2.jpg", "y"))
    with pytest.raises(InputError, match=r"e\.tar: the members of 1 are spread over this shard and d\.tar"):
        index(head, tail)


def test_texts_that_are_missing_or_not_text_say_why(tmp_path):
    shard = write(
        tmp_path / "x.tar",
        ("0.jpg", "i"),
        ("0.txt", "\ufeff a\u2028b \r\n\n c\x0bd\x85e\n"),
        ("1.jpg", "i"),
        ("2.jpg", "i"),
        ("2.txt", b"caf\xe9"),
        ("3.jpg", "i"),
        ("3.txt", " \n"),
        ("4.jpg", "i"),
        ("4.txt", b"x" * ((1 << 20) + 1)),
        ("5.jpg", "i"),
        ("5.txt", "a\rb"),
    )
    found = index(shard)
    captions, why = found.captions()
    assert captions.tolist() == [("a\u2028b", "c\x0bd\x85e"), None, None, None, None, None]
    assert why == {
        1: "x.tar/1 has no .txt",
        2: "x.tar/2.txt is not UTF-8 (byte 3)",
        3: "x.tar/3.txt is empty",
        4: "x.tar/4.txt has 1048577 bytes, more than a text of 1 MiB",
        5: "x.tar/5.txt has lines that end at carriage returns alone; write it again with line feeds",
    }
    values, why = found.texts("cls")
    assert values.tolist() == [None] * 6
    assert list(why) == list(range(6))
    assert found.texts("txt")[0][5] == "a\rb"


def test_json_members_are_columns(tmp_path):
    shard = write(
        tmp_path / "x.tar",
        ("0.jpg", "i"),
        ("0.json", json.dumps({"key": "007", "caption": "a cat", "label": 1.0, "tags": ["a", "b"]})),
        ("1.jpg", "i"),
        ("1.json", '{"key": "1.10", "caption": null, "similarity": 0.30}'),
        ("2.jpg", "i"),
        ("3.jpg", "i"),
        ("3.json", "{"),
        ("4.jpg", "i"),
        ("4.json", "[1]"),
    )
    found = index(shard)
    columns, why = found.fields(["key", "caption", "label", "tags", "similarity"])
    assert {name: column.values.tolist() for name, column in columns.items()} == {
        "key": ["007", "1.10", None, None, None],
        "caption": ["a cat", None, None, None, None],
        "label": ["1", None, None, None, None],
        "tags": [("a", "b"), None, None, None, None],
        "similarity": [None, "0.30", None, None, None],
    }
    assert sorted(why) == [2, 3, 4]
    assert "3.json is not JSON" in why[3]
    with pytest.raises(InputError, match='no column "captoin"; nearest: "caption"'):
        found.fields(["captoin"])


def test_texts_are_not_read_before_they_are_asked_for(tmp_path):
    shard = write(tmp_path / "x.tar", ("0.jpg", "i"), ("0.json", "not JSON at all"))
    assert images(index(shard)) == ["i"]


@quickly
@given(st.data())
def test_splitting_shards_changes_nothing(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shards")
    n = data.draw(st.integers(1, 6))
    extensions = data.draw(st.lists(st.sets(st.sampled_from(["cls", "txt", "json"])), min_size=n, max_size=n))
    samples = [
        [(f"{i:03d}.jpg", f"image {i}"), *((f"{i:03d}.{one}", f'{{"x": {i}}}') for one in sorted(extensions[i]))]
        for i in range(n)
    ]
    cuts = sorted(data.draw(st.sets(st.integers(1, n))) | {n})

    def all_of(found):
        columns = [found.texts(one)[0].tolist() for one in ("cls", "txt")]
        fields = found.fields(["x"])[0]["x"].values.tolist() if "json" in found.extensions else None
        return images(found), [sample.key for sample in found.samples], columns, fields

    whole = index(write(folder / "whole.tar", *(member for sample in samples for member in sample)))
    shards = [
        write(folder / f"part-{number}.tar", *(member for sample in samples[start:end] for member in sample))
        for number, (start, end) in enumerate(zip([0, *cuts], cuts, strict=False))
    ]
    assert all_of(index(*shards)) == all_of(whole)


@quickly
@given(st.permutations(["1.jpg", "1.mask.png", "1.cls", "1.txt"]))
def test_the_order_of_members_changes_nothing(tmp_path_factory, names):
    found = index(write(tmp_path_factory.mktemp("order") / "x.tar", *((name, name) for name in names)))
    assert images(found) == ["1.jpg"]
    assert found.texts("cls")[0].tolist() == ["1.cls"]


@pytest.mark.parametrize(
    "pattern",
    [
        "a-{000..012}.tar",
        "a-{8..11}.tar",
        "a-{08..11}.tar",
        "a-{3..1}.tar",
        "a-{0..9..3}.tar",
        "{train,val}-{0..1}.tar",
        "a{,b}.tar",
        "x-{a,b{1..2},c}.tar",
        "a-{b}.tar",
        "a-{b.tar",
        "a-}{1..2}.tar",
        "{x}{1,2}",
        "-{-1..1}",
    ],
)
def test_braces_mean_what_they_mean_to_bash(pattern):
    said = subprocess.run(["bash", "-c", f"printf '%s\\n' {pattern}"], capture_output=True, text=True, check=True)
    assert tars.expand(pattern) == said.stdout.split("\n")[:-1]


def test_several_patterns_and_too_many_shards(monkeypatch):
    assert tars.expand("a-{0..1}.tar::gs://b/c.tar") == ["a-0.tar", "a-1.tar", "gs://b/c.tar"]
    monkeypatch.setattr(tars, "_MOST_SHARDS", 1000)
    for pattern in ("{0..999999999999}", "{0..999}{0..9}"):
        with pytest.raises(InputError, match="more than 1000 shards"):
            tars.expand(pattern)


def test_shards_are_found_by_list_pattern_and_name(tmp_path):
    for name in ("a-0", "a-1", "b", "c{1,2}"):
        write(tmp_path / f"{name}.tar", ("0.jpg", name))

    def found(pattern):
        return [path.name for path in webdataset.find_shards(pattern)]

    assert found(f"{tmp_path}/{{b,a-{{0..1}}}}.tar") == ["b.tar", "a-0.tar", "a-1.tar"]
    assert found(f"{tmp_path}/b.tar::{tmp_path}/a-*.tar") == ["b.tar", "a-0.tar", "a-1.tar"]
    assert found(f"{tmp_path}/c{{1,2}}.tar") == ["c{1,2}.tar"]
    with pytest.raises(InputError, match=r"names .*/b\.tar twice"):
        found(f"{tmp_path}/b.tar::{tmp_path}/*.tar")
