"""Groups come in the order of a scale, of numbers, of the bands or the design; else by name."""

import numpy as np
import pytest

from clipjax import design
from clipjax.analysis import order, rates


@pytest.mark.parametrize(
    ("values", "known", "wanted"),
    [
        (["adult", "baby", "child", "older"], (), ["baby", "child", "adult", "older"]),
        (["Adult", "", "young adult", "CHILD"], (), ["", "CHILD", "young adult", "Adult"]),
        (["dark", "light", "medium", "medium-dark", "medium-light"], (),
         ["light", "medium-light", "medium", "medium-dark", "dark"]),
        (["more than 70", "10-19", "0-2", "3-9"], (), ["0-2", "3-9", "10-19", "more than 70"]),
        ([">65", "<18", "18-65", "65-70"], (), ["<18", "18-65", "65-70", ">65"]),
        (["10", "9", "-1", "2.5"], (), ["-1", "2.5", "9", "10"]),
        (["south", "north", "east"], ("north", "east", "south"), ["north", "east", "south"]),
        (["south", "north", "west"], ("north", "east", "south"), ["north", "south", "west"]),  # not all are known
        (["child", "judge", "adult"], (), ["adult", "child", "judge"]),  # a judge is of no scale
        (["img10", "img9"], (), ["img10", "img9"]),  # a number that does not lead a name
        ([""], (), [""]),
        ([], (), []),
    ],
)  # fmt: skip
def test_places(values, known, wanted):
    for given in (values, values[::-1]):
        found = order.places(given, known)
        assert sorted(found, key=found.__getitem__) == wanted


def test_cells_count_the_same_images_in_that_order():
    rng = np.random.default_rng(0)
    age = rng.choice(np.array(["older", "child", "adult", "baby", ""], object), 300)
    tone = rng.choice(np.array(["medium", "dark", "light"], object), 300)
    found = rates.cells(("age", "tone"), {"age": age, "tone": tone}, 300)
    wanted = [(a, t) for a in ("baby", "child", "adult", "older") for t in ("light", "medium", "dark")]
    assert [tuple(group.values()) for group in found.groups] == wanted
    for g, (a, t) in enumerate(wanted):
        np.testing.assert_array_equal(found.of == g, (age == a) & (tone == t))
    assert (found.of[age == ""] == -1).all()


def test_bands_come_as_they_are_written():
    text = "life=age: young=0-2|3-9; middle = 20-29 ; last=50-59&two=age: b=0-2; a=3-9"
    assert rates.band_names(text) == {"life": ["young", "middle", "last"], "two": ["b", "a"]}
    assert rates.band_names("") == {}


def test_a_design_says_the_order_of_its_attributes(tmp_path):
    from support import planted_runs

    from clipjax.analysis.run import read_run

    classes = [design.DesignClass(name, attributes={"party": name}) for name in ("whig", "tory", "labour")]
    columns = {"party": np.array(["labour", "tory", "whig"] * 10, object), "x": np.array(["b", "a", "c"] * 10, object)}
    path = planted_runs.write(tmp_path / "run", design.Design("d", tuple(classes)), columns, np.arange(30) % 3)
    run = read_run(path)
    assert list(run.places("party")) == ["whig", "tory", "labour"]
    assert list(run.places("x")) == ["a", "b", "c"]
    run.manifest.config["bands"] = "x=party: c=whig; a=tory; b=labour"
    assert list(run.places("x")) == ["c", "a", "b"]
