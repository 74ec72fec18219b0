"""docs/reference/files.md names every file that the demo's commands, a report and a comparison write."""

import re
from pathlib import Path

import pytest
from support.docs_blocks import ROOT

from clipjax.analysis.records import Finding, PairedRecord, Record
from clipjax.cli.main import main

TEXT = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)))


def is_named(path: Path) -> bool:
    """Whether the page has the file, or the pattern that it follows."""
    return bool({path.as_posix(), f"{path.parent.as_posix()}/NAME{path.suffix}"} & NAMED)


@pytest.fixture(scope="module")
def written(demo_run, tmp_path_factory):
    """Folder of a run with its report, of a report of two runs, of a comparison."""
    root = demo_run[0] / "clipjax-demo"
    two = tmp_path_factory.mktemp("two")
    assert main(["report", str(root / "people-roles"), str(root / "people-roles-child"), f"--out={two}"]) == 0
    return [root / "people-roles", two, root / "comparison"]


def test_every_file_is_named(written):
    found = {p.relative_to(folder) for folder in written for p in folder.rglob("*") if p.is_file()}
    assert len(found) > 60
    assert {str(path) for path in found if not is_named(path)} == set()


def test_the_check_sees_a_file_that_is_not_named():
    assert is_named(Path("tables/rates_by_age.csv"))
    assert not is_named(Path("tables/rates_by_age.xlsx"))
    assert not is_named(Path("other.json"))


def test_every_file_of_the_demo_is_named(demo_run):
    for path in (demo_run[0] / "clipjax-demo").iterdir():
        assert {path.name, f"{path.name}/"} & NAMED, path


@pytest.mark.parametrize("kind", [Finding])
def test_every_field_of_a_finding_is_explained(kind):
    assert set(kind.__struct_fields__) <= NAMED


def test_every_number_of_a_record_is_explained():
    fields = {
        "metric",
        "set",
        "group",
        "k",
        "n",
        "value",
        "low",
        "high",
        "level",
        "method",
        "small",
        "smallest",
        "largest",
    }
    assert fields <= NAMED & set(Record.__struct_fields__)
    paired = {"rate_method", "only_a", "only_b", "tests", "asked", "testable"}
    assert paired <= NAMED & set(PairedRecord.__struct_fields__)
