"""CountBench from a miniature of its parquet file: rows without an image, other files, the captions that are asked."""

import pytest
from support.countbench_files import TEXTS, write

from clipjax.data.sets import countbench
from clipjax.errors import InputError
from clipjax.runs import caption_tables


def test_rows_without_an_image_are_left_out(tmp_path, capsys):
    file = write(tmp_path / "data" / "train-00000-of-00001-cf54c241ba947306.parquet")
    for path in (tmp_path, tmp_path / "data", file):
        found = countbench.open_source(path)
        assert found.labels.texts().tolist() == ["three", "ten", "five"]
        assert [caption for (caption,) in found.captions] == [TEXTS[i] for i in (0, 1, 3)]
        assert [found.image(i).size for i in range(3)] == [(40, 40)] * 3
    assert "1 of 4 rows have no image, and are left out" in capsys.readouterr().err


@pytest.mark.parametrize(("change", "message"), [
    ({"without": range(4)}, "no row has an image; fetch the file of https://huggingface.co/datasets/nielsr/countbench"),
    ({"numbers": [3, 11, 2, 5]}, '"11" is none of the 9 classes of countbench'),
    ({"texts": ["three", "", "two", "five"]}, "row 2 has no caption"),
])  # fmt: skip
def test_another_file_is_refused(tmp_path, change, message):
    write(tmp_path / "a.parquet", **change)
    with pytest.raises(InputError, match=message):
        countbench.open_source(tmp_path)


def test_where_it_is_not_there(tmp_path):
    with pytest.raises(InputError, match="does not hold CountBench: data/train-00000"):
        countbench.open_source(tmp_path)
    for name in "ab":
        write(tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match="2 parquet files are there"):
        countbench.open_source(tmp_path)


def test_nine_captions_that_differ_in_the_number():
    found = caption_tables.of_numbers(
        ["a", "b", "c"], [(TEXTS[0],), (TEXTS[1],), (TEXTS[3],)], ["three", "ten", "five"], "x"
    )
    assert {len(set(one)) for one in found.captions} == {9}
    assert found.captions[0][:3] == (TEXTS[0], "Two little pigs - two pigs", "Four little pigs - four pigs")
    assert found.captions[1][1] == "a lot of two (10) coins, three of them old"
    assert found.captions[2][8] == "TEN dogs"
    assert found.subset.tolist() == ["three", "ten", "five"]
    with pytest.raises(InputError, match="x: a: its caption 'two cats' does not say 'three'"):
        caption_tables.of_numbers(["a"], [("two cats",)], ["three"], "x")
    with pytest.raises(InputError, match='x: a has no number "eleven"'):
        caption_tables.of_numbers(["a"], [("eleven cats",)], ["eleven"], "x")
