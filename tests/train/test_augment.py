"""Random views: within the picture, what the options say and nothing else, and the same for the same generator."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from clipjax.data import table
from clipjax.errors import InputError
from clipjax.image import Preprocess
from clipjax.train import feed, pairs
from clipjax.train.augment import PRESETS, Augment, names_side, view


def ramp(width=60, height=40):
    """Red grows to the right, green downwards, blue is 128: a view's corners tell which window it is."""
    x, y = np.meshgrid(np.arange(width) * 4, np.arange(height) * 6)
    return Image.fromarray(np.stack([x, y, np.full_like(x, 128)], -1).astype(np.uint8))


def views(options, n=200, size=16, picture=None):
    picture = ramp() if picture is None else picture
    return np.stack([view(picture, options, size, np.random.default_rng([7, i])) for i in range(n)]).astype(int)


def test_windows_have_the_area_and_ratio_asked_for():
    found = views(Augment(scale=(0.3, 0.5), ratio=(0.8, 1.25)))
    # Edges of the window, from the slope between two inner columns and rows (bicubic bends the outermost ones).
    across = (found[:, :, 12, 0] - found[:, :, 3, 0]).mean(1) / 4 / 9 * 16
    down = (found[:, 12, :, 1] - found[:, 3, :, 1]).mean(1) / 6 / 9 * 16
    area, ratio = across * down / (60 * 40), across / down
    assert area.min() == pytest.approx(0.3, abs=0.03)
    assert area.max() == pytest.approx(0.5, abs=0.03)
    assert ratio.min() == pytest.approx(0.8, abs=0.06)
    assert ratio.max() == pytest.approx(1.25, abs=0.06)
    assert found[:, 8, 8, 0].std() > 10  # windows lie in different places
    assert (found[..., 2] == 128).all()


def test_a_window_that_fits_nowhere_becomes_the_largest_that_does():
    wide = ramp(62, 10)
    found = views(Augment(scale=(1.0, 1.0), ratio=(0.75, 4 / 3)), n=3, picture=wide)
    assert (found == found[0]).all()
    middle = found[0, 8, :, 0] / 4
    assert middle[0] > 20  # 10 x 13.3 pixels around the middle, not the left edge
    assert middle[-1] < 42


def test_a_window_over_the_edge_shows_the_background():
    red = Image.new("RGB", (40, 40), (255, 0, 0))
    found = views(Augment(scale=(4.0, 4.0), ratio=(1, 1), background="white"), picture=red)
    assert ((found == (255, 255, 255)).all(-1) | (found[..., 1] < 255)).all()
    share = (found == (255, 0, 0)).all(-1).mean()
    assert share == pytest.approx(0.25, abs=0.08)  # a quarter of a window of four times the area
    black = views(Augment(scale=(4.0, 4.0), ratio=(1, 1)), n=5, picture=red)
    assert (black.min((1, 2)) == 0).all()


def test_transparent_pixels_are_ignored_white_or_any_colour():
    ghost = Image.new("RGBA", (20, 20), (10, 20, 30, 0))
    whole = {"scale": (1, 1), "ratio": (1, 1)}
    assert (views(Augment(**whole), n=3, picture=ghost) == (10, 20, 30)).all()
    assert (views(Augment(**whole, background="white"), n=3, picture=ghost) == 255).all()
    colours = views(Augment(**whole, background="random"), n=60, picture=ghost)[:, 0, 0]
    assert 0.3 < (colours == 255).all(-1).mean() < 0.7
    assert len(np.unique(colours, axis=0)) > 20


def test_flip_grey_and_turn_happen_as_often_and_as_far_as_asked():
    whole = {"scale": (1, 1), "ratio": (1, 1)}
    square = ramp(40, 40)
    flipped = views(Augment(**whole, flip=0.3), picture=square)
    assert (flipped[:, 8, 0, 0] > flipped[:, 8, -1, 0]).mean() == pytest.approx(0.3, abs=0.1)
    grey = views(Augment(**whole, grey=0.3), picture=square)
    assert (grey[..., 0] == grey[..., 1]).all((1, 2)).mean() == pytest.approx(0.3, abs=0.1)
    turned = views(Augment(**whole, turn=10.0), picture=square)
    slope = np.degrees(
        np.arctan2((turned[:, 12, 8] - turned[:, 3, 8])[:, 0] / 4, (turned[:, 12, 8] - turned[:, 3, 8])[:, 1] / 6)
    )
    assert 8 < np.abs(slope).max() < 11
    assert slope.min() < -5
    assert slope.max() > 5


@pytest.mark.parametrize(("place", "strength"), [(0, 0.5), (1, 0.5), (2, 0.9), (3, 0.3)])
def test_each_jitter_moves_its_own_quantity(place, strength):
    jitter = [0.0] * 4
    jitter[place] = strength
    still = {"scale": (1, 1), "ratio": (1, 1), "jitter_share": 1.0}
    picture = Image.fromarray(np.random.default_rng(0).integers(60, 180, (32, 32, 3)).astype(np.uint8))
    found = views(Augment(**still, jitter=jitter), n=50, size=32, picture=picture)
    grey = found @ (0.299, 0.587, 0.114)
    spread = {
        0: grey.mean((1, 2)).std(), 1: grey.std((1, 2)).std(), 2: (found.max(-1) - found.min(-1)).mean((1, 2)).std(),
        3: found[:, 0, 0].std(0).max(),
    }  # fmt: skip
    assert spread[place] > 3
    if place:  # brightness alone moves the mean
        assert grey.mean((1, 2)).std() < 6
    never = views(Augment(**(still | {"jitter_share": 0.0}), jitter=jitter), n=5, size=32, picture=picture)
    assert (never == np.asarray(picture)).all()


def test_the_hue_turns_as_far_as_asked():
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    whole = Augment(scale=(1, 1), ratio=(1, 1), jitter=(0, 0, 0, 0.25), jitter_share=1.0)
    pages = [Image.fromarray(v.astype(np.uint8)).convert("HSV") for v in views(whole, size=4, picture=red)]
    turned = [(int(np.asarray(page)[0, 0, 0]) + 128) % 256 - 128 for page in pages]
    assert min(turned) == pytest.approx(-64, abs=4)
    assert max(turned) == pytest.approx(64, abs=4)


def test_the_same_generator_gives_the_same_view():
    everything = Augment((0.4, 1.4), flip=0.5, turn=20, jitter=(0.4, 0.4, 0.4, 0.1), grey=0.2, background="random")
    assert (views(everything, n=20) == views(everything, n=20)).all()


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "F"]
)
@pytest.mark.parametrize("background", ["", "random"])
def test_every_mode_that_pillow_opens_becomes_rgb(mode, background):
    picture = Image.new(mode, (9, 7))
    assert views(Augment(background=background), n=1, picture=picture).shape == (1, 16, 16, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scale": (0, 1)}, "augment.scale"),
        ({"scale": (1, 0.5)}, "augment.scale"),
        ({"ratio": (1,)}, "augment.ratio"),
        ({"jitter": (0.1, 0.1, 0.1, 0.7)}, "half of the circle"),
        ({"flip": 1.5}, "augment.flip"),
        ({"background": "pink"}, "'pink'"),
    ],
)
def test_impossible_options_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Augment(**given)


def test_presets_are_what_their_libraries_do():
    assert PRESETS["none"] is None
    assert PRESETS["open_clip"] == Augment()
    found = views(PRESETS["openai"], size=40)  # of 60 by 40 pixels: whole in height, anywhere in width
    assert (np.abs(found[..., 1] - np.arange(40)[:, None] * 6) <= 1).all()
    left = found[:, 20, 0, 0] / 4
    assert left.min() == pytest.approx(0, abs=1)
    assert left.max() == pytest.approx(20, abs=1)
    assert (np.abs(found[:, 20, 39, 0] / 4 - left - 39) <= 1).all()  # not resized, not mirrored
    mirrored = views(PRESETS["flip_safe"])
    assert 60 < (mirrored[:, 8, 3, 0] > mirrored[:, 8, 12, 0]).sum() < 140


def test_texts_that_would_be_wrong_of_a_mirrored_image():
    for text in (
        "a Left shoe",
        "turn right",
        "the leftmost one",
        "counterclockwise",
        "in a mirror",
        "right-hand drive",
    ):
        assert names_side(text)
    for text in ("a bright day", "aleft", "a copyright", "a shoe"):
        assert not names_side(text)


def test_an_image_whose_caption_names_a_side_is_not_mirrored(tmp_path):
    files = [tmp_path / f"{i:02}.png" for i in range(24)]  # grain shuffles few rows slowly
    for file in files:
        ramp().save(file)
    captions = [[("a hand", "the left hand"), ("a hand",), ("a foot",)][i % 3] for i in range(24)]
    data = pairs.pairs(table.from_rows("hands", files, {"captions": captions}))
    spec = Preprocess(16, (0.5,) * 3, (0.5,) * 3)

    def mirrored(data):
        stream, counts = feed.Feed(data, 24, spec, 12, PRESETS["flip_safe"], 0, threads=1), [0, 0, 0]
        stream.close()
        for place in range(72):
            example = stream._example(place)
            across = example["pixels"][8].astype(int)
            counts[int(example["file"][:2]) % 3] += across[3, 0] > across[12, 0]
        return counts

    sided, *others = mirrored(data)
    assert sided == 0
    assert all(4 < count < 20 for count in others)  # of 24
    template = data.tables[0]._replace(templates=("{}", "{} on the right"))
    assert mirrored(dataclasses.replace(data, tables=(template,))) == [0, 0, 0]
