"""Kills, signals, full disks and missing rights at chosen moments of every verb that writes.

After each: no file under a final name that is not whole, one line and no traceback, and the same command again ends in
the bytes of a run that nothing happened to. Here some moments of each; behind the marker `heavy` all of them.
"""

import json
import os
from pathlib import Path
from random import Random

import pytest
from support.amount import EXHAUSTIVE
from support.interrupted.commands import SCENES, Stage

KINDS = ("kill", "term", "full", "denied")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    stage = Stage(tmp_path_factory.mktemp("faults"))
    yield stage
    stage.close()
    if path := os.environ.get("CLIPJAX_FAULTS"):  # the figures of experiments/fuzzing
        Path(path).write_text(json.dumps(dict(sorted(stage.survived.items())), indent=1) + "\n")


def moments(changes, few):
    """A few of 1 .. changes, the first and the last among them."""
    return sorted({1, changes, *Random(changes).sample(range(1, changes + 1), min(few, changes))})


@pytest.mark.parametrize(
    ("number", "name"),
    [
        pytest.param(i, name, marks=[pytest.mark.exhaustive] * (name in ("convert-openai", "convert-open_clip")))
        for i, name in enumerate(name for name in SCENES if name.startswith("convert"))
    ],
)
def test_converting_survives(stage, number, name):
    """By default one moment of each kind, another for each format."""
    scene = SCENES[name]
    _, changes = stage.whole(scene)
    found = moments(changes, 1)
    for i, kind in enumerate(KINDS):
        for at in found if EXHAUSTIVE else [found[(i + number) % len(found)]]:
            stage.suffer(scene, kind, at)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("probe", "term"), ("report", "kill"), ("compare", "full"), ("prepare", "full")],
)
@pytest.mark.exhaustive  # by default tests/runs stops probes and fine-tuning in the test's own process
def test_the_others_survive(stage, name, kind):
    scene = SCENES[name]
    _, changes = stage.whole(scene)
    end = stage.suffer(scene, kind, Random(name).randrange(changes // 3, changes))
    assert end.status != 0


@pytest.mark.heavy
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_moment_of_every_verb(stage, name, kind):
    scene = SCENES[name]
    _, changes = stage.whole(scene)
    step = {"report": 7, "compare": 7, "probe": 5, "finetune": 12}.get(name, 1)  # a second or more each
    for at in range(1, changes + 1, step):
        stage.suffer(scene, kind, at)


@pytest.mark.heavy
@pytest.mark.parametrize("name", SCENES)
def test_files_that_may_not_grow(stage, name):
    """As a quota or a full disk, in the middle of a file and in the libraries that write for us."""
    scene = SCENES[name]
    largest = max(len(content) for content in stage.whole(scene)[0].values() if isinstance(content, bytes))
    for i, share in enumerate((0.02, 0.2, 0.5, 0.9, 0.99)):
        stage.suffer(scene, "limit", 2000 + i, bytes=int(largest * share))


@pytest.mark.heavy
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("kind", ["kill", "term"])
def test_signals_at_any_time(stage, name, kind):
    """Between two changes of the file system too: while a program is compiled, a thread writes, a picture is read."""
    scene, draw = SCENES[name], Random(name)
    stage.whole(scene)
    took = stage.run(scene, stage.root / f"whole-{name}").seconds
    for i in range(8):
        stage.suffer(scene, kind, 1000 + i, seconds=draw.uniform(0, took))
