"""Lists of texts as people write them, and what labels are called."""

import pytest

from clipjax.classes import Naming, lines_of_file, read_classes, read_naming
from clipjax.errors import InputError
from clipjax.runs.task import templates_of


def refusal(call, *args) -> str:
    with pytest.raises(InputError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def file(tmp_path):
    def write(text, name="names.txt"):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        return str(tmp_path / name)

    return write


def test_a_list_in_one_line_or_in_a_file(file):
    marked = file("\ufeffa cat \n\n a dog\n", "names")  # with a byte order mark, as Notepad writes it
    assert read_classes("a cat, a dog") == read_classes(marked) == ["a cat", "a dog"]
    templates = file("\ufeffa photo of a {}.\n{}\n")
    assert templates_of(templates) == ("a photo of a {}.", "{}")
    assert templates_of("a photo of a {}.|{}") == ("a photo of a {}.", "{}")
    assert templates_of(("{}",)) == ("{}",)


def test_what_is_not_a_file_is_a_list(tmp_path):
    assert lines_of_file("x" * 5000, "classes") is None
    assert lines_of_file("a\0b", "classes") is None
    assert templates_of("") == ()
    assert len(read_classes(",".join(["name"] * 2000))) == 2000
    for name in ("none.txt", "none.json", "none.csv"):
        assert f"{name}: no such file of classes" in refusal(read_classes, str(tmp_path / name))


@pytest.mark.parametrize(("read", "what"), [(read_classes, "classes"), (templates_of, "templates")])
def test_a_file_that_is_not_text_is_one_line(tmp_path, read, what):
    (tmp_path / "list").write_bytes(b"a caf\xe9\n")
    assert f"list: not readable as a text file of {what}" in refusal(read, str(tmp_path / "list"))


@pytest.mark.parametrize("name", ["x.json", "x.txt", "x"])
def test_a_list_in_json(file, name):
    assert read_classes(file('["cat", " dog, brown "]', name)) == ["cat", "dog, brown"]
    assert read_classes(file('[\n  "cat",\n  "dog"\n]\n', name)) == ["cat", "dog"]
    assert read_classes(file('{"1": "dog", "0": "cat"}', name)) == ["cat", "dog"]
    assert "says what labels are called" in refusal(read_classes, file('{"kitty": "cat"}', name))
    assert "begins as JSON and is not JSON" in refusal(read_classes, file('["cat", ', name))
    assert "a list of texts" in refusal(read_classes, file('["cat", 3]', name))


def test_lines_end_at_line_feeds_only(file):
    assert read_classes(file("caf\u00e9\u2028bar\r\nb\x0bc\n")) == ["caf\u00e9\u2028bar", "b\x0bc"]


@pytest.mark.parametrize("columns", ["1\tcat\n2\thot dog", "0,cat\n1,hot dog", "0, cat\n1, hot dog"])
def test_the_second_column_of_a_numbered_file(file, columns):
    assert read_classes(file(columns)) == ["cat", "hot dog"]


def test_wordnet_ids_before_names(file):
    assert read_classes(file("n01440764 tench\nn02123045 tabby cat\n")) == ["tench", "tabby cat"]


def test_numbers_that_are_part_of_names_stay(file):
    assert read_classes(file("2 dogs\n10 cats\n")) == ["2 dogs", "10 cats"]
    assert read_classes(file("1 dog\ncats\n")) == ["1 dog", "cats"]


def test_numbers_that_may_be_either_are_refused_with_a_remedy(file):
    assert "separate the columns by a tab or comma" in refusal(read_classes, file("0 cat\n1 dog\n"))
    words = refusal(read_classes, file("1 dog\n2 dogs\n"))
    assert "may be a number and a name" in words
    assert '--config.classes="1 dog,2 dogs"' in words
    assert read_classes("1 dog,2 dogs") == ["1 dog", "2 dogs"]
    assert read_classes(file("1\tdog\n2\tdogs\n")) == ["dog", "dogs"]


# names of labels


def test_names_by_position_in_one_line_or_a_file(file):
    for given in ("cat, dog", file("cat\ndog\n"), file('["cat", "dog"]', "x.json")):
        assert read_naming(given).names(("0", "1"), "set") == ("cat", "dog")
        assert read_naming(given).names(("1", "2"), "set") == ("cat", "dog")  # counted from 1: nothing else fits
        assert "from 0 or from 1 is not known" in refusal(read_naming(given).names, ("1",), "set")
    assert read_naming("cat,dog").source == "class_names=cat,dog"
    words = refusal(read_naming("cat,dog").names, ("0", "2"), "set")
    assert "2 names by position, and set has the label 2; give 3 names, counted from 0" in words
    assert "--config.data.class_names=0=NAME,2=NAME" in words
    assert read_naming("0=cat,2=dog").names(("0", "2"), "set") == ("cat", "dog")
    assert "set has the label -1" in refusal(read_naming("cat,dog").names, ("-1", "1"), "set")
    assert read_naming("-1=no,1=yes").names(("-1", "1"), "set") == ("no", "yes")


@pytest.mark.parametrize("given", ["0=cat,1=dog", " 0 = cat , 1 = dog"])
def test_old_is_new(file, given):
    for text in (given, file(given.replace(",", "\n")), file('{"0": "cat", "1": "dog"}', "x.json")):
        naming = read_naming(text)
        assert naming.names(("1", "0"), "set") == ("dog", "cat")
    assert read_naming("a=x").names(("a", "b"), "set") == ("x", "b")
    assert read_naming("a=x,c=y").names(("a",), "set") == ("x",)  # a class that this part does not have
    assert "'c' is not a label of set" in refusal(read_naming("a=x,c=y").names, ("a", "b"), "set")
    assert read_naming("a=,b=x").names(("a", "b"), "set") == ("", "x")  # an image with the label a has none
    for wrong in ("=x", "a=x,a=y"):
        assert "OLD=NEW" in refusal(read_naming, wrong)


@pytest.mark.parametrize("separator", ["\t", ",", " "])
def test_two_columns(file, separator):
    lines = file("".join(f"{old}{separator}{new}\n" for old, new in (("n01", "tench"), ("n02", "great white shark"))))
    assert read_naming(lines).names(("n02", "n01"), "set") == ("great white shark", "tench")
    assert read_naming(lines).names(("n02",), "set") == ("great white shark",)


def test_names_for_text_labels_need_the_labels_beside_them():
    assert Naming("f", ("dog", "cat")).names(("cat",), "set") == ("cat",)  # the labels are names already
    words = refusal(Naming("f", ("dog", "cat")).names, ("c1", "c2"), "set")
    assert "write one OLD=NEW a line" in words
    assert Naming("f", ("tench", "cat")).names(("n02121808", "n01440764"), "set") == ("cat", "tench")  # WordNet ids


def test_an_empty_file_of_names_is_refused(file):
    assert "holds no names" in refusal(read_naming, file("\n\n"))


def test_names_that_count_from_one():
    """Only where a list counted from 0 does not fit; where both may be meant, neither is taken."""
    assert read_naming("cat,dog").names(("1", "2"), "set") == ("cat", "dog")
    assert "from 0 or from 1" in refusal(read_naming("cat,dog,ship").names, ("1", "2"), "set")
    assert read_naming("cat,dog,ship").names(("2",), "set") == ("ship",)
    assert read_naming("stop,turn").names(("00", "01"), "set") == ("stop", "turn")


def test_a_header_above_wordnet_ids_is_no_class(file):
    assert read_classes(file("wnid,name\nn01440764,tench\nn02123045,tabby\n", "names.csv")) == ["tench", "tabby"]
