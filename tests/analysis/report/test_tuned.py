"""Before against after on a panel's page."""

import numpy as np
import pytest

from clipjax.analysis import panel
from clipjax.analysis.records import Question
from clipjax.analysis.report import tuned

ASKED = Question("accuracy", "top1")


@pytest.mark.parametrize("models", [["old", "new"], ["new", "old"]])
def test_differences_are_after_minus_before_wherever_the_models_stand(models):
    """12 of 40 images right before, 25 after: 1 lost, 14 gained."""
    right = {"old": np.arange(40) < 12, "new": (np.arange(40) > 0) & (np.arange(40) < 26)}
    pairs = panel.adjusted(panel.paired(("birds", "photos"), ASKED, models, np.stack([right[m] for m in models]), 0.95))
    found = panel.Panel([], [], models, [("birds", "photos")], [], [], pairs, [], None, [], 0.95)
    section = tuned._before_and_after(found, {"new": "old"})
    (row,) = section.tables[0].rows
    assert row[:6] == ["new", "photos", "birds", "accuracy", "30.0 (12/40)", "62.5 (25/40)"]
    assert row[6].startswith("32.5 [")
    assert row[7:9] == [1, 14]
    assert row[-1] == "yes"
    assert tuned._before_and_after(found, {"new": "another"}) is None
