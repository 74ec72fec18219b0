"""docs/promises.md and SECURITY.md speak of tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("docs/promises.md", "SECURITY.md", "experiments/fuzzing/README.md")
NAMED = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")


def missing(text: str) -> list[str]:
    """What a page names and the tests do not have."""
    out = []
    for file, test in NAMED.findall(text):
        path = ROOT / file
        if not path.is_file():
            out.append(file)
        elif test and test not in {n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)}:
            out.append(f"{file}::{test}")
    return out


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page):
    assert missing((ROOT / page).read_text(encoding="utf-8")) == []


def test_a_test_that_does_not_exist_is_noticed():
    there = "tests/docs/test_promises.py::test_a_test_that_does_not_exist_is_noticed"
    assert missing(f"`{there}`, `{there}_not`, `tests/no.py`") == [f"{there}_not", "tests/no.py"]


def test_every_promise_has_a_test():
    rows = [line for line in (ROOT / "docs" / "promises.md").read_text().splitlines() if line.startswith("| ")]
    assert len(rows) > 30
    for row in rows:
        promise, held, *shown = (cell.strip() for cell in row.strip("|").split(" | "))
        assert promise == "promise" or NAMED.search(held), row
        assert not "".join(shown).isupper(), f"a figure that is still to come: {row}"
