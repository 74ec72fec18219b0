"""The page of a training run: what its first lines say."""

from pathlib import Path

import pytest

from clipjax.analysis.report import training
from clipjax.analysis.training import TrainingRun


@pytest.mark.parametrize(("epochs", "asked"), [(3.0, "3 epochs"), (0.0, "1000 steps")])
def test_what_an_unfinished_run_was_asked_for(epochs, asked):
    """With `epochs`, the `steps` of the config are not read."""
    config = {"epochs": epochs, "steps": 1000, "batch_size": 8, "model": "tiny", "loss": "softmax"}
    events = [{"stage": "train", "step": 5, "epoch": 1.5, "loss": 2.0}]
    said = training.terminal(TrainingRun(Path("run"), config, {}, events))
    assert f"The run is not finished: 5 steps are made, of {asked}." in said
