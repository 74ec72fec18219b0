"""Batches in order, gaps named, nothing dropped, and memory that does not grow with the data set."""

import threading

import numpy as np
import pytest
from PIL import Image

from clipjax import image
from clipjax.data import arrays, pipeline
from clipjax.data.kinds import folder
from clipjax.data.source import Source
from clipjax.errors import InputError

SPEC = image.Preprocess(image_size=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def numbered(n: int, **kwargs) -> Source:
    """Pictures whose every pixel is their row number."""
    pixels = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 10, 12, 3))
    return arrays.of_array("numbered", pixels, {}, **kwargs)


@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("n", [1, 4, 37])
def test_every_row_once_and_in_order(n, threads):
    found = list(pipeline.batches(numbered(n), range(n), SPEC, 4, threads, np.uint8))
    assert [len(b.rows) for b in found] == [4] * (n // 4) + ([n % 4] if n % 4 else [])
    assert np.concatenate([b.rows for b in found]).tolist() == list(range(n))
    assert np.concatenate([b.pixels for b in found])[:, 0, 0, 0].tolist() == list(range(n))
    assert all(b.skipped == [] for b in found)
    assert found[0].rows.dtype == np.int64
    assert found[0].pixels.shape[1:] == (8, 8, 3)


def test_two_processes_share_37_rows_without_dropping_one():
    rows = np.arange(37)
    found = [np.concatenate([b.rows for b in pipeline.batches(numbered(37), rows[p::2], SPEC, 4)]) for p in range(2)]
    assert [len(part) for part in found] == [19, 18]
    assert sorted(np.concatenate(found)) == list(range(37))


def test_rows_may_be_any_selection_in_any_order():
    (batch,) = pipeline.batches(numbered(9), [7, 2, 2], SPEC, 10, dtype=np.uint8)
    assert batch.rows.tolist() == [7, 2, 2]
    assert batch.pixels[:, 3, 3, 1].tolist() == [7, 2, 2]


def test_no_rows_no_batches():
    assert list(pipeline.batches(numbered(3), [], SPEC, 4)) == []


def test_pixels_are_those_of_preprocess():
    rng = np.random.default_rng(0)
    source = arrays.of_array("noise", rng.integers(0, 256, (5, 20, 31, 3), np.uint8), {})
    (floats,) = pipeline.batches(source, range(5), SPEC, 5)
    (whole,) = pipeline.batches(source, range(5), SPEC, 5, dtype=np.uint8)
    expected = image.preprocess([source.image(i) for i in range(5)], SPEC)
    assert floats.pixels.dtype == np.float32
    np.testing.assert_array_equal(floats.pixels, expected)
    np.testing.assert_array_equal(image.normalise(whole.pixels, SPEC), expected)


def test_missing_and_damaged_pictures_are_named_and_later_batches_stay(tmp_path):
    for i in range(9):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / f"{i}.png")
    source = folder.open_folder(tmp_path)
    (tmp_path / "2.png").unlink()
    (tmp_path / "5.png").write_bytes((tmp_path / "5.png").read_bytes()[:40])
    (tmp_path / "6.png").write_bytes(b"")
    for i in (3, 4):
        (tmp_path / f"{i}.png").write_text("no picture")
    found = list(pipeline.batches(source, range(9), SPEC, 3, dtype=np.uint8))
    assert [b.rows.tolist() for b in found] == [[0, 1], [], [7, 8]]
    assert [b.pixels.shape for b in found] == [(2, 8, 8, 3), (0, 8, 8, 3), (2, 8, 8, 3)]
    assert found[2].pixels[:, 0, 0, 0].tolist() == [7, 8]
    skipped = [s for b in found for s in b.skipped]
    assert [(row, file) for row, file, _ in skipped] == [(i, f"{i}.png") for i in range(2, 7)]
    for (_, file, reason), word in zip(skipped, ["no such file", "not an image", "", "", "0 bytes"], strict=True):
        assert file in reason
        assert word in reason
        assert "\n" not in reason


def test_a_picture_the_transform_cannot_take_is_skipped():
    pictures = [Image.new("RGB", (9, 9)), Image.new("La", (9, 9))]
    source = Source("two", ["a", "b"], pictures.__getitem__)
    (batch,) = pipeline.batches(source, [0, 1], SPEC, 2)
    assert batch.rows.tolist() == [0]
    ((row, file, reason),) = batch.skipped
    assert (row, file) == (1, "b")
    assert reason.startswith("b has mode La")


def test_a_defect_is_not_a_damaged_picture():
    def read(i):
        raise KeyError("a defect")

    source = Source("broken", ["a"], read)
    with pytest.raises(KeyError, match="a defect"):
        list(pipeline.batches(source, [0], SPEC, 1))


def test_the_next_batch_is_decoded_while_the_caller_holds_this_one():
    seen = [threading.Event() for _ in range(12)]

    def read(i):
        seen[i].set()
        return Image.new("RGB", (8, 8))

    source = Source("watched", [str(i) for i in range(12)], read)
    running = pipeline.batches(source, range(12), SPEC, 5, threads=1)
    next(running)
    # Nobody asks for more, and yet the whole of the second batch is read. The wait only bounds a failure.
    assert all(seen[i].wait(10) for i in range(10))
    running.close()


def test_what_is_decoded_ahead_is_bounded():
    highest = -1

    def read(i):
        nonlocal highest
        highest = max(highest, i)
        return Image.new("RGB", (8, 8))

    n = 400
    source = Source("long", [str(i) for i in range(n)], read)
    ahead = 0
    done = 0
    for batch in pipeline.batches(source, range(n), SPEC, 10, threads=2):
        done += len(batch.rows)
        ahead = max(ahead, highest + 1 - done)
    assert done == n
    assert ahead <= 10 + 2 * 2


def test_leaving_early_reads_no_further():
    gate = threading.Event()
    read_rows = []

    def read(i):
        if i >= 4:
            gate.wait(30)
        read_rows.append(i)
        return Image.new("RGB", (8, 8))

    source = Source("gated", [str(i) for i in range(50)], read)
    running = pipeline.batches(source, range(50), SPEC, 4, threads=1)
    next(running)
    workers = [t for t in threading.enumerate() if t.name.startswith("decode")]
    running.close()
    gate.set()
    for worker in workers:
        worker.join(30)
    # Row 4 may have been begun; the others that waited behind it are not read any more.
    assert read_rows in ([0, 1, 2, 3], [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"batch_size": 0}, InputError),
        ({"dtype": np.float64}, AssertionError),
        ({"rows": [3]}, AssertionError),
        ({"rows": [-1]}, AssertionError),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments, error):
    with pytest.raises(error):
        pipeline.batches(numbered(3), **{"rows": [0], "spec": SPEC, "batch_size": 2} | arguments)
