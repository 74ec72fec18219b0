"""Reliability diagram and risk-coverage curve of a run: what they draw is what the records and predictions say."""

from pathlib import Path

import msgspec
import numpy as np

from clipjax import design
from clipjax.analysis import calibration, selective
from clipjax.analysis.manifest import Manifest, Settings
from clipjax.analysis.records import Record
from clipjax.analysis.report import sections, zeroshot
from clipjax.analysis.run import Run

ASKED = design.of_classes(["cat", "dog"], source="here")


def run_of(bins):
    """A run in memory whose answers are right as often as they say; one image has no label."""
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1, 301)
    right = generator.random(301) < confidence
    names = np.array(ASKED.names, object)
    label = np.where(right, names[0], names[1])
    label[-1] = ""
    records = [Record(metric="top1", group={}, n=300, value=float(right[:-1].mean()))]
    if bins:
        records += calibration.curve_of(confidence[:-1], right[:-1], bins)
    manifest = msgspec.convert({
        "config": {"probe": "zeroshot"}, "precision": "float32", "design": ASKED.manifest(),
        "model": {"name": "m", "weights_sha256": "0" * 64, "config": {}, "logit_scale": 100.0},
        "data": {"name": "d", "fingerprint": "f" * 64, "n": 301, "group_columns": []},
        "counts": {"seen": 301, "skipped": 0, "skipped_files": []},
    }, Manifest)  # fmt: skip
    found = Run(Path("nowhere"), manifest, Settings("zeroshot"), records)
    prediction = np.full(301, names[0], object)
    vars(found)["predictions"] = {"label": label, "prediction": prediction, "probability": confidence}
    return found, selective.risk_coverage(confidence[:-1], right[:-1])


def test_drawings_say_what_the_numbers_say():
    run, curve = run_of(15)
    numbers, confidence = zeroshot.sections([run])
    assert numbers.title == "Numbers"
    assert set(confidence.drawings) == {"reliability", "risk_coverage"}
    bins = [r for r in run.records if r.metric == "reliability"]
    alt = confidence.drawings["reliability"][0].alt
    assert all(f"{100 * r.confidence:.1f}: {100 * r.accuracy:.1f} of {r.n}" in alt for r in bins)
    assert [row[1] for row in confidence.tables[0].rows] == [r.n for r in bins]
    assert f"{100 * curve.risk[-1]:.1f} of all" in confidence.drawings["risk_coverage"][0].alt
    assert "<svg" in confidence.drawings["reliability"][0].svg()


def test_a_linear_probe_has_the_diagram_of_its_records():
    run, _ = run_of(15)
    del run.predictions["probability"]
    linear = run.with_columns({}, settings=Settings("linear"))
    (section,) = (one for one in sections([linear]) if one.title == zeroshot.CONFIDENCE)
    assert set(section.drawings) == {"reliability"}


def test_a_run_without_scored_confidences_has_no_such_section():
    assert [section.title for section in zeroshot.sections([run_of(0)[0]])] == ["Numbers"]
    several = zeroshot.sections([run_of(15)[0], run_of(0)[0]])
    assert several[-1].title == zeroshot.CONFIDENCE
    assert len(several[-1].tables) == 1
