"""Perturbations: pixel values computed by hand, and what no perturbation may change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipjax.data import perturb
from clipjax.errors import InputError

WORDS = ["grey", "blur:1", "blur:5", "jpeg:2", "pixelate:3", "written_word:3:thief"]


def noise(seed=0, size=64):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def test_grey_of_known_colours():
    colours = {
        (200, 100, 50): 124,
        (10, 20, 30): 18,
        (123, 45, 67): 71,
        (255, 0, 0): 76,
        (0, 255, 0): 150,
        (0, 0, 255): 29,
    }
    for colour, value in colours.items():
        assert perturb.grey(Image.new("RGB", (1, 1), colour)).getpixel((0, 0)) == (value,) * 3


def test_blur_of_one_white_pixel():
    """The row through it at one pixel, which is severity 1 of a crop of 224; other sizes are blurred in proportion."""
    pixels = np.zeros((224, 224, 3), np.uint8)
    pixels[112, 112] = 255
    found = np.asarray(perturb.blur(Image.fromarray(pixels), 1))
    assert found[112, 108:117, 0].tolist() == [0, 1, 6, 24, 42, 24, 6, 1, 0]
    assert found[..., 0].sum() == 244
    twice = np.zeros((448, 448, 3), np.uint8)
    twice[224, 224] = 255
    assert (np.asarray(perturb.blur(Image.fromarray(twice), 1))[..., 0] > 0).sum() > (found[..., 0] > 0).sum()


def test_pixelate_of_a_ramp():
    ramp = np.repeat(np.repeat(np.arange(0, 256, 16, dtype=np.uint8)[None, :, None], 16, 0), 3, 2)
    coarse = np.asarray(perturb.pixelate(Image.fromarray(ramp), 5))[0, :, 0]
    assert coarse.tolist() == np.repeat([24, 88, 152, 216], 4).tolist()
    fine = np.asarray(perturb.pixelate(Image.fromarray(ramp), 1))[0, :, 0]
    assert fine.tolist() == [8, 8, 40, 40, 64, 88, 88, 120, 120, 152, 152, 176, 200, 200, 232, 232]
    assert np.array_equal(np.asarray(perturb._pixelated(Image.fromarray(ramp), 1.0)), ramp)


def test_a_word_stays_within_its_box():
    before = np.full((224, 224, 3), 128, np.uint8)
    heights = []
    for severity in range(1, 6):
        after = perturb.parse(f"written_word:{severity}:thief")(before)
        rows, columns = np.nonzero((after == 255).all(2))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height <= perturb.WORD[severity - 1] * 224 + 1
        assert width <= 0.9 * 224
        assert abs((columns.min() + columns.max()) / 2 - 111.5) <= 2
        assert rows.max() <= 0.95 * 224 + 1
        heights.append(height)
    assert sorted(set(heights)) == heights


@given(st.integers(0, 100), st.sampled_from(WORDS))
def test_size_and_mode_stay(seed, word):
    pixels = noise(seed, 96)
    change = perturb.parse(word)
    once = change(pixels)
    assert (once.shape, once.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(change(pixels), once), "the same bytes every time"
    assert str(change) == word
    assert not np.array_equal(once, pixels)
    if word == "grey":
        assert np.array_equal(change(once), once)


def test_several_are_made_one_after_the_other():
    pixels, change = noise(0, 96), perturb.parse("pixelate:2,written_word:3:cook,grey")
    expected = pixels
    for one in ("pixelate:2", "written_word:3:cook", "grey"):
        expected = perturb.parse(one)(expected)
    assert np.array_equal(change(pixels), expected)
    assert (change.word, str(change)) == ("cook", "pixelate:2,written_word:3:cook,grey")
    assert change.key != perturb.parse("written_word:3:cook,pixelate:2,grey").key


def test_what_a_cache_has_to_know():
    keys = [str(perturb.parse(word).key) for word in [*WORDS, "blur:2", "written_word:3:cook"]]
    assert len(set(keys)) == len(keys)
    assert "codec" in perturb.parse("jpeg:1").key
    assert perturb.parse("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blurr:1", "no change 'blurr'; nearest: \"blur\"; choose grey, blur, jpeg, pixelate, written_word"),
        ("blur:6", "severity 6; choose 1 to 5, as blur:3"),
        ("blur", "no severity; choose 1 to 5"),
        ("blur:x", "severity x"),
        ("grey:2", "grey has no severity"),
        ("blur:2:thief", "write blur:2"),
        ("written_word:2", "write written_word:2:WORD"),
        ("grey,", "no change ''"),
        ("blur:1,grey,blur:2", "blur comes twice"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(InputError, match=message):
        perturb.parse(text)


def test_a_word_that_does_not_fit():
    with pytest.raises(InputError, match="does not fit into 32 x 32 pixels"):
        perturb.parse("written_word:1:suspicious person")(noise(0, 32))
