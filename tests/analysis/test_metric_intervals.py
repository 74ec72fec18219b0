"""experiments/metric_intervals: every interval of its table is measured by the code that is there."""

import csv
import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "metric_intervals"


@pytest.mark.exhaustive
def test_the_quick_form_measures_what_the_table_has(capsys):
    spec = importlib.util.spec_from_file_location("metric_intervals_run", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {row.interval for row in module.main(quick=True)}
    capsys.readouterr()
    with open(FOLDER / "coverage.csv", newline="") as file:
        kept = list(csv.DictReader(file))
    assert found == {row["interval"] for row in kept}
    assert all(0 <= float(row["share"]) <= 1 and float(row["error"]) < 0.035 for row in kept)
