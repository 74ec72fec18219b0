"""A run opened for other class designs: its image features from the cache, its groups, its own design."""

from __future__ import annotations

import dataclasses

import numpy as np
from msgspec import UNSET

from clipjax import loading
from clipjax.analysis import rates
from clipjax.analysis.compare import MOST_VALUES
from clipjax.analysis.run import INGESTED_FEATURES, Run
from clipjax.cache import read_features
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.explore import sealed
from clipjax.probes import zeroshot
from clipjax.runs import feature_files
from clipjax.runs.cache_keys import cache_root, images_folder, images_of
from clipjax.runs.config import ProbeConfig, typed
from clipjax.runs.feature_files import Given

PROBES = ("rates", "labels", "zeroshot")
PAPER_THRESHOLDS = (0.005, 0.04)
MOST_GROUPINGS = 64  # kept sorted out: 4 bytes an image each


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
    """Unit image features [N, E] of the run's images, the rows of the source they are, columns to group by [N].

    `thresholds`, `contrast` and `sides` are those of a run of labels; for other runs the paper's thresholds, and two
    values of a column. Of a run whose features were ingested, `given` are these, and the config is not that of a probe.
    `note`: what a reader has to know of the images.
    """

    run: Run
    config: ProbeConfig | None
    design: Design
    unit: np.ndarray
    rows: np.ndarray
    columns: dict[str, np.ndarray]
    method: rates.Method
    thresholds: tuple[float, ...]
    contrast: str
    sides: tuple[str, ...]
    given: Given | None = None
    note: str = ""
    _cells: dict[tuple[str, ...], rates.Cells] = dataclasses.field(default_factory=dict)

    def cells(self, grouping: tuple[str, ...]) -> rates.Cells:
        """As `rates.cells`, sorted out once."""
        if grouping not in self._cells:
            if len(self._cells) >= MOST_GROUPINGS:
                self._cells.clear()
            if len(grouping) == 2:
                found = _crossed(*(self.cells((name,)) for name in grouping))
            else:
                found = rates.cells(grouping, self.columns, len(self.unit))
            self._cells[grouping] = rates.Cells(found.groups, found.of.astype(np.int32))
        return self._cells[grouping]

    @property
    def asked(self) -> tuple[str, ...]:
        """The columns whose groups are compared: those of the run's own records, or all group columns of its table."""
        own = dict.fromkeys(g[0] for g in self._own if len(g) == 1) if self._own else self.run.columns
        return tuple(name for name in own if name in self.columns)

    @property
    def scale(self) -> float:
        """exp(logit_scale) of the run's model."""
        return self.run.manifest.model.logit_scale

    @property
    def bias(self) -> float | None:
        """logit_bias, where the run has a probability of each class by itself."""
        bias = self.run.manifest.model.logit_bias
        return bias if bias is not UNSET and self.run.manifest.result.probability == "sigmoid" else None

    @property
    def grouped(self) -> list[tuple[str, ...]]:
        """The run's own groupings, then each column of its table that these leave out."""
        found = [g for g in self._own if all(name in self.columns for name in g)]
        return list(dict.fromkeys([(), *found, *((name,) for name in self.columns)]))

    @property
    def _own(self) -> list[tuple[str, ...]]:
        """The groupings of the run's records; none where it does not say."""
        return [tuple(part for part in text.split("*") if part) for text in self.run.manifest.result.groups or ()]


def open_run(run: Run) -> Opened:
    """InputError where the run has no design, its features are gone, or its model's weights are not at hand.

    A run of `clipjax ingest` has its features beside it, if it was made of features.
    """
    if run.probe not in PROBES:
        raise InputError(
            f"{run.path}: a run of {run.probe} has no class design to change; explore one of {', '.join(PROBES)} (as "
            "`clipjax probe fairface`, `congress` or `rates` make them)"
        )
    config: ProbeConfig | None = None
    given: Given | None = None
    note = ""
    if run.manifest.computed_by:
        given = _given(run)
        unit, rows = zeroshot.normalise(given.image_features), np.arange(len(given.image_features))
    else:
        config = _config(run)
        if run.manifest.config.get("project", {}).get("prompts"):
            raise InputError(f"{run.path}: its class texts are projected (project.prompts); explore the run without it")
        if sealed.is_sealed(run):
            run, values, rows, note = sealed.sampled(run)
            unit = zeroshot.normalise(values)
        else:
            unit, rows = _features(run, config)
        if not loading.locate(config.model).exists():
            raise InputError(
                f"{run.path}: its model {config.model} is not there; put it back, or start where the run was made"
            )
    columns = _columns(run)
    thresholds, contrast, sides = _labels(run, columns)
    settings = run.settings
    method = rates.Method(settings.method, settings.level, settings.min_n, settings.seed)
    return Opened(run, config, _design(run), unit, rows, columns, method, thresholds, contrast, sides, given, note)


def _config(run: Run) -> ProbeConfig:
    return typed(run.manifest.config)


def _given(run: Run) -> Given:
    """The features that the run's answers were made of."""
    path = run.path / INGESTED_FEATURES
    if not path.exists():
        raise InputError(
            f"{run.path}: its answers were ingested, and another class design needs features; ingest those of the "
            "model (--features=F.npz), or explore a run of `clipjax probe`"
        )
    found = feature_files.read(path)
    if list(found.files or ()) != run.predictions["file"].tolist():
        raise InputError(f"{path}: has features of other images than predictions.parquet; ingest the features again")
    return found


def _crossed(first: rates.Cells, second: rates.Cells) -> rates.Cells:
    """The groups of two columns that have images."""
    wide = len(second.groups)
    known = (first.of >= 0) & (second.of >= 0)
    of = np.full(len(known), -1)
    found, of[known] = rates.occurring(first.of[known] * wide + second.of[known], len(first.groups) * wide)
    return rates.Cells([first.groups[c // wide] | second.groups[c % wide] for c in found], of)


def _features(run: Run, config: ProbeConfig) -> tuple[np.ndarray, np.ndarray]:
    manifest, seen = run.manifest, run.manifest.counts.seen
    root = cache_root(config)
    again = "make the run again into another --out, and explore that"
    if root is None:
        raise InputError(f"{run.path}: kept no image features (cache_dir=none); without that key {again}")
    key, width = images_of(manifest)
    folder = images_folder(root, key)
    kept = read_features(folder, width)
    inside = kept.rows < manifest.data.n
    if int(inside.sum()) != seen:
        there = f"{int(inside.sum())} of its {seen} images" if inside.any() else "none of its images"
        raise InputError(
            f"{run.path}: the feature cache {folder} holds {there}; it was moved or emptied, or Pillow is another "
            f"version now: {again}"
        )
    if len(run.predictions["file"]) != seen:
        raise InputError(f"{run.path}: predictions.parquet has not the {seen} rows of its manifest; {again}")
    return zeroshot.normalise(kept.values[inside]), kept.rows[inside]


def _columns(run: Run) -> dict[str, np.ndarray]:
    """What images can be grouped by, as texts; the true class too where there is one."""
    found = dict(run.columns)
    if "label" in run.predictions and "label" not in found:
        found["label"] = run.predictions["label"]
    texts = {name: np.array([str(v) for v in values], object) for name, values in found.items()}
    return {name: values for name, values in texts.items() if len(set(values)) <= MOST_VALUES}


def _design(run: Run) -> Design:
    if run.design is None:
        raise InputError(f"{run.path}: its design has no classes to change")
    return run.design


def _labels(run: Run, columns: dict[str, np.ndarray]) -> tuple[tuple[float, ...], str, tuple[str, ...]]:
    outcome = run.manifest.result
    if outcome.thresholds is not None and outcome.contrast is not None and outcome.sides is not None:
        return tuple(outcome.thresholds), outcome.contrast, outcome.sides
    several = {name: sorted({v for v in values.tolist() if v}) for name, values in columns.items()}
    several = {name: there for name, there in several.items() if len(there) > 1}
    # Two values, where a column has just those; else the first two of a column.
    for name, there in sorted(several.items(), key=lambda item: len(item[1]) != 2):
        return PAPER_THRESHOLDS, name, tuple(there[:2])
    return PAPER_THRESHOLDS, "", ()
