"""A small study that was probed: the embedded model, every fifth of the embedded drawings, and finished runs."""

import contextlib
import csv

import pytest
from support.explored import Page

from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.demo import people
from clipjax.explore.opened import open_run

DESIGN = """
name: mine
templates: ["a photo of a {}.", "a drawing of a {}."]
classes:
  - {name: man, sets: [person], gender: male}
  - {name: woman, sets: [person], gender: female}
  - {name: judge, sets: [person, job]}
  - {name: cook, sets: [person, job]}
  - {name: elf, sets: [fantasy]}
  - {name: ghost, prompt: "a ghost", sets: [fantasy]}
"""


class Study:
    """`root` holds the drawings, their table and the design; `probe` runs a probe over them."""

    def __init__(self, root):
        self.root = root
        self.runs = 0

    def probe(self, config, *extra, design="mine.yaml", groups="age,skin_tone,gender"):
        self.runs += 1
        out = self.root / f"run{self.runs}"
        words = [
            "probe", config, f"--config.data.csv={self.root / 'people.csv'}", "--config.batch_size=4", f"--out={out}",
            f"--config.data.path={self.root / 'people'}", f"--config.data.group_columns={groups}",
        ]  # fmt: skip
        words += [f"--config.design={self.root / design}"] if design else []
        assert main([*words, *extra]) == 0
        return out


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("explored")
    listing = people.unpack(root / "people")
    with open(listing, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name, kept in (("all.csv", rows), ("people.csv", rows[::5])):
        with open(root / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(kept)
    (root / "mine.yaml").write_text(DESIGN)
    return Study(root)


@pytest.fixture(scope="session")
def in_cache(study):
    """A context in which features are kept in the study's own cache, and nothing is fetched."""

    @contextlib.contextmanager
    def kept():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CLIPJAX_CACHE", str(study.root / "cache"))
            patch.setenv("CLIPJAX_OFFLINE", "1")
            yield study.root / "cache"

    return kept


@pytest.fixture(autouse=True)
def cache(in_cache):
    with in_cache() as folder:
        yield folder


@pytest.fixture(scope="session")
def run(study, in_cache):
    """The run of `mine.yaml`."""
    with in_cache():
        return study.probe("rates")


@pytest.fixture(scope="session")
def opened(run, in_cache):
    """The run opened, as `clipjax explore` does it."""
    with in_cache():
        return open_run(read_run(run))


@pytest.fixture(scope="session")
def shared(in_cache, opened):
    """One page for the tests that only ask."""
    with in_cache():
        return Page(opened)


@pytest.fixture
def page(shared):
    shared.ask("images", on=False)
    return shared


@pytest.fixture
def fresh(opened):
    return Page(opened)


@pytest.fixture
def mine(page):
    """The run's own design, as the page holds it."""
    return page.ask("start")["design"]
