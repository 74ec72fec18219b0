"""One table in four containers gives equal columns, as written; what is missing is missing in all of them."""

import csv
import datetime
import decimal
import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from support.amount import amount

from clipjax.data import tables
from clipjax.errors import InputError

quickly = settings(max_examples=amount(60, 20), deadline=None, derandomize=True)
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


def write(path, columns):
    """Texts and None, as each container has them."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(row.values() for row in rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), path)
    return path


def lists(found):
    return {name: column.values.tolist() for name, column in found.items()}


def read_or_doubted(path, names):
    """A text with line breaks of which a line looks like a row is refused, rightly, in what has no types."""
    try:
        return lists(tables.read(path, names))
    except InputError as error:
        if "looks like a row of its own" not in str(error) or path.suffix not in (".csv", ".tsv"):
            raise
        reject()


def one(path, name="x"):
    return tables.read(path, [name])[name].values.tolist()


def hugging_face(columns, features):
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


CELLS = st.one_of(
    st.none(),
    st.sampled_from(
        ["1.10", "007", "1.0", "NA", "nan", "null", "None", "-1", " a", "b ", "é", '5" screen', '"quoted"']
    ),
    st.text(st.sampled_from("ab 0,;\t\n\"'|é\u2028\x0b\x85漢"), min_size=1, max_size=8),
)
TABLE = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6)


@quickly
@given(TABLE, st.permutations(["file", "caption", "group"]))
@example([('"a cat"', "x"), ("b", None)], ["file", "caption", "group"])
@example([("a cat,\nsleeping", "1.10"), ("a,b\nc,d", "1.1")], ["caption", "file", "group"])
@example([("a;b", "c;d"), ("\u2028", "\x85")], ["file", "caption", "group"])
def test_every_container_gives_the_same_columns(tmp_path_factory, rows, order):
    folder = tmp_path_factory.mktemp("tables")
    written = {
        "file": [f"val/{i}.png" for i in range(len(rows))],
        "caption": [row[0] for row in rows],
        "group": [row[1] for row in rows],
    }
    written = {name: written[name] for name in order}
    for suffix in SUFFIXES:
        assert read_or_doubted(write(folder / f"t{suffix}", written), list(written)) == written, suffix


@quickly
@given(TABLE, st.randoms(use_true_random=False))
def test_permuted_rows_and_parts_change_nothing_else(tmp_path_factory, rows, draw):
    folder = tmp_path_factory.mktemp("tables")
    written = {"file": [f"{i}.png" for i in range(len(rows))], "x": [row[0] for row in rows], "y": [r[1] for r in rows]}
    order = list(range(len(rows)))
    draw.shuffle(order)
    permuted = {name: [values[i] for i in order] for name, values in written.items()}
    cut = draw.randrange(len(rows) + 1)
    for suffix in SUFFIXES:
        whole = read_or_doubted(write(folder / f"whole{suffix}", written), ["y", "x"])
        other = read_or_doubted(write(folder / f"permuted{suffix}", permuted), ["x", "y"])
        assert {name: [values[i] for i in order] for name, values in whole.items()} == other
        if 0 < cut < len(rows):
            for number, part in enumerate((slice(0, cut), slice(cut, None))):
                write(folder / f"part-{number}{suffix}", {name: values[part] for name, values in written.items()})
            assert lists(tables.read(folder / f"part-*{suffix}", ["x", "y"])) == whole


FRAMES = {
    "whole numbers": [1, 2, 3],
    "numbers": [1.0, 0.1, 2.5],
    "whole numbers as floats": [1.0, 2.0, 3.0],
    "truth values": [True, False, True],
    "text": ["1.10", "NA", "007"],
}


@pytest.mark.parametrize("values", FRAMES.values(), ids=FRAMES)
def test_what_pandas_writes_is_one_column_in_every_container(tmp_path, values):
    frame = pd.DataFrame({"x": values})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    expected = [str(value) for value in values]
    for suffix in (".csv", ".tsv", ".parquet"):
        assert one(tmp_path / f"t{suffix}") == expected, suffix
    assert one(tmp_path / "t.jsonl") == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, 3], ["1", None, "3"]),
        ([1.0, float("nan"), 2.5], ["1.0", None, "2.5"]),
        (["", "a", None], [None, "a", None]),
        ([None, None, None], [None, None, None]),
    ],
)
def test_missing_values_of_typed_columns(tmp_path, values, expected):
    pd.DataFrame({"x": values}).to_parquet(tmp_path / "t.parquet")
    lines = [json.dumps({"x": value}) for value in values]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert one(tmp_path / "t.parquet") == expected
    assert one(tmp_path / "t.jsonl") == expected
    frame = pd.DataFrame({"x": values})
    frame.to_json(tmp_path / "p.jsonl", orient="records", lines=True)
    if not frame.x.isna().all():  # pandas makes objects of such a column
        assert one(tmp_path / "p.jsonl") == expected


def test_whole_numbers_that_missing_ones_made_decimal(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"x": 3.0, "y": 1.0, "z": "3.0"}\n{"x": null, "y": 2.0}\n{"x": 7.0, "y": 2.0}\n')
    found = lists(tables.read(tmp_path / "t.jsonl", ["x", "y", "z"]))
    assert found == {"x": ["3", None, "7"], "y": ["1.0", "2.0", "2.0"], "z": ["3.0", None, None]}


def test_every_type_of_parquet(tmp_path):
    day, moment = datetime.date(2024, 3, 9), datetime.datetime(2024, 3, 9, 1, 2, 3)
    columns = {
        "int8": pa.array([1, None], pa.int8()),
        "uint64": pa.array([2**64 - 1, 0], pa.uint64()),
        "half": pa.array([0.5, 1], pa.float16()),
        "float": pa.array([0.1, 1e-8], pa.float32()),
        "double": pa.array([0.1, float("inf")]),
        "bool": pa.array([True, None]),
        "decimal": pa.array([decimal.Decimal("1.10"), None]),
        "date": pa.array([day, None]),
        "moment": pa.array([moment, None], pa.timestamp("ns")),
        "zone": pa.array([moment, None], pa.timestamp("s", "UTC")),
        "category": pa.array(["b", "a"]).dictionary_encode(),
        "large": pa.array(["b", None], pa.large_string()),
        "null": pa.nulls(2),
        "list": pa.array([["a", None, "b", ""], None]),
        "empty": pa.array([[], ["a"]]),
        "fixed": pa.array([[1, 2], None], pa.list_(pa.int32(), 2)),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=1)
    assert lists(tables.read(tmp_path / "t.parquet", list(columns))) == {
        "int8": ["1", None],
        "uint64": ["18446744073709551615", "0"],
        "half": ["0.5", "1.0"],
        "float": ["0.1", "1e-08"],
        "double": ["0.1", "inf"],
        "bool": ["True", None],
        "decimal": ["1.10", None],
        "date": ["2024-03-09", None],
        "moment": ["2024-03-09T01:02:03", None],
        "zone": ["2024-03-09T01:02:03+00:00", None],
        "category": ["b", "a"],
        "large": ["b", None],
        "null": [None, None],
        "list": [("a", "b"), None],
        "empty": [(), ("a",)],
        "fixed": [("1", "2"), None],
    }
    assert tables.columns(tmp_path / "t.parquet") == list(columns)


def test_class_labels_are_their_names(tmp_path):
    label = {"names": ["dog", "cat", "emu"], "_type": "ClassLabel"}
    features = {
        "label": label,
        "labels": {"feature": label, "_type": "List"},
        "old": [label],
        "x": {"dtype": "int64", "_type": "Value"},
    }
    columns = {
        "label": [1, -1, 0, None],
        "labels": [[0, 1], [], None, [-1, 1]],
        "old": [[1], [0], [1], [1]],
        "x": [0] * 4,
    }
    pq.write_table(hugging_face(columns, features), tmp_path / "t.parquet")
    found = tables.read(tmp_path / "t.parquet", list(columns))
    assert lists(found) == {
        "label": ["cat", None, "dog", None],
        "labels": [("dog", "cat"), (), None, ("cat",)],
        "old": [("cat",), ("dog",), ("cat",), ("cat",)],
        "x": ["0"] * 4,
    }
    assert found["label"].declared == found["labels"].declared == found["old"].declared == ("dog", "cat", "emu")
    assert found["x"].declared is None


@pytest.mark.parametrize("column", ["label", "labels"])
def test_a_class_that_is_not_declared_is_refused_by_row(tmp_path, column):
    label = {"names": ["dog", "cat"], "_type": "ClassLabel"}
    columns = {"label": [0, 1, 2], "labels": [[0], [0, 1], [1, 2]]}
    features = {"label": label, "labels": {"feature": label, "_type": "Sequence"}}
    pq.write_table(hugging_face(columns, features), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=rf't.parquet row 2: column "{column}" has class 2, and the file declares 2'):
        tables.read(tmp_path / "t.parquet", [column])


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": 1}', b'{"info": {"features": [1]}}', b"\xff"])
def test_metadata_of_others_declares_nothing(tmp_path, metadata):
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({"huggingface": metadata}), tmp_path / "t.parquet")
    assert tables.read(tmp_path / "t.parquet", ["x"])["x"].declared is None


def test_parts_of_one_table(tmp_path):
    for number, names in enumerate((["dog", "cat"], ["dog", "cat"], ["cat", "dog"])):
        label = {"names": names, "_type": "ClassLabel"}
        (tmp_path / "d").mkdir(exist_ok=True)
        pq.write_table(hugging_face({"x": [number % 2]}, {"x": label}), tmp_path / f"d/t-{number}.parquet")
    (tmp_path / "d/README.md").write_text("x")
    assert one(tmp_path / "d/t-[01].parquet") == ["dog", "cat"]
    with pytest.raises(InputError, match=r"t-2\.parquet: column \"x\" declares other classes than in t-0\.parquet"):
        tables.read(tmp_path / "d", ["x"])
    (tmp_path / "d/t-2.parquet").unlink()
    assert one(tmp_path / "d") == ["dog", "cat"]


def test_jsonl_keeps_spellings_lists_and_rows_without_a_key(tmp_path):
    lines = ['{"x": 1.10, "y": ["a", null, 2]}', "", '{"y": []}', '{"x": true, "y": "\u2028"}', '{"x": NaN, "y": 1e5}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = lists(tables.read(tmp_path / "t.jsonl", ["x", "y"]))
    assert found == {"x": ["1.10", None, "True", None], "y": [("a", "2"), (), "\u2028", "1e5"]}
    assert tables.columns(tmp_path / "t.jsonl") == ["x", "y"]
    (tmp_path / "t.json").write_text('[\n {"x": 1.10},\n {"x": ""}\n]')
    assert one(tmp_path / "t.json") == ["1.10", None]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json"])
def test_packed_tables_are_read(tmp_path, suffix):
    path = write(tmp_path / f"t{suffix}", {"x": ["1.10", "é"], "y": ["a", "b"]})
    packed = tmp_path / f"t{suffix}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert one(packed) == ["1.10", "é"]
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(InputError, match=r"gz cannot be read"):
        one(packed)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"", ["empty (0 bytes)"]),
        ("t.jsonl", b"", ["empty (0 bytes)"]),
        ("t.jsonl", b"\n\n", ["no rows"]),
        ("t.jsonl", b'{"x": 1}\n{"x"', ["line 2 is not JSON"]),
        ("t.jsonl", b'{"x": 1}\n\n[1]', ["line 3 is not an object"]),
        ("t.jsonl", b'{"x": 1, "x": 2}', ["line 1", "key x comes twice"]),
        ("t.jsonl", b'{"x": {"y": 1}}', ["row 0", '"x" holds an object']),
        ("t.jsonl", b'{"x": [["a"]]}', ["row 0", '"x" holds a list within a list']),
        ("t.jsonl", b'{"y": 1, "xs": 2}', ['no column "x"', 'nearest: "xs"', "y, xs"]),
        ("t.jsonl", b'{"x": "\xe9"}', ["not UTF-8: byte 7 (line 1) is 0xe9"]),
        ("t.json", b'[{"x": 1}, 2]', ["row 1 is not an object"]),
        ("t.json", b'[{"x": 1}', ["is not JSON"]),
        ("t.csv", b"x,x\n1,2\n", ['several columns called "x"']),
        ("t.csv", b"0.png,cat\n1.png,dog\n", ['no column "x"', "0.png, cat", "write a line with the names"]),
        ("t.parquet", b"PAR1 cut", ["not a parquet file, or is cut off"]),
        ("t.xlsx", b"PK", [".csv, .tsv, .parquet, .jsonl"]),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        tables.read(tmp_path / name, ["x"])
    for word in (name, *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_or_not_text(tmp_path):
    for path in (tmp_path / "t.csv", tmp_path / "t-*.csv"):
        with pytest.raises(InputError, match="no such table"):
            tables.read(path, ["x"])
    with pytest.raises(InputError, match="no parquet file there"):
        tables.read(tmp_path, ["x"])
    pq.write_table(pa.table({"x": [{"bytes": b"1", "path": "a"}]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match='column "x" is struct'):
        tables.read(tmp_path / "t.parquet", ["x"])
    pq.write_table(pa.table({"x": pa.array([2**62], pa.timestamp("ms"))}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet is not a parquet file"):
        tables.read(tmp_path / "t.parquet", ["x"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_texts_are_one_object(tmp_path, suffix):
    n = 300
    path = write(
        tmp_path / f"t{suffix}", {"x": [("Black", "White", "Indian")[i % 3] for i in range(n)], "y": ["1"] * n}
    )
    values = tables.read(path, ["x"])["x"].values
    assert values.dtype == object
    assert len({id(value) for value in values}) == 3


def test_no_rows(tmp_path):
    for suffix in (".csv", ".tsv", ".parquet"):
        found = tables.read(write(tmp_path / f"t{suffix}", {"x": [], "y": []}), ["x"])["x"].values
        assert found.shape == (0,)
        assert found.dtype == np.dtype(object)
