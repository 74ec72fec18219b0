"""What the pages list by hand is what there is: kinds of sources, data sets, and the tests that an addition runs."""

import re

import pytest
from support.docs_blocks import ROOT

from clipjax.data import catalog
from clipjax.runs.data import kind_names


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", kind_names())
def test_a_kind_of_source_is_on_its_pages(kind):
    assert re.search(rf"^\|.+\| `{kind}`.*\|.+\|$", page("docs/data.md"), re.MULTILINE), "no row in docs/data.md"
    assert f"::: clipjax.data.kinds.{kind}\n" in page("docs/reference/data.md"), "no line in docs/reference/data.md"


@pytest.mark.parametrize(("name", "sentence"), [
    ("README.md", r"accuracy on (\d+) known data sets"),
    ("docs/probes.md", r"`clipjax datasets` lists (\d+) data sets"),
])  # fmt: skip
def test_pages_state_the_number_of_data_sets(name, sentence):
    found = re.search(sentence, page(name))
    assert found, "the sentence was changed: change it here, too"
    assert int(found[1]) == len(catalog.names())


@pytest.mark.parametrize("key", catalog.names())
def test_a_data_set_is_read_in_a_test(key):
    tests = (path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "data" / "sets").glob("test_*.py"))
    assert any(re.search(rf"\b{key}\b", text) for text in tests), "no test in tests/data/sets names it"


def test_the_files_of_the_page_on_additions_exist():
    text = page("docs/extend.md")
    places = set(re.findall(r"`((?:clipjax|tests|configs|experiments|docs)/[\w./]+)`", text))
    assert len(places) > 20
    assert [place for place in sorted(places) if not re.search("[A-Z]{3}", place) and not (ROOT / place).exists()] == []
