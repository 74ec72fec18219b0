"""Lines of text files, in the one way that all verbs share."""

import pytest

from clipjax.classes import read_classes
from clipjax.cli.embed import _read_lines
from clipjax.data import annotations
from clipjax.errors import InputError
from clipjax.files import lines
from clipjax.image import find_images


def test_lines_end_at_line_feeds_and_nowhere_else():
    inside = "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i\rj"
    assert lines(f"{inside}\n\nx\r\ny") == [inside, "", "x", "y"]
    assert lines("") == []
    assert lines("\n") == [""]
    assert lines("a") == lines("a\n") == lines("a\r\n") == lines("a\r") == ["a"]


def test_old_macs_are_one_line():
    with pytest.raises(InputError, match=r"a b: lines end at carriage returns alone; .*tr .* < 'a b' > FILE"):
        lines("cat\rdog", "a b")


@pytest.mark.parametrize("read", [read_classes, _read_lines, annotations.read_lines])
def test_every_reader_of_texts_keeps_a_line_whole(tmp_path, read):
    path = tmp_path / "list"
    path.write_bytes("\ufeffa\u2028b\x85c\r\nd\x0be\n".encode())
    argument = path if read is annotations.read_lines else str(path)
    assert read(argument) == ["a\u2028b\x85c", "d\x0be"]
    path.write_bytes(b"cat\rdog\r")
    with pytest.raises(InputError, match="carriage returns alone"):
        read(argument)


def test_a_list_of_files_keeps_a_line_whole(tmp_path):
    (tmp_path / "a\u2028b.png").write_bytes(b"")
    (tmp_path / "list.txt").write_text("a\u2028b.png\n", encoding="utf-8")
    assert [path.name for path in find_images(tmp_path / "list.txt")] == ["a\u2028b.png"]
