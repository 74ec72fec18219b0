"""Where numbers go: a log that a kill cannot spoil and a resumed run does not contradict."""

import json
import sys

import pytest
from support.tensorboard_events import scalars

from clipjax import stored
from clipjax.errors import InputError
from clipjax.train import writers


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_of_a_lost_continuation_are_dropped(tmp_path):
    log = tmp_path / "log.jsonl"
    first = writers.Writer(log, 0)
    for step in (2, 4, 6):
        first.write("train", step, {"loss": 1 / step})
    with open(log, "ab") as file:
        file.write(b'{"stage": "train", "st')  # killed in the middle of a line
    second = writers.Writer(log, 4)
    second.write("train", 6, {"loss": float("nan")})
    assert [(e["step"], e["loss"]) for e in lines(log)] == [(2, 0.5), (4, 0.25), (6, None)]
    assert [e["step"] for e in stored.events(log)] == [2, 4, 6]


def test_a_host_that_does_not_write_writes_nothing(tmp_path):
    writer = writers.Writer(None, 0, tmp_path / "board")
    writer.write("train", 1, {"loss": 1.0})
    writer.close()
    assert not list(tmp_path.iterdir())


def test_tensorboard_gets_every_number(tmp_path):
    writer = writers.Writer(tmp_path / "log.jsonl", 0, tmp_path / "board")
    writer.write("train", 3, {"loss": 0.125, "files": ["a"]})
    writer.close()
    assert scalars(tmp_path / "board") == {"train/loss": (3, 0.125)}


@pytest.mark.parametrize(
    ("module", "given"), [("tensorboardX", {"tensorboard": "board"}), ("wandb", {"wandb": {"project": "p"}})]
)
def test_an_extra_that_is_missing_is_named(tmp_path, monkeypatch, module, given):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match="pip install 'clipjax"):
        writers.Writer(tmp_path / "log.jsonl", 0, **given)


def test_weights_and_biases_gets_every_number_under_one_id(tmp_path, monkeypatch):
    """Its module is not part of the test environment: what it is asked for is what is held here."""
    calls = []

    class Run:
        def log(self, numbers, step):
            calls.append((numbers, step))

        def finish(self):
            calls.append("finish")

    class Module:
        @staticmethod
        def init(**options):
            calls.append(options)
            return Run()

    monkeypatch.setitem(sys.modules, "wandb", Module)
    writer = writers.Writer(tmp_path / "log.jsonl", 0, wandb={"project": "p", "id": "x"})
    writer.write("train", 2, {"loss": 0.5})
    writer.close()
    assert calls == [{"resume": "allow", "project": "p", "id": "x"}, ({"train/loss": 0.5}, 2), "finish"]


def test_a_damaged_log_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_text("what\n")
    with pytest.raises(InputError, match="is not JSON"):
        writers.Writer(tmp_path / "log.jsonl", 0)
