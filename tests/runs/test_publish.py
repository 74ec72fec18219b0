"""Numbers of probes for TensorBoard and Weights & Biases: every one, once, under names instead of paths."""

import re
import sys

import numpy as np
import pytest
from support import planted_runs
from support.tensorboard_events import scalars

from clipjax import design
from clipjax.analysis.records import Record
from clipjax.analysis.run import read_manifest, read_records
from clipjax.errors import InputError
from clipjax.runs import publish
from clipjax.runs.runner import Run


@pytest.fixture
def run(tmp_path):
    columns = {"race": np.array(["Black", "White"] * 50, object)}
    answers = np.random.default_rng(0).integers(0, 21, 100)
    path = planted_runs.write(tmp_path / "run", design.read_design("fairface-default"), columns, answers)
    return Run(path, "m", "csv", read_manifest(path), read_records(path, "rates"), {})


def wanted(run):
    return {f"rates/{publish.label(r)}": r.value for r in run.records if r.value is not None}


def test_a_label_names_a_record():
    r = Record(metric="rate", set="crime", group={"race": "Black"}, n=3, value=0.5)
    assert publish.label(r) == "rate[race=Black set=crime]"


def test_tensorboard_gets_every_number_once(run):
    publish.publish([run], ["tensorboard"])
    (file,) = (run.path / "tensorboard").iterdir()
    file.rename(file.with_name("events.out.tfevents.1.earlier"))  # its name is the second in which it was written
    publish.publish([run], ["tensorboard"])  # the same command again writes the same numbers, not twice as many
    found = scalars(run.path / "tensorboard")
    assert {step for step, _ in found.values()} == {0}
    clean = {re.sub(r"[^-/\w.]", "_", name): value for name, value in wanted(run).items()}  # TensorBoard's letters
    assert {name: value for name, (_, value) in found.items()} == pytest.approx(clean, rel=1e-6)  # float32


def test_weights_and_biases_gets_every_number_and_no_path(run, monkeypatch):
    calls = []

    class Logged:
        def log(self, numbers, step):
            calls.append((numbers, step))

        def finish(self):
            calls.append("finish")

    class Module:
        @staticmethod
        def init(**options):
            calls.append(options)
            return Logged()

    monkeypatch.setitem(sys.modules, "wandb", Module)
    publish.check(["wandb:clip"])
    publish.publish([run], ["wandb:clip"])
    options, logged, end = calls
    assert (logged, end) == ((wanted(run), 0), "finish")
    assert (options["project"], options["name"], options["config"]["design"]) == ("clip", "run", "fairface-default")
    assert str(run.path.parent) not in str(options["config"])


@pytest.mark.parametrize("target", ["wandb", "wandb:", "tensorboard:x", "mlflow", ""])
def test_other_targets_are_refused(target):
    with pytest.raises(InputError, match="choose tensorboard, or wandb:PROJECT"):
        publish.check([target])


def test_an_extra_that_is_missing_is_named_before_any_work(monkeypatch):
    for module, target in (("tensorboardX", "tensorboard"), ("wandb", "wandb:p")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(InputError, match="pip install 'clipjax"):
            publish.check([target])
