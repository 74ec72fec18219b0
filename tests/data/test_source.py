"""What every source promises: checked columns, named failures, and a fingerprint of the pixels alone."""

import io

import numpy as np
import pytest
from PIL import Image

from clipjax.data import source
from clipjax.data.source import Source
from clipjax.errors import InputError


def png(level: int = 0, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (3, 2), level).save(file, "PNG")
    return file.getvalue()


def make(n: int = 3, classes=("cat", "dog"), read=None, **columns) -> Source:
    table = {"file": [f"{i}.png" for i in range(n)], **columns}
    return source.of_columns("small", table, classes, read or (lambda i: png(i)))


def test_columns_come_by_their_roles():
    s = make(
        label=[0, 1, -1],
        difficult=[[0, 0], [0, 1], [0, 0]],
        captions=[["a", "b"], "one", ("c", "d")],
        split=["test"] * 3,
        race=["Black", None, "East Asian"],
        size=[1.5, 2, 3],
        flag=[True, False, True],
    )
    assert len(s) == 3
    assert s.labels.names == ("cat", "dog")
    assert s.labels.index.dtype == np.int64
    assert s.labels.known.tolist() == [True, True, False]
    assert s.captions.tolist() == [("a", "b"), ("one",), ("c", "d")]
    assert set(s.protocol) == {"difficult", "split"}
    assert s.protocol["difficult"].dtype == bool
    assert s.protocol["split"].tolist() == ["test"] * 3
    assert {key: values.tolist() for key, values in s.columns.items()} == {
        "race": ["Black", "", "East Asian"],
        "size": ["1.5", "2", "3"],
        "flag": ["True", "False", "True"],
    }
    with pytest.raises(TypeError):
        s.columns["race"] = 1


def test_a_users_columns_have_no_meaning_by_their_names():
    own = {key: ["x", "y"] for key in (*source.PROTOCOL, "label", "captions")}
    s = Source("own", ["a", "b"], lambda i: png(i), columns=own)
    assert (s.labels, s.captions, dict(s.protocol)) == (None, None, {})
    assert set(s.columns) == set(own)


def test_captions_of_equal_number_stay_tuples():
    assert make(captions=[("a", "b")] * 3).captions.shape == (3,)


@pytest.mark.parametrize(
    "values", [np.array(["x", "yy", "z"]), np.array(["x", "yy", "z"], object), ["x", "yy", "z"], iter(["x", "yy", "z"])]
)
def test_text_columns_are_objects_whatever_they_were(values):
    column = source.as_text(values)
    assert column.dtype == object
    assert column.tolist() == ["x", "yy", "z"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": [0, 2, 5]}, ["label 2", "row 1", "1.png", "0 to 1"]),
        ({"label": [0, 1, -2]}, ["label -2", "row 2", "2.png"]),
        ({"label": [0, 1]}, ["2 labels", "3 files"]),
        ({"race": ["x", "y"]}, ['"race"', "2 entries", "3 files"]),
        ({"file": ["a", "b", "a"]}, ["a is named twice", "rows 0 and 2"]),
        ({"file": []}, ["small holds no images"]),
        ({"Age": ["0-2", "3-9", "19-Oct"]}, ['age "19-Oct"', "row 2", "2.png", '"10-19"', "text"]),
    ],
)
def test_contradictions_stop_before_any_picture(columns, words):
    def read(i):
        raise AssertionError("a picture was read")

    with pytest.raises(InputError) as caught:
        make(read=read, **columns)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


MANGLED = """9-Mar 09-Mar 03-Sep 9-mar Mar-9 Mar-09 19-Oct Oct-19 9.Mar 2019-10-01 2024-03-09T00:00:00 9/3/2024 3.9.2024
9-March Oct-2019 09.Mrz 19.Okt 19-okt. 9-mars 3月9日 45360""".split()


@pytest.mark.parametrize("age", [*MANGLED, "2024-03-09 00:00:00", " 9-Mar ", "9. Mar"])
def test_every_spelling_of_a_mangled_age_is_known(age):
    with pytest.raises(InputError, match="spreadsheet"):
        make(age=["0-2", age, "3-9"])


@pytest.mark.parametrize(
    "ages",
    [
        ["0-2", "3-9", "10-19"],
        ["20-29", "more than 70", "60-69"],
        ["child", "adult", "march"],
        ["3", "40", "1.5"],
        [3, 40, 12],
        ["", "70+", "Marian-3"],
        ["Mar", "12 months", "100"],
    ],
)
def test_real_ages_pass_and_other_columns_may_hold_dates(ages):
    make(age=ages, taken=["9-Mar", "2024-03-09", "19-Oct"])


def test_what_the_range_was_is_said_only_when_it_is_known():
    with pytest.raises(InputError, match='it was "3-9"'):
        make(age=["Mar-09", "x", "y"])
    with pytest.raises(InputError) as caught:
        make(age=["2024-03-09", "x", "y"])
    assert "it was" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bytes", "path", "picture"])
def test_image_from_bytes_path_or_picture(kind, tmp_path):
    (tmp_path / "p.png").write_bytes(png(7, "L"))
    reads = {"bytes": png(7, "L"), "path": tmp_path / "p.png", "picture": Image.new("L", (3, 2), 7)}
    picture = make(read=lambda i: reads[kind]).image(1)
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("L", (3, 2), 7)


def fails(error):
    def read(i):
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "word"),
    [
        (lambda i: b"", "0 bytes"),
        (lambda i: png()[:30], "1.png"),
        (lambda i: b"no picture at all", "not an image"),
        (fails(OSError(5, "Input/output error")), "Input/output error"),
        (fails(InputError("the shard is cut off")), "the shard is cut off"),
    ],
)
def test_a_picture_that_cannot_be_read_is_named_with_its_row(read, word):
    with pytest.raises(InputError) as caught:
        make(read=read).image(1)
    message = str(caught.value)
    for part in ("small row 1", "1.png", word):
        assert part in message
    assert "\n" not in message


def test_select_takes_rows_of_every_column_and_picture():
    s = make(4, label=[0, 1, 1, 0], captions=[("a",), ("b",), ("c",), ("d",)])
    part = s.select([3, 1])
    assert part.files.tolist() == ["3.png", "1.png"]
    assert part.labels.index.tolist() == [0, 1]
    assert part.captions.tolist() == [("d",), ("b",)]
    assert part.image(0).getpixel((0, 0))[0] == 3
    again = part.select([1])
    assert again.files.tolist() == ["1.png"]
    assert again.image(0).getpixel((0, 0))[0] == 1


def test_select_by_mask_and_slice_agree_and_everything_is_the_source_itself():
    s = make(4)
    masks = [s.select([0, 2]), s.select(np.array([True, False, True, False])), s.select(slice(0, 4, 2))]
    assert len({part.fingerprint for part in masks}) == 1
    assert s.select(range(4)) is s
    assert s.select(slice(100)) is s


def test_the_fingerprint_of_a_subset_knows_its_rows_and_their_order():
    s = make(4)
    parts = [s.select(rows) for rows in ([0, 1], [1, 0], [0, 2], [0], range(3))]
    assert len({s.fingerprint, *(part.fingerprint for part in parts)}) == 6
    assert s.select([0, 1]).fingerprint == make(4).select([0, 1]).fingerprint


def test_a_selection_of_nothing_is_refused():
    with pytest.raises(InputError, match="no row"):
        make(4).select(slice(0, 0))


@pytest.mark.parametrize("rows", [[4], [-1], [True]])
def test_rows_that_are_not_there_are_a_defect_of_the_caller(rows):
    with pytest.raises((AssertionError, IndexError)):
        make(4).select(rows)


@pytest.mark.parametrize(
    "columns", [{"label": [0.0, 1.0, 1.0]}, {"label": [0, 1, 0], "classes": None}, {"labels": [[1], [0], [1]]}]
)
def test_labels_of_another_type_or_shape_are_a_defect_of_the_reader(columns):
    with pytest.raises(AssertionError):
        make(**columns)


def test_a_row_selected_twice_is_a_file_named_twice():
    with pytest.raises(InputError, match="twice"):
        make(4).select([1, 1])


def test_digest_tells_apart_what_joins_to_the_same_text():
    assert source.digest(["ab", "c"]) != source.digest(["a", "bc"])
    assert source.digest(["a"]) != source.digest(["a", ""])


def test_common_folder_and_relative():
    assert source.common_folder(["/d/a/1", "/d/b/2"]) == "/d"
    assert source.common_folder(["/d/a/1", "/d/a/2"]) == "/d/a"
    assert source.common_folder(["gs://k/a/1", "gs://k/b/2"]) == "gs://k"
    assert source.relative("gs://k/a/1", "gs://k") == "a/1"
    assert source.relative("/elsewhere/1", "/d") == "/elsewhere/1"


def test_paths_that_nobody_can_read_are_refused(monkeypatch):
    with pytest.raises(InputError, match="gs, s3, az, hf"):
        source.as_path("https://example.org/x")
    monkeypatch.setattr(source, "_has_driver", lambda scheme: False)
    with pytest.raises(InputError, match="pip install gcsfs"):
        source.as_path("gs://bucket/x")
