"""Names in figures: text in the .svg, letters or their numbers in the .png, cut without what stands behind them."""

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from clipjax.analysis import figures, letters

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing):
    return ["".join(node.itertext()) for node in ET.fromstring(drawing.svg()).iter(f"{SVG}text")]


def rates(names):
    n = len(names)
    of = figures.Series("s", [0.0, 1.0, 0.5][:n], [0.0] * n, [1.0] * n, ["3/9"] * n, [True] * n)
    return figures.rates_by_group(names, [of], "Rate of 動物")


@pytest.mark.parametrize("name", ["日本語", "😀 grin", "हिन्दी", "عربي", "Ångström", "$x_1$"])
def test_names_are_text_in_an_svg(name):
    drawing = rates([name, "b"])
    assert name in texts(drawing)
    assert "Rate of 動物, percent of the group's images (hollow: few images)" in texts(drawing)
    assert "\\u" not in drawing.svg()


def test_a_png_has_a_font_of_this_machine_or_the_number_of_the_letter(monkeypatch):
    drawing = rates(["日本", "b"])
    assert Image.open(io.BytesIO(drawing.png)).width > 500  # and no warning of a missing glyph
    labels = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    have = {c for c in "日本" if letters._fonts({c})}
    assert labels[0] == "".join(c if c in have else letters.number(c) for c in "日本")
    assert "日本" in drawing.svg()  # the .svg stays text


def test_a_letter_that_another_font_has_is_set_in_it():
    """DejaVu Serif, which matplotlib brings, has U+02EF and DejaVu Sans has not."""
    assert letters.lacking("a˯") == {"˯"}
    drawing = rates(["a˯", "b"])
    _ = drawing.png
    label = drawing.figure.axes[0].get_yticklabels()[0]
    assert label.get_text() == "a˯"
    assert set(label.get_fontfamily()) > {"DejaVu Sans"}


@pytest.mark.parametrize(
    ("name", "longest", "tail", "wanted"),
    [
        ("short", 10, " (n = 5)", "s… (n = 5)"),
        ("short", 20, " (n = 5)", "short (n = 5)"),
        ("日本語の名前", 7, "", "日本語…"),
        ("a\nb\x07", 20, "", "a\\uab\\u7"),
        ("x" * 90, 34, " (n = 255)", "x" * 23 + "… (n = 255)"),
    ],
)
def test_a_name_is_cut_and_its_n_is_not(name, longest, tail, wanted):
    assert letters.short(name, longest, tail) == wanted
    assert letters.width(wanted) <= longest


def test_long_groups_keep_their_n_in_a_heat_map():
    names = ["a group with a very long name of its own " + x for x in "ab"]
    (drawing,) = figures.heat_maps(np.full((2, 3), 0.2), names, list("xyz"), "Share", tails=[" (n = 5)", " (n = 255)"])
    assert {text[-7:] for text in texts(drawing) if "a group with" in text} == {"(n = 5)", "n = 255"[-6:] + ")"}


def test_a_wide_heat_map_goes_down_the_page_and_is_never_wider_than_it():
    groups, classes = ["baby", "child", "adult"], [f"class {i}" for i in range(23)]
    (drawing,) = figures.heat_maps(np.full((3, 23), 0.04), groups, classes, "Share")
    width, height = drawing.figure.get_size_inches()
    assert width < 5 < height
    assert set(texts(drawing)) >= {*groups, *classes}
    wide = figures.heat_maps(np.full((30, 30), 0.03), classes + list("abcdefg"), [f"k{i}" for i in range(30)], "Share")
    assert len(wide) == 3
    assert all(part.figure.get_size_inches()[0] < 7.4 for part in wide)
    assert sum(text.startswith("k") for part in wide for text in texts(part)) == 30
    assert [part.alt.split(".")[0] for part in wide] == ["Share"] * 3


@pytest.mark.parametrize("make", [
    lambda: rates(["a", "b", "c"]),
    lambda: figures.differences_by_group(["a"], figures.Series("", [1], [1], [1], [""], [False]), "B - A"),
    lambda: figures.sweep_strip(["a"], [[0.0, 0.5, 1.0]], [0.0], "Rate"),
])  # fmt: skip
def test_dots_at_the_ends_are_whole(make):
    from matplotlib.collections import PathCollection

    found = [c for axes in make().figure.axes for c in axes.collections if isinstance(c, PathCollection)]
    assert found
    assert not any(c.get_clip_on() for c in found)


def test_hollow_dots_are_explained_where_there_are_any():
    for small in (True, False):
        of = figures.Series("", [0.1], [0.0], [0.2], ["1/10"], [small])
        for drawing in (figures.rates_by_group(["a"], [of], "R"), figures.differences_by_group(["a"], of, "R")):
            assert ("hollow: few images" in drawing.svg()) == small
