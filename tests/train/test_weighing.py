"""Weights of pairs: of a column, of classes, of tables; and tables that are trained on together."""

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from clipjax.data import table
from clipjax.errors import InputError
from clipjax.image import Preprocess
from clipjax.text import tokenize
from clipjax.train import feed, pairs, weighing
from clipjax.train.pairs import joined

SPEC = Preprocess(16, (0.5,) * 3, (0.5,) * 3)


def source(root, name="one", n=8, first=0, **columns):
    """Pictures whose colour is their number, from `first`."""
    root.mkdir(exist_ok=True)
    files = []
    for i in range(n):
        Image.new("RGB", (20, 20), ((first + i) * 10, 0, 0)).save(root / f"{i}.png")
        files.append(root / f"{i}.png")
    return table.from_rows(name, files, {"captions": [f"number {first + i}" for i in range(n)], **columns})


def take(data, count, batch=4, **more):
    stream = feed.Feed(data, batch, SPEC, 12, None, 3, **more)
    found = [next(stream) for _ in range(count)]
    stream.close()
    return found


def test_weights_of_a_column_and_of_classes(tmp_path):
    some = source(tmp_path, kind=["a"] * 6 + ["b", "c"], w=["1", "2", "0", "1", "1", "1", "0.5", "2"])
    rows = np.arange(8)
    np.testing.assert_array_equal(weighing.weights(some, rows), np.ones(8))
    np.testing.assert_array_equal(weighing.weights(some, rows, "w"), [1, 2, 0, 1, 1, 1, 0.5, 2])
    np.testing.assert_allclose(weighing.weights(some, rows, "", "kind"), [1 / 6] * 6 + [1, 1])
    np.testing.assert_allclose(weighing.weights(some, rows, "w", "kind"), np.array([1, 2, 0, 1, 1, 1, 6, 6]) / 6)
    found = pairs.pairs(some, weight_column="w")
    assert found.rows.tolist() == [0, 1, 3, 4, 5, 6, 7]  # 0 is never
    assert found.weights.mean() == pytest.approx(1)
    assert weighing.notes(found, 2) == [
        "1 rows have a weight of 0 and are never drawn",
        "an epoch is 6 examples; by their weights, pairs come 0.412 to 1.65 times in it",
    ]
    same = dataclasses.replace(found, weights=np.ones(7))
    assert found.fingerprint != same.fingerprint
    seen = [file for batch in take(pairs.pairs(some, balance="kind"), 60) for file in batch.files]
    counts = {file: seen.count(file) for file in set(seen)}
    assert abs(counts["6.png"] - 80) <= 30  # in half of the epochs' batches or so: a third of 240 examples
    assert abs(counts["6.png"] - counts["7.png"]) <= 30


@pytest.mark.parametrize(
    ("values", "how", "message"),
    [
        (["1"] * 7 + ["many"], {"weight_column": "x"}, r"7\.png of one has 'many': a weight is a number from 0 up"),
        (["1"] * 7 + ["-1"], {"weight_column": "x"}, "has '-1'"),
        (["1"] * 7 + ["nan"], {"weight_column": "x"}, "has 'nan'"),
        (["1"] * 7 + [""], {"weight_column": "x"}, "has ''"),
        (["0"] * 8, {"weight_column": "x"}, "every x of one is 0"),
        (["a"] * 7 + [""], {"balance": "x"}, r"1 of 8 rows of one have no x, the first: 7\.png"),
        (["a"] * 8, {"balance": "y"}, 'data.balance: one has no column "y"; its images are described by x'),
        (["a"] * 8, {"balance": "label"}, 'no column "label"'),
    ],
)
def test_weights_that_cannot_be_meant(tmp_path, values, how, message):
    with pytest.raises(InputError, match=message):
        pairs.pairs(source(tmp_path, x=values), **how)


def test_tables_together(tmp_path):
    """Files of one name are told apart; copies across tables are copies; each caption has its own table's template."""
    one, two = source(tmp_path / "a"), source(tmp_path / "b", "two", 6, 4)  # 4 to 7 are in both
    parts = [pairs.pairs(one), pairs.pairs(two, ("a {}",))]
    found = joined(parts, [1.0, 3.0])
    assert len(found) == 14
    assert found.source.files[[0, 8]].tolist() == ["one:0.png", "two:0.png"]
    assert (found.images[4:8] == found.images[8:12]).all()
    assert len(set(found.images.tolist())) == 10
    np.testing.assert_allclose(found.weights, np.array([1] * 8 + [3] * 6) * 14 / 26)
    assert pairs.notes(found, pairs.lengths(found, 12), 12, True, 4) == [
        "2 tables: one (8 pairs, 0.308 of the examples), two (6 pairs, 0.692 of the examples)",
        "an epoch is 12 examples; by their weights, pairs come 0.538 to 1.62 times in it",
        "4 of 14 images are copies of others under other names; copies are not negatives of each other",
    ]
    batches = take(found, 50)
    counts = np.sum([batch.tables for batch in batches], 0)
    assert counts.sum() == 200
    assert counts[1] / 200 == pytest.approx(18 / 26, abs=0.02)  # exact but for the rounding of epochs
    for batch in batches:
        assert (batch.tables == [sum(f.startswith(name) for f in batch.files) for name in ("one", "two")]).all()
        for file, pixels, tokens in zip(batch.files, batch.arrays["pixels"], batch.arrays["tokens"], strict=True):
            number = int(re.search(r"\d", file)[0]) + 4 * file.startswith("two")
            assert (pixels == (number * 10, 0, 0)).all()
            said = f"{'a ' * file.startswith('two')}number {number}"
            assert (tokens == tokenize(said, 8)[0]).all()
    assert joined(parts, [1.0, 2.0]).fingerprint != found.fingerprint
    assert joined(parts, [2.0, 6.0]).fingerprint == found.fingerprint
    assert joined(parts, [2.0, 2.0]).fingerprint != joined([parts[0], pairs.pairs(two)], [1.0, 1.0]).fingerprint
    assert (joined(parts, [1 / 3, 1 / 3]).weights == 1).all()
    twice = joined([parts[0], parts[0]], [1, 1])
    assert [table.name for table in twice.tables] == ["one", "one (2)"]
    with pytest.raises(InputError, match="images prepared for 16 and 32 pixels"):
        joined([dataclasses.replace(p, source=dataclasses.replace(p.source, size=s))
                for p, s in zip(parts, (16, 32), strict=True)], [1, 1])  # fmt: skip


def test_weighted_tables_go_on_from_any_batch_and_are_shared_by_hosts(tmp_path):
    found = joined([pairs.pairs(source(tmp_path / "a")), pairs.pairs(source(tmp_path / "b", "two", 6, 20))], [1, 2.5])
    straight = take(found, 9)
    halves = [take(found, 9, share=(host, 2), threads=host + 1) for host in range(2)]
    for whole, left, right in zip(straight, *halves, strict=True):
        assert whole.files == left.files + right.files
        assert (whole.tables == left.tables + right.tables).all()
    stream = feed.Feed(found, 4, SPEC, 12, None, 3)
    stream.set_state({"next_index": 7 * 4})
    for wanted in straight[7:]:
        batch = next(stream)
        assert batch.files == wanted.files
        assert all((batch.arrays[k] == wanted.arrays[k]).all() for k in batch.arrays)
    stream.close()


def test_ids_of_a_column_are_those_of_all_tables(tmp_path):
    numbers = {}
    one = pairs.pairs(source(tmp_path / "a", kind=list("abcabcab")), id_column="kind", numbers=numbers)
    two = pairs.pairs(source(tmp_path / "b", n=3, first=9, kind=list("xba")), id_column="kind", numbers=numbers)
    three = pairs.pairs(source(tmp_path / "c", n=2))
    found = joined([one, two, three], [1, 1, 1])
    assert found.ids.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 3, 1, 0, -1, -1]
    for batch in take(found, 6, 13):  # captions of tables without the column have numbers of their own
        own = [
            ids for ids, file in zip(batch.arrays["ids"][:, 0], batch.files, strict=True) if file.startswith("one (3)")
        ]
        assert len(set(own)) == 2
        assert min(own) > 3
