"""What the labels of a source are called: by the user, by a list beside the data, by ImageNet's list, in this order."""

import json

import pytest

from clipjax.data import naming
from clipjax.errors import InputError


def names(values, given="", places=()):
    found = naming.labels(values, "set", given, places)
    return found.texts().tolist()


@pytest.mark.parametrize("beside", naming.BESIDE)
def test_a_list_beside_the_data_names_numbers(tmp_path, capsys, beside):
    (tmp_path / beside).write_text('["dog", "cat"]' if beside.endswith("json") else "dog\ncat\n")
    assert names(["1", "0"], places=[tmp_path / "nowhere", tmp_path]) == ["cat", "dog"]
    assert capsys.readouterr().err.startswith(f"note: set: labels are named by {tmp_path / beside}")


def test_the_first_place_and_the_user_come_first(tmp_path):
    for folder, text in (("a", "dog\ncat\n"), ("b", "x\ny\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "classnames.txt").write_text(text)
    places = [tmp_path / "a", tmp_path / "b"]
    assert names(["1", "0"], places=places) == ["cat", "dog"]
    assert names(["1", "0"], given="p,q", places=places) == ["q", "p"]
    assert names(["1", "0"], given=str(tmp_path / "b/classnames.txt"), places=places) == ["y", "x"]


def test_labels_of_one_name_are_one_class_and_that_is_said(tmp_path, capsys):
    (tmp_path / "classnames.txt").write_text("crane\nmissile\nmissile\n")
    assert names(["0", "2", "1"], places=[tmp_path]) == ["crane", "missile", "missile"]
    assert "several labels are called 'missile'" in capsys.readouterr().err
    assert names(["0", "1"], "0=x,1=x") == ["x", "x"]
    assert "several labels are called 'x'" in capsys.readouterr().err


def test_a_list_that_is_too_short_for_numbers_is_refused(tmp_path):
    (tmp_path / "classnames.txt").write_text("dog\ncat\n")
    with pytest.raises(InputError, match=r"classnames\.txt: 2 names by position, and set has the label 2"):
        names(["0", "2"], places=[tmp_path])
    with pytest.raises(InputError, match=r"the label -1; .*--config\.data\.class_names=FILE"):
        names(["-1", "1"], places=[tmp_path])
    (tmp_path / "own.txt").write_text("-1=no\n1=yes\n")
    assert names(["-1", "1"], str(tmp_path / "own.txt"), places=[tmp_path]) == ["no", "yes"]


def test_a_list_of_something_else_beside_text_labels_is_left_aside(tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    assert names(["dog", "cat"], places=[tmp_path]) == ["dog", "cat"]
    assert "labels.txt is not used" in capsys.readouterr().err


def test_a_list_that_repeats_the_labels_changes_nothing(tmp_path, capsys):
    (tmp_path / "classes.txt").write_text("dog\ncat\nowl\n")
    assert names(["dog", "cat"], places=[tmp_path]) == ["dog", "cat"]
    assert capsys.readouterr().err == ""


def test_wordnet_ids_are_named_by_imagenets_list(tmp_path, capsys):
    assert names(["n02123045", "n01440764"]) == ["tabby cat", "tench"]
    assert naming.IMAGENET in capsys.readouterr().err
    assert names(["n02123045", "n00000001"]) == ["n02123045", "n00000001"]  # of ImageNet-21k: nothing is half named
    (tmp_path / "classes.json").write_text(json.dumps({"n02123045": "tabby", "n01440764": "Tinca"}))
    assert names(["n02123045", "n01440764"], places=[tmp_path]) == ["tabby", "Tinca"]


def test_two_columns_beside_folders(tmp_path):
    (tmp_path / "classnames.txt").write_text("n01440764 tench fish\nn02123045 tabby\nn02123159 tiger cat\n")
    assert names(["n02123045", "n01440764"], places=[tmp_path]) == ["tabby", "tench fish"]
    assert naming.labels(["n01440764"], "set", "", [tmp_path]).source == str(tmp_path / "classnames.txt")
