"""Labels are bound to names, and to the classes that are asked in one place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipjax.classes import Naming, read_naming
from clipjax.data import info, labels
from clipjax.data.labels import Labels
from clipjax.errors import InputError


def renamed(values, text):
    return labels.read(values, "t").renamed(read_naming(text), "t")


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# reading


@pytest.mark.parametrize(
    ("values", "names", "texts"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), ["dog", "cat", "dog"]),
        (["10", "9", None], ("9", "10"), ["10", "9", ""]),
        (["1.0", "0.0", ""], ("0", "1"), ["1", "0", ""]),
        (["1.10", "1.1"], ("1.1", "1.10"), ["1.10", "1.1"]),
        (["007", "7"], ("007", "7"), ["007", "7"]),
        (["-1", "1"], ("-1", "1"), ["-1", "1"]),
        (["nan", "NA"], ("NA", "nan"), ["nan", "NA"]),
    ],
)
def test_values_are_names_as_written(values, names, texts):
    found = labels.read(values, "t")
    assert found.names == found.ids == names
    assert found.texts().tolist() == texts
    assert found.index.dtype == np.int64
    assert found.known.tolist() == [bool(text) for text in texts]


def test_declared_classes_keep_their_order_and_need_not_occur():
    found = labels.read(["dog", None, "dog"], "t", ["emu", "dog", "cat"])
    assert (found.names, found.index.tolist()) == (("emu", "dog", "cat"), [1, -1, 1])
    assert "row 1 has the label 'dgo'" in refusal(labels.read, ["dog", "dgo"], "t", ["emu", "dog"])


def test_lists_and_separated_texts_are_several_labels():
    for values in (["cat|dog", None, "dog", "cat|cat"], [("cat", "dog"), (), ("dog",), ("cat", "cat")]):
        found = labels.read(values, "t")
        assert found.several
        assert found.names == ("cat", "dog")
        assert found.present.tolist() == [[True, True], [False, False], [False, True], [True, False]]
        assert found.texts().tolist() == ["cat|dog", "", "dog", "cat"]
        assert found.known.tolist() == [True, False, True, True]
    assert labels.read(["cat|dog", "dog"], "t", separator="").names == ("cat|dog", "dog")


def test_two_labels_of_one_name_are_one_class():
    found = renamed(["0", "1", "2"], "0=cat,1=cat,2=dog")
    assert (found.names, found.index.tolist()) == (("cat", "dog"), [0, 0, 1])
    assert found.ids == ("cat", "dog")  # neither number is what the class is called


def test_a_mapping_may_name_a_part_and_no_other_label():
    found = renamed(["kitty", "dog"], "kitty=cat")
    assert (found.names, found.ids) == (("dog", "cat"), ("dog", "kitty"))
    assert "gives no name to the label '0'" in refusal(renamed, ["0", "1"], "1=dog")
    assert "'2' is not a label of t" in refusal(renamed, ["0", "1"], "0=cat,2=dog")


def test_nothing_labelled_is_refused():
    assert "t: no image has a label" in refusal(labels.read, [None, ""], "t")


# what may be bound


def test_indices_are_checked_against_their_names():
    assert "named twice" in refusal(Labels, ("cat", "cat"), [0])
    files = ["a", "b"]
    assert "label 2 (row 1, b) is outside" in refusal(Labels(("cat", "dog"), [0, 2]).check, 2, "t", files)
    assert "label -2 (row 0, a)" in refusal(Labels(("cat", "dog"), [-2, 0]).check, 2, "t", files)
    assert "2 labels for 3 files" in refusal(Labels(("cat",), [0, 0]).check, 3, "t", files)
    Labels(("cat", "dog"), [0, -1]).check(2, "t", files)


# the classes that are asked


def test_by_name_in_any_order_with_classes_that_do_not_occur():
    own = Labels(("airplane", "cat", "ship"), [0, 1, 2, -1])
    found = own.align(("ship", "fish", "cat", "airplane"), "t")
    assert (found.names, found.index.tolist()) == (("ship", "fish", "cat", "airplane"), [3, 2, 0, -1])


@given(st.permutations(["0", "1", "a", "b"]), st.lists(st.integers(-1, 3), min_size=1))
def test_aligned_labels_say_the_same(asked, index):
    own = Labels(("a", "1", "b", "0"), index)
    assert own.align(asked, "t").texts().tolist() == own.texts().tolist()
    present = np.array(index)[:, None] == np.arange(4)
    several = Labels(own.names, present=present).align(asked, "t")
    assert several.texts().tolist() == own.texts().tolist()


def test_numbers_are_positions_only_in_a_list_of_their_length():
    own = labels.read(["2", "0", "0"], "t")  # 1 does not occur
    assert own.align(("cat", "dog", "emu"), "t").texts().tolist() == ["emu", "cat", "cat"]
    for asked in (("cat", "dog"), ("cat", "dog", "emu", "owl")):
        words = refusal(own.align, asked, "t")
        assert f"{len(asked)} names by position" in words or f"{len(asked)} classes are asked" in words
        assert "--config.data.class_names=" in words
    from_one = labels.read(["1", "2"], "t")
    assert from_one.align(("cat", "dog"), "t").texts().tolist() == ["cat", "dog"]  # with a note: nothing else fits
    assert "numbers from 1 to 2" in refusal(from_one.align, ("cat", "dog", "emu", "owl"), "t")
    assert "numbers from -1 to 1" in refusal(labels.read(["-1", "1"], "t").align, ("cat", "dog"), "t")
    # the remedy
    named = renamed(["1", "2"], "1=cat,2=dog")
    assert named.align(("dog", "cat"), "t").texts().tolist() == ["cat", "dog"]


def test_numbers_that_are_names_of_classes_stay_names():
    digits = labels.read(["3", "1"], "t")
    assert digits.align(("3", "1"), "t").index.tolist() == [0, 1]


def test_wordnet_ids_are_positions_in_their_order():
    own = Labels(("n02121808", "n01440764"), [0, 1])
    assert own.align(("tench", "cat"), "t").texts().tolist() == ["cat", "tench"]
    assert "none of its 2 labels" in refusal(own.align, ("tench", "cat", "dog"), "t")
    named = Labels(("domestic cat", "tench"), [0, 1], ids=("n02121808", "n01440764"))
    assert "none of its 2 labels" in refusal(named.align, ("Tinca", "cat"), "t")  # they have names of the user's


def test_a_label_that_is_not_asked_is_refused_where_it_occurs():
    own = Labels(("cat", "dog", "owl"), [0, 1, 1])
    words = refusal(own.align, ("cat", "dgo"), "t")
    assert "label 'dog' is not among the 2 classes asked" in words
    assert 'nearest: "dgo"' in words
    assert "--config.data.class_names=dog=CLASS" in words
    own.align(("cat", "dog"), "t")  # no image shows an owl
    assert "none of its 3 labels" in refusal(own.align, ("x", "y", "z"), "t")


def test_the_remedy_for_a_label_that_is_not_asked_works():
    values = ["cat", "dog", "hot dog"]
    words = refusal(labels.read(values, "t").align, ("cat", "hound"), "t")
    assert "--config.data.class_names=dog=CLASS" in words
    merged = renamed(values, "dog=hound,hot dog=hound")
    assert merged.align(("cat", "hound"), "t").index.tolist() == [0, 1, 1]


def test_several_labels_are_aligned_and_merged():
    own = renamed(["0|2", "", "1"], "0=cat,1=cat,2=dog")
    found = own.align(("dog", "fish", "cat"), "t")
    assert found.present.tolist() == [[True, False, True], [False, False, False], [False, False, True]]
    assert "label 'dog'" in refusal(own.align, ("cat",), "t")


def test_an_aligned_list_is_names_and_no_longer_positions():
    own = labels.read(["0", "1"], "t").align(("cat", "dog"), "t")
    assert own.align(("dog", "cat"), "t").texts().tolist() == ["cat", "dog"]
    assert "none of its 2 labels" in refusal(own.align, ("x", "y"), "t")


def test_select_takes_rows_of_either_column():
    own = Labels(("cat", "dog"), [0, 1, -1], source="mine")
    assert own.select(np.array([2, 0])).index.tolist() == [-1, 0]
    assert own.select(slice(1)).source == "mine"
    assert Labels(("a", "b"), present=np.eye(2)).select(np.array([1])).present.tolist() == [[False, True]]


def test_names_of_imagenet_are_all_different():
    names = info.design("imagenet").names
    found = Naming("x", mapping=dict(zip(info.own_names("imagenet"), names, strict=True)))
    assert len(set(found.names(info.own_names("imagenet"), "t"))) == 1000


@pytest.mark.parametrize(("text", "word"), [("dog=cat", "dog=cat"), ("hot dog", '"hot dog"'), ('a"b', '"a\\"b"')])
def test_words_of_a_command_line(text, word):
    assert labels.shell_word(text) == word
