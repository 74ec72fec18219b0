"""A small run in units: a model of one block, 41 images, and what `clipjax probe` makes of them."""

import os
from pathlib import Path

import pytest

from clipjax.runs import config
from clipjax.runs.engine import Engines
from clipjax.runs.shards import plan, seal, work
from clipjax.runs.shards.store import Store

# Files whose bytes depend on the images and the plan alone, whoever worked on them.
RESULTS = ("metrics.json", "predictions.parquet", "shards.parquet", "tables/metrics.csv")


DESIGN = """
name: pets
classes:
  - {name: cat, sets: [pet]}
  - {name: dog, sets: [pet]}
  - {name: fish, sets: [water]}
"""


@pytest.fixture(scope="session")
def pets(tmp_path_factory):
    """The override that names a design with two sets."""
    path = tmp_path_factory.mktemp("design") / "pets.yaml"
    path.write_text(DESIGN)
    return f"--config.design={path}"


@pytest.fixture(scope="session")
def table(world, tmp_path_factory):
    """The world's images as a table with groups and labels."""
    path = tmp_path_factory.mktemp("table") / "people.csv"
    images = sorted((world / "photos").rglob("*.jpg"))
    ages, people = ("0-9", "10-19", ""), ("F", "M")
    lines = [f"{one},{one.parent.name},{ages[i % 3]},{people[i * 7 % 2]}" for i, one in enumerate(images)]
    path.write_text("\n".join(["file,animal,age,who", *lines]) + "\n")
    return (
        "--config.data.source=csv", f"--config.data.csv={path}", "--config.data.label_column=animal",
        "--config.data.group_columns=age,who", "--config.classes=cat,dog,fish",
    )  # fmt: skip


@pytest.fixture(scope="session")
def engines():
    return Engines()


@pytest.fixture(autouse=True, scope="module")
def quiet(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CLIPJAX_QUIET", "1")
        patched.setenv("CLIPJAX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session")
def asked(world):
    """asked("--config.KEY=VALUE", ..., probe="zeroshot") -> the config over the world's images."""

    def of(*overrides, probe="zeroshot"):
        given = [f"--config.model={world}/tiny.safetensors", "--config.batch_size=2"]
        if not any("data.source" in word for word in overrides):
            given.append(f"--config.data.path={world}/photos")
        return config.load(probe, [*given, *overrides])

    return of


@pytest.fixture(scope="session")
def planned(asked, engines):
    """planned(place, *overrides, probe=..., rows=7, ...) -> the store of a new plan."""

    def of(place, *overrides, probe="zeroshot", **options):
        store = Store(place)
        files = any(word.endswith(("=webdataset", "=parquet")) for word in overrides)
        options = options if files else {"rows": 7} | options
        plan.make(asked(*overrides, probe=probe), store, plan.Options(**options), engines)
        return store

    return of


@pytest.fixture(scope="session")
def done(planned, engines):
    """As `planned`, worked on by one worker and sealed."""

    def of(place, *overrides, **options):
        store = planned(place, *overrides, **options)
        work.work(store, work.Worker(0, 1), engines)
        seal.seal(store)
        return store

    return of


def results(store, names=RESULTS):
    return {name: store.read(name) for name in names}


def files(store):
    """Every file of a run on a disk but markers and the log, with its bytes."""
    root = Path(store.place)
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not {"done", "failed"} & set(path.parts) and path.name not in ("log.jsonl",)
    }


def listed(store, folder):
    return sorted(os.listdir(Path(store.place) / folder))


def sealed_again(store, engines):
    """The one unit that failed is tried again and done, and the run sealed."""
    for name in store.names("failed"):
        store.remove(f"failed/{name}")
    assert work.work(store, work.Worker(0, 1), engines) == 1
    seal.seal(store)
