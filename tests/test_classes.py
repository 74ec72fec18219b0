"""Lists of texts as people write them: in one line, or one a line in a file."""

import pytest

from clipjax.classes import lines_of_file, read_classes
from clipjax.errors import InputError
from clipjax.runs.task import templates_of


def test_a_list_in_one_line_or_in_a_file(tmp_path):
    file = tmp_path / "names"
    file.write_text("\ufeffa cat \n\n a dog\n", encoding="utf-8")  # with a byte order mark, as Notepad writes it
    assert read_classes("a cat, a dog") == read_classes(str(file)) == ["a cat", "a dog"]
    file.write_text("\ufeffa photo of a {}.\n{}\n", encoding="utf-8")
    assert templates_of(str(file)) == ("a photo of a {}.", "{}")
    assert templates_of("a photo of a {}.|{}") == ("a photo of a {}.", "{}")
    assert templates_of(("{}",)) == ("{}",)


def test_what_is_no_file_is_a_list(tmp_path):
    assert lines_of_file("x" * 5000, "classes") is None
    assert lines_of_file("a\0b", "classes") is None
    assert templates_of("") == ()
    assert len(read_classes(",".join(["name"] * 2000))) == 2000
    with pytest.raises(InputError, match=r"none\.txt: no such file of classes"):
        read_classes(str(tmp_path / "none.txt"))


@pytest.mark.parametrize(("read", "what"), [(read_classes, "classes"), (templates_of, "templates")])
def test_a_file_that_is_no_text_is_one_line(tmp_path, read, what):
    (tmp_path / "list").write_bytes(b"a caf\xe9\n")
    with pytest.raises(InputError, match=f"list: not readable as a text file of {what}"):
        read(str(tmp_path / "list"))
