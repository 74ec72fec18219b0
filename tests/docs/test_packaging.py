"""What a wheel and a source archive hold, from the build backend itself; versions and citation agree."""

import re
import subprocess
import tomllib

import pytest
import yaml
from support.docs_blocks import ROOT

import clipjax

hatchling = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel (extra [dev])")


def listed(builder) -> set[str]:
    return {file.distribution_path for file in builder.recurse_included_files()}


@pytest.fixture(scope="module")
def wheel():
    builder = hatchling.WheelBuilder(str(ROOT))
    files = listed(builder)
    for source, target in builder.config.force_include.items():
        folder = ROOT / source
        files |= {f"{target}/{p.relative_to(folder)}" for p in folder.rglob("*") if p.is_file()}
    return files


def tracked(folder: str) -> set[str]:
    """Files that git knows below a folder."""
    done = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return set(done.stdout.splitlines())


def test_a_wheel_holds_every_module_asset_and_config(wheel):
    for package in ("clipjax", "checkpoints_convert"):
        assert tracked(package) - wheel == set()
    assert {f"clipjax/{file}" for file in tracked("configs")} - wheel == set()
    for file in ("clipjax/assets/emoji-clip.safetensors", "clipjax/text/vocabulary.txt.gz", "clipjax/py.typed",
                 "checkpoints_convert/py.typed", "clipjax/configs/designs/people-roles.yaml"):  # fmt: skip
        assert file in wheel, file


def test_a_wheel_holds_nothing_else(wheel):
    assert {file.split("/")[0] for file in wheel} == {"clipjax", "checkpoints_convert"}
    assert not [file for file in wheel if "__pycache__" in file and file in tracked(".")]


def test_a_source_archive_holds_what_a_build_needs():
    from hatchling.builders.sdist import SdistBuilder

    files = listed(SdistBuilder(str(ROOT)))
    assert {"mkdocs.yml", "CHANGELOG.md"} <= files  # pyproject.toml, README and licences are always added
    assert tracked("clipjax") | tracked("configs") | tracked("docs") <= files
    assert not [file for file in files if file.startswith(".") and file != ".gitignore"]


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == clipjax.__version__ == citation["version"]
    assert f"## {clipjax.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert {"cff-version", "message", "title", "authors", "license"} <= citation.keys()


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f" {page.relative_to(ROOT / 'docs')}\n" in text, page


def test_issue_forms_are_forms():
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        found = yaml.safe_load(form.read_text())
        if form.stem != "config":
            assert {"name", "description", "body"} <= found.keys()
            assert len({part["id"] for part in found["body"]}) == len(found["body"])


def test_every_dependency_has_a_row():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in project["dependencies"]:
        assert f"| {re.split('[<>=]', requirement)[0]} |" in page, requirement
