"""Pictures in one array, in memory or on disk."""

import numpy as np
import pytest

from clipjax.data import arrays
from clipjax.errors import InputError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (4, 5, 6, 3), np.uint8)
GREY = RNG.integers(0, 256, (4, 5, 6), np.uint8)


@pytest.mark.parametrize(
    ("images", "mode", "pixels"),
    [
        (COLOUR, "RGB", COLOUR),
        (GREY, "L", GREY),
        (GREY[..., None], "L", GREY),
        (COLOUR[:, ::-1], "RGB", COLOUR[:, ::-1]),
    ],
)
def test_pictures_come_back_as_they_were(images, mode, pixels):
    s = arrays.of_array("digits", images, {"label": [0, 1, 1, 0]}, ["zero", "one"])
    assert s.image(2).mode == mode
    np.testing.assert_array_equal(np.asarray(s.image(2)), pixels[2])
    assert s.files.tolist() == ["00000", "00001", "00002", "00003"]
    assert s.labels.index.tolist() == [0, 1, 1, 0]
    assert s.labels.names == ("zero", "one")


def test_files_may_have_names():
    s = arrays.of_array("cifar", COLOUR, {"file": list("dcba")})
    assert s.files.tolist() == list("dcba")
    assert s.labels is None


def test_an_array_on_disk_is_read_where_it_lies(tmp_path):
    np.save(tmp_path / "x.npy", COLOUR)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    s = arrays.of_array("mapped", mapped, {})
    np.testing.assert_array_equal(np.asarray(s.image(3)), COLOUR[3])
    assert s.fingerprint == arrays.of_array("other name", COLOUR, {}).fingerprint


def test_anything_with_shape_dtype_and_rows_will_do():
    class Lazy:
        """What h5py's data sets offer, one row at a time."""

        shape, dtype = COLOUR.shape, COLOUR.dtype

        def __getitem__(self, key):
            assert isinstance(key, int)
            return COLOUR[key]

    assert arrays.of_array("lazy", Lazy(), {}).fingerprint == arrays.of_array("whole", COLOUR, {}).fingerprint


def test_the_fingerprint_is_that_of_pixels_and_their_order():
    changed = COLOUR.copy()
    changed[3, 4, 5, 2] ^= 1
    prints = [
        arrays.of_array("x", COLOUR, {}).fingerprint,
        arrays.of_array("x", changed, {}).fingerprint,
        arrays.of_array("x", COLOUR[::-1], {}).fingerprint,
        arrays.of_array("x", COLOUR[:3], {}).fingerprint,
        arrays.of_array("x", COLOUR.transpose(0, 2, 1, 3), {}).fingerprint,
        arrays.of_array("x", COLOUR.reshape(4, 6, 5, 3), {}).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert arrays.of_array("x", COLOUR, {"label": [0, 0, 0, 1]}, ["a", "b"]).fingerprint == prints[0]
    assert arrays.of_array("x", COLOUR, {"file": list("abcd")}).fingerprint == prints[0]


@pytest.mark.parametrize(
    ("images", "columns", "word"),
    [
        (COLOUR.astype(np.float32), {}, "float32"),
        (COLOUR.transpose(0, 3, 1, 2), {}, "channels first"),
        (COLOUR[..., :2], {}, r"\[4, 5, 6, 2\]"),
        (GREY[0], {}, r"\[5, 6\]"),
        (COLOUR[:0], {}, "holds no images"),
        (COLOUR, {"file": ["a"]}, '"file" has 1 entries for 4'),
        (COLOUR, {"label": [0, 1, 2, 0]}, r"label 2 \(row 2, 00002\)"),
        (COLOUR, {"label": [0, 1]}, "2 labels for 4 files"),
    ],
)
def test_what_is_no_array_of_pictures(images, columns, word):
    with pytest.raises(InputError, match=word):
        arrays.of_array("digits", images, columns, ["zero", "one"])
