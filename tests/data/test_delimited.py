"""Which dialect a delimited table is written in, and what is refused because it allows two readings."""

import subprocess

import pytest

from clipjax.data import delimited, tables
from clipjax.errors import InputError


def read(folder, name, content, columns=("file", "caption")):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = tables.read(path, columns)
    return list(zip(*(found[column].values.tolist() for column in columns), strict=True))


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("t.csv", "file,caption\na.png,1.10\n", [("a.png", "1.10")]),
        ("t.csv", "file;caption\na.png;1,5\n", [("a.png", "1,5")]),
        ("t.csv", "file\tcaption\na.png\t1,5;2\n", [("a.png", "1,5;2")]),
        ("t.tsv", "file,caption\na.png,x\n", [("a.png", "x")]),
        ("t.csv", "file,caption,a;b\na.png,x,\n", [("a.png", "x")]),
        ("t.csv", "file;caption;age, years\na.png;x;1\n", [("a.png", "x")]),
        ("t.csv", '"file";"caption"\n"a.png";"x;""y"""\n', [("a.png", 'x;"y"')]),
        ("t.csv", " file , caption\na.png, x\n", [("a.png", "x")]),
        ("t.csv", "file ,caption \na.png, x\n", [("a.png", " x")]),
        ("t.csv", "file,caption\r\na.png,x\r\n\r\nb.png,\r\n", [("a.png", "x"), ("b.png", None)]),
        ("t.csv", "file,caption\ra.png,x\rb.png,y\r", [("a.png", "x"), ("b.png", "y")]),
        ("t.csv", "\ufefffile,caption\na.png,x", [("a.png", "x")]),
        ("t.csv", 'file,caption\na.png,5" screen\n', [("a.png", '5" screen')]),
        ("t.csv", 'file,caption\na.png,"a cat,\nsleeping"\n', [("a.png", "a cat,\nsleeping")]),
        ("t.csv", 'file,caption\na.png,"a cat\nblack, sleeping"\n', [("a.png", "a cat\nblack, sleeping")]),
        ("t.csv", 'file,caption\na.png,"he said, ""no"""\n', [("a.png", 'he said, "no"')]),
        ("t.csv", "file,caption\na.png,x\u2028y\x0bz\x85\n", [("a.png", "x\u2028y\x0bz\x85")]),
    ],
)
def test_dialects(tmp_path, name, content, rows):
    assert read(tmp_path, name, content) == rows
    assert delimited.table(tmp_path / name).names[:2] == ("file", "caption")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_what_excel_calls_unicode_text(tmp_path, encoding):
    content = 'file\tcaption\r\na.png\t"x\ty"\r\nb.png\té\r\n'.encode(encoding)
    assert read(tmp_path, "t.tsv", content) == [("a.png", "x\ty"), ("b.png", "é")]


@pytest.mark.parametrize(
    ("lines", "captions"),
    [
        # One mark too many, as in CC3M: every line is a row.
        (['a.png\t"x', "b.png\ty", 'c.png\t"'], ['"x', "y", '"']),
        (['a.png\t"the best" of x', 'b.png\t"y"'], ['"the best" of x', '"y"']),
        # A writer that quotes what needs it would not have quoted "x".
        (['a.png\t"x"', "b.png\ty"], ['"x"', "y"]),
        # Excel and pandas: tabs, line breaks and doubled marks inside.
        (['a.png\t"x\ty"', "b.png\tz"], ["x\ty", "z"]),
        (['a.png\t"x', 'y"', "b.png\tz"], ["x\ny", "z"]),
        (['a.png\t"he said ""no"""', "b.png\tz"], ['he said "no"', "z"]),
        (['a.png\t"x, ""y"""', 'b.png\t"z, w"'], ['x, "y"', "z, w"]),
        # Every field of the column, or the header too.
        (['a.png\t"x"', 'b.png\t"y, z"'], ["x", "y, z"]),
    ],
)
def test_quotation_marks_of_a_tsv_by_evidence(tmp_path, lines, captions):
    found = read(tmp_path, "t.tsv", "\n".join(["file\tcaption", *lines]) + "\n")
    assert [caption for _, caption in found] == captions


def test_a_tsv_whose_header_is_quoted(tmp_path):
    assert read(tmp_path, "t.tsv", '"file"\t"caption"\na.png\t"x"\nb.png\ty\n') == [("a.png", "x"), ("b.png", "y")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", "file,caption\na.png\n", ["line 2 has 1 field, the header has 2"]),
        ("t.csv", 'file,caption\na.png,"x\ny"\nb.png,y,z\n', ["line 4 has 3 fields", "commas in quotation marks"]),
        ("t.tsv", 'file\tcaption\na.png\t"x\nb.png\n', ["line 3 has 1 field", "save the table as jsonl"]),
        ("t.csv", 'file,caption\na.png,"x\nb.png,y\n', ["line 2", "never closed"]),
        ("t.csv", 'file,caption\na.png,"x"y\n', ["line 2", "after its closing quotation mark"]),
        ("t.csv", 'file,caption\na.png,"x\nb.png,y\nc.png,"\n', ["line 2", "line 3 looks like a row"]),
        ("t.csv", 'file,caption\na.png,"x\nb.png,y"\n', ["line 2", "line 3 looks like a row"]),
        ("t.csv", 'file,caption\na.png, "x"\n', ["line 2", "spaces stand before the quotation mark"]),
        ("t.csv", "file,caption\na.png,x\ry\n", ["line 2", "a carriage return"]),
        (
            "t.tsv",
            'file\tcaption\na.png\t"x, y"\nb.png\tz\n',
            ["line 2", "either a field in quotation marks or"],
        ),
        ("t.csv", "a,b;c\n1,2;3\n", ["line 1 reads as 2 columns at commas (a, b;c) and as 2 columns at semicolons"]),
        ("t.csv", "\n\n", ["only blank lines"]),
        ("t.csv", "file,caption\na.png,x\n".encode("utf-32"), ["UTF-32", "iconv"]),
        ("t.csv", "file,capt\n", ['no column "caption"', 'nearest: "capt"']),
    ],
)
def test_what_is_refused(tmp_path, name, content, words):
    with pytest.raises(InputError) as caught:
        read(tmp_path, name, content)
    for word in (name, *words):
        assert word in str(caught.value)


COLUMNS = ("file", "caption", "label")


@pytest.mark.parametrize(
    ("order", "lines", "number"),
    [
        ((0, 1, 2), ['a.png,"x,cat', 'b.png,y",dog'], 3),
        ((0, 1, 2), ['a.png,"x,cat', "b.png,y,dog", 'c.png,z",dog'], 3),
        ((1, 0, 2), ['"x,a.png,cat', 'y",b.png,dog'], 2),
        ((0, 2, 1), ['a.png,cat,"x', 'b.png,dog,y"'], 3),
        ((1, 2, 0), ['"x,cat,a.png', 'y",dog,b.png'], 2),
    ],
)
def test_a_swallowed_row_wherever_the_text_stands(tmp_path, order, lines, number):
    content = "\n".join([",".join(COLUMNS[i] for i in order), *lines]) + "\n"
    with pytest.raises(InputError, match=f"line 2: .* line {number} looks like a row"):
        read(tmp_path, "t.csv", content)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0)])
@pytest.mark.parametrize("caption", ["x\ny", "a cat,\nblack", "a cat, grey\nand black, asleep\n", "\n\n,\n"])
def test_texts_with_line_breaks_wherever_they_stand(tmp_path, order, caption):
    cells = ["a.png", f'"{caption}"', "cat"]
    content = "\n".join([",".join(COLUMNS[i] for i in order), ",".join(cells[i] for i in order)]) + "\n"
    assert read(tmp_path, "t.csv", content) == [("a.png", caption)]


@pytest.mark.parametrize("encoding", ["windows-1252", "utf-16-le", "utf-16-be"])
def test_the_command_for_another_encoding_works(tmp_path, encoding):
    (tmp_path / "a b").mkdir()
    content = "file,caption\na.png,café\n".encode(encoding)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a b", "t.csv", content)
    if encoding == "windows-1252":
        assert "byte 22 (line 2) is 0xe9" in str(caught.value)
    subprocess.run(str(caught.value).rpartition("UTF-8: ")[2], shell=True, check=True)
    found = tables.read(tmp_path / "a b/utf8-t.csv", ["caption"])["caption"].values.tolist()
    assert found == ["café"]


def test_bytes_that_are_not_text_far_inside(tmp_path):
    content = b"file,caption\n" + b"".join(b"%d.png,x\n" % i for i in range(20_000)) + b"z.png,\xe9\n"
    with pytest.raises(InputError, match=rf"byte {len(content) - 2} \(line 20002\) is 0xe9"):
        read(tmp_path, "t.csv", content)
