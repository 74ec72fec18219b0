"""Tables of pictures in four formats, and rows that other code has read."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipjax.data import table
from clipjax.data.kinds.shared import Columns
from clipjax.errors import InputError

ROWS = {
    "file": ["val/1.png", "val/2.png", "val/10.png"],
    "label": ["dog", "cat", "dog"],
    "age": ["3-9", "more than 70", "10-19"],
    "race": ["Black", "NA", "East Asian, or so"],
    "id": ["007", "12", "3"],
    "count": [1, 2, -3],
    "score": [0.5, 2.0, 1e-3],
    "flag": [True, False, True],
}


def pictures(root, names=ROWS["file"]):
    for level, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 2), level).save(root / name)


def write(path, rows):
    """Writes columns as the suffix says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table(rows), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(rows, values, strict=True))) for values in zip(*rows.values(), strict=True)]
        path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        lines = [rows, *zip(*rows.values(), strict=True)]
        text = [mark.join(f'"{v}"' if mark in str(v) or "\n" in str(v) else str(v) for v in line) for line in lines]
        path.write_text("\n".join(text), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl", ".CSV"])
def test_four_formats_give_one_table(tmp_path, suffix):
    pictures(tmp_path)
    path = write(tmp_path / "t.csv", ROWS) if suffix == ".CSV" else write(tmp_path / f"t{suffix}", ROWS)
    path = path.rename(tmp_path / f"t{suffix}")
    s = table.open_table(path, Columns(label="label", groups=("age", "race", "id", "count", "score")))
    assert s.name == f"t{suffix}"
    assert s.labels.names == ("cat", "dog")
    assert s.labels.index.tolist() == [1, 0, 1]
    assert s.files.tolist() == ROWS["file"]
    assert set(s.columns) == {"age", "race", "id", "count", "score"}
    for key, values in s.columns.items():
        assert values.tolist() == [str(value) for value in ROWS[key]], key
    assert [s.image(i).getpixel((0, 0)) for i in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_typed_formats_spell_truth_values(tmp_path, suffix):
    pictures(tmp_path)
    s = table.open_table(write(tmp_path / f"t{suffix}", ROWS), Columns(groups=("flag",)))
    assert s.columns["flag"].tolist() == ["True", "False", "True"]


@pytest.mark.parametrize(
    "cells",
    [
        ["1", "02", "3"],
        ["1", "", "3"],
        ["1", "2.5", "-3e2"],
        ["1.10", "1.1", "1.0"],
        ["True", "False", "NaN"],
        ["2020-01-01", "1_000", "999999999999999999999"],
    ],
)
def test_csv_cells_are_text_as_written(tmp_path, cells):
    pictures(tmp_path)
    s = table.open_table(write(tmp_path / "t.csv", {"file": ROWS["file"], "x": cells}), Columns(groups=("x",)))
    assert s.columns["x"].tolist() == cells


def test_csv_with_a_byte_order_mark_windows_lines_and_quoted_line_breaks(tmp_path):
    pictures(tmp_path)
    text = '\ufefffile,caption\r\nval/1.png,"a cat,\nsleeping"\r\nval/2.png,"he said ""no"""\r\n'
    (tmp_path / "t.csv").write_bytes(text.encode())
    s = table.open_table(tmp_path / "t.csv", Columns(captions=("caption",)))
    assert s.captions.tolist() == [("a cat,\nsleeping",), ('he said "no"',)]


def test_line_breaks_in_a_csv_of_several_blocks(tmp_path):
    n = 30_000  # Arrow cuts a csv into pieces of a megabyte
    pictures(tmp_path, ["0.png"])
    rows = (f'{i}.png,"{i}\n{"x" * 100}\ny,z"\n' for i in range(n))
    (tmp_path / "t.csv").write_text("file,caption\n" + "".join(rows))
    captions = table.open_table(tmp_path / "t.csv", Columns(captions=("caption",))).captions
    assert [int(caption.split("\n")[0]) for (caption,) in captions] == list(range(n))


def test_files_below_another_folder_and_absolute_files(tmp_path):
    pictures(tmp_path / "pictures")
    path = write(tmp_path / "t.csv", {"file": ROWS["file"]})
    s = table.open_table(path, images=tmp_path / "pictures")
    assert s.image(2).getpixel((0, 0)) == 2
    absolute = [str(tmp_path / "pictures" / name) for name in ROWS["file"]]
    by_path = table.open_table(write(tmp_path / "a.csv", {"file": absolute}))
    assert by_path.files.tolist() == absolute
    assert by_path.image(1).getpixel((0, 0)) == 1


def test_names_for_labels_and_rows_without_one(tmp_path):
    pictures(tmp_path)
    path = write(tmp_path / "t.csv", {"file": ROWS["file"], "label": ["dog", "", "dog"], "index": [2, 0, 1]})
    s = table.open_table(path, Columns(label="label"))
    assert (s.labels.names, s.labels.index.tolist()) == (("dog",), [0, -1, 0])
    s = table.open_table(path, Columns(label="index", class_names="emu,dog,cat"))
    assert s.labels.texts().tolist() == ["cat", "emu", "dog"]
    assert (s.labels.ids, s.labels.source) == (("0", "1", "2"), "class_names=emu,dog,cat")


def test_a_row_without_a_file_stays_that_row_where_captions_are_merged(tmp_path):
    pictures(tmp_path)
    files = ["val/1.png", "val/1.png", "", "val/2.png"]
    s = table.open_table(
        write(tmp_path / "t.csv", {"file": files, "caption": list("abcd")}), Columns(captions=("caption",))
    )
    assert s.files.tolist() == ["val/1.png", "t.csv#2", "val/2.png"]
    assert s.captions.tolist() == [("a", "b"), ("c",), ("d",)]
    s.image(2)
    with pytest.raises(InputError, match=r"row 1: t\.csv#2 has no file name in its row"):
        s.image(1)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_several_labels_of_one_image(tmp_path, suffix):
    pictures(tmp_path)
    values = ["cat|dog", "", "dog"] if suffix in (".csv", ".tsv") else [["cat", "dog"], [], ["dog"]]
    path = write(tmp_path / f"t{suffix}", {"file": ROWS["file"], "tags": values})
    s = table.open_table(path, Columns(label="tags", separator="|"))
    assert s.labels.names == ("cat", "dog")
    assert s.labels.present.tolist() == [[True, True], [False, False], [False, True]]


def test_rows_of_one_part(tmp_path):
    pictures(tmp_path)
    path = write(tmp_path / "t.csv", ROWS | {"part": ["train", "test", "train"]})
    s = table.open_table(path, Columns(label="label"), rows=("part", "test"))
    assert (s.files.tolist(), s.labels.texts().tolist(), dict(s.columns)) == (["val/2.png"], ["cat"], {})
    assert s.image(0).getpixel((0, 0)) == 1
    with pytest.raises(InputError, match=r"no row has part 'tset'; it has test, train"):
        table.open_table(path, rows=("part", "tset"))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_lists_of_captions(tmp_path, suffix):
    pictures(tmp_path)
    rows = {"file": ROWS["file"], "texts": [["a", "b"], ["c"], ["d", "e"]], "title": ["x", "", "z"]}
    s = table.open_table(write(tmp_path / f"t{suffix}", rows), Columns(captions=("title", "texts")))
    assert s.captions.tolist() == [("x", "a", "b"), ("c",), ("z", "d", "e")]


def test_one_caption_a_row_becomes_one_picture_with_many(tmp_path):
    pictures(tmp_path)
    rows = {"file": [*ROWS["file"], "val/1.png"], "caption": ["a", "b", "c", "d"], "split": ["x", "y", "x", "x"]}
    path = write(tmp_path / "t.csv", rows)
    s = table.open_table(path, Columns(captions=("caption",), groups=("split",)))
    assert s.files.tolist() == ROWS["file"]
    assert s.captions.tolist() == [("a", "d"), ("b",), ("c",)]
    assert s.columns["split"].tolist() == ["x", "y", "x"]
    with pytest.raises(InputError, match=r"val/1\.png is named twice \(rows 0 and 3\)"):
        table.open_table(path, Columns(groups=("split",)))
    rows["split"][3] = "y"
    with pytest.raises(InputError, match=r"rows 0 and 3.*different values"):
        table.open_table(write(path, rows), Columns(captions=("caption",), groups=("split",)))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
@pytest.mark.parametrize(
    ("columns", "images", "words"),
    [
        ({"image": "fil"}, None, ['no column "fil"', 'nearest: "file"', "file, label, age"]),
        ({"label": "lable"}, None, ['no column "lable"', 'nearest: "label"']),
        ({"groups": ("race", "gender")}, None, ['no column "gender"']),
        ({"captions": ("rac",)}, None, ['no column "rac"', 'nearest: "race"']),
        ({}, "/nowhere", ["none of its 3 files is there", "/nowhere/val/1.png", "--config.data.path="]),
    ],
)
def test_wrong_names_and_labels_stop_with_one_line(tmp_path, suffix, columns, images, words):
    pictures(tmp_path)
    with pytest.raises(InputError) as caught:
        table.open_table(write(tmp_path / f"t{suffix}", ROWS), Columns(**columns), images)
    message = str(caught.value)
    assert "t" + suffix in message
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_a_mangled_age_is_named_with_its_row_and_file(tmp_path, suffix):
    pictures(tmp_path)
    path = write(tmp_path / f"t{suffix}", ROWS | {"age": ["0-2", "9-Mar", "19-Oct"]})
    with pytest.raises(InputError) as caught:
        table.open_table(path, Columns(groups=("age",)))
    for word in (path.name, '"9-Mar"', "row 1", "val/2.png", '"3-9"', "export the column again as text"):
        assert word in str(caught.value)
    table.open_table(path, Columns(groups=("race",)))  # not asked for: not read


def test_an_age_column_of_real_dates(tmp_path):
    pictures(tmp_path)
    path = write(tmp_path / "t.parquet", {"file": ROWS["file"], "age": [datetime.date(2024, 3, 9)] * 3})
    with pytest.raises(InputError, match=r"2024-03-09.*spreadsheet"):
        table.open_table(path, Columns(groups=("age",)))


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("t.csv", b"", "empty"),
        ("t.csv", b"file\n", "no rows"),
        ("t.csv", b"file,x\nval/1.png,1\nval/2.png\n", "line 3 has 1 field, the header has 2"),
        ("t.csv", b"file,x\nval/1.png,\xe9t\xe9\n", "UTF-8"),
        ("t.csv", b"file,x,x\nval/1.png,1,2\n", 'several columns called "x"'),
        ("t.parquet", b"PAR1 cut", "parquet"),
        ("t.parquet", b"", "parquet"),
        ("t.jsonl", b"", "empty"),
        ("t.jsonl", b'{"file": "val/1.png", "x": 1}\n{"file"', "line 2 is not JSON"),
        ("t.jsonl", b'{"file": "val/1.png", "x": 1}\n[1]', "line 2 is not an object"),
        ("t.xlsx", b"PK", ".csv, .tsv, .parquet, .jsonl"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, name, content, word):
    pictures(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        table.open_table(tmp_path / name, Columns(groups=["x"] if content != b"file\n" else []))
    assert word in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_table_and_no_label_at_all(tmp_path):
    with pytest.raises(InputError, match="no such table"):
        table.open_table(tmp_path / "t.csv")
    pictures(tmp_path)
    path = write(tmp_path / "t.csv", {"file": ROWS["file"], "label": ["", "", ""]})
    with pytest.raises(InputError, match="no image has a label; name another label column"):
        table.open_table(path, Columns(label="label"))


def test_a_row_without_a_file_is_skipped_when_it_is_read(tmp_path):
    pictures(tmp_path)
    (tmp_path / "t.csv").write_text("file,x\nval/1.png,1\n,2\n")
    s = table.open_table(tmp_path / "t.csv", Columns(groups=("x",)))
    assert s.columns["x"].tolist() == ["1", "2"]
    with pytest.raises(InputError, match=r"t\.csv row 1: t\.csv#1 has no file name in its row"):
        s.image(1)


def test_a_few_missing_files_are_the_runs_business(tmp_path):
    pictures(tmp_path)
    (tmp_path / "val/2.png").unlink()
    s = table.open_table(write(tmp_path / "t.csv", ROWS), Columns(label="label"))
    assert len(s) == 3
    with pytest.raises(InputError, match=r"t\.csv row 1: .*val/2\.png: no such file"):
        s.image(1)


def test_the_fingerprint_is_of_images_and_their_order(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    pictures(one)
    first = table.open_table(write(one / "t.csv", ROWS), Columns(label="label"))
    other = ROWS | {"label": ["a", "b", "c"], "age": ["0-2", "0-2", "0-2"]}
    assert table.open_table(write(one / "u.csv", other), Columns(label="label")).fingerprint == first.fingerprint
    one.rename(two)
    assert table.open_table(two / "t.csv", Columns(groups=("age",))).fingerprint == first.fingerprint
    absolute = {"file": [str(two / name) for name in ROWS["file"]]}
    assert table.open_table(write(two / "a.csv", absolute)).fingerprint == first.fingerprint
    turned = {"file": ROWS["file"][::-1]}
    shorter = {"file": ROWS["file"][:2]}
    prints = {table.open_table(write(two / "t.csv", rows)).fingerprint for rows in (ROWS, turned, shorter)}
    Image.new("L", (30, 20)).save(two / "val/2.png")
    prints.add(table.open_table(write(two / "t.csv", ROWS)).fingerprint)
    assert len(prints) == 4


def test_from_rows_names_files_from_their_common_folder(tmp_path):
    pictures(tmp_path)
    files = [tmp_path / name for name in ROWS["file"]]
    columns = {"label": [0, 1, 0], "captions": [("a", "b"), ("c",), ("d",)], "age": ROWS["age"]}
    s = table.from_rows("faces", files, columns, ["dog", "cat"])
    assert s.files.tolist() == ["1.png", "2.png", "10.png"]
    assert s.captions.tolist() == columns["captions"]
    assert s.image(2).getpixel((0, 0)) == 2
    rooted = table.from_rows("faces", files, columns, ["dog", "cat"], root=tmp_path)
    assert rooted.files.tolist() == ROWS["file"]
    assert rooted.image(2).getpixel((0, 0)) == 2


def test_from_rows_takes_relative_paths(tmp_path, monkeypatch):
    pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    s = table.from_rows("faces", ["val/2.png", "val/1.png"], {})
    monkeypatch.chdir("/")
    assert s.files.tolist() == ["2.png", "1.png"]
    assert s.image(0).getpixel((0, 0)) == 1


def test_from_rows_refuses(tmp_path):
    pictures(tmp_path)
    files = [tmp_path / name for name in ROWS["file"]]
    for arguments, word in [
        (([], {}), "holds no images"),
        (([tmp_path / "x.png"], {}), "none of its 1 files is there"),
        ((files, {"label": [0, 1, 2]}, ["a", "b"]), r"label 2 \(row 2, 10\.png\)"),
        ((files, {"age": ["0-2", "3-9", "Oct-19"]}), "spreadsheet"),
        ((files, {"label": [0, 1]}, ["a", "b"]), "2 labels for 3 files"),
        (([*files, files[0]], {}), "named twice"),
    ]:
        with pytest.raises(InputError, match=word):
            table.from_rows("faces", *arguments)


def test_a_large_csv_costs_only_the_columns_asked_for(tmp_path):
    pictures(tmp_path, ["0.png"])
    n = 100_000
    with (tmp_path / "t.csv").open("w") as file:
        file.write("file,race,unused\n")
        file.writelines(f"{i}.png,{('Black', 'White', 'Indian')[i % 3]},{'x' * 200}\n" for i in range(n))
    before = pa.total_allocated_bytes()
    s = table.open_table(tmp_path / "t.csv", Columns(groups=("race",)))
    assert len(s) == n
    # A hundred thousand rows share three text objects, and Arrow has given everything back.
    assert len({id(value) for value in s.columns["race"]}) == 3
    assert pa.total_allocated_bytes() - before < 1 << 20
