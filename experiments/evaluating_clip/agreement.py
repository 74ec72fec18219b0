"""Do CLIP's labels agree with those of commercial services? A proxy of label quality: a service is not the truth.

    python experiments/evaluating_clip/agreement.py runs/clip runs/Google runs/Amazon runs/Microsoft --out=runs/agreed

The first run is CLIP's (`clipjax probe congress`), the others are the services' (platforms.py), over the same
portraits. For each service, over the labels that it gave at least once: the share of CLIP's labels that the service
gave too (precision), the share of the service's labels that CLIP gave (recall), both beside what labels of the same
frequency would give by chance, Cohen's kappa beyond these frequencies, and whether CLIP's probability ranks portraits
with a label above those without (area under the ROC curve, mean over labels). By group; and the services with each
other, which shows how much agreement there is between services.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from clipjax.analysis import figures, intervals, tables
from clipjax.analysis.pairing import pair
from clipjax.analysis.run import Run, read_run
from clipjax.errors import InputError

Interval = tuple[float, float, float]  # value, low, high
GIVEN = 0.5  # a service's label has the score 1, or its confidence
FEWEST = 5  # portraits with and without a label, for a ranking


@dataclasses.dataclass(frozen=True)
class Row:
    """Agreement with a service about its labels for n portraits of a group. `ranked`: labels of `roc_auc`."""

    service: str
    group: str
    n: int
    labels: int
    found: dict[str, Interval]
    ranked: int = 0


def overlap(a: np.ndarray, b: np.ndarray, level: float = 0.95, seed: int = 0) -> dict[str, Interval]:
    """Labels bool [N, L] given by A and by B -> statistic -> (value, low, high), images resampled.

    precision: of the labels of A, those that B gave too; recall: of those of B. precision_by_chance and
    recall_by_chance: the same if B and A were independent, each label as frequent as it is. kappa: agreement about
    (image, label) beyond that, 0 by chance and 1 for equal labels.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    both, n = a * b, len(a)

    def parts(draws: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            of_a, of_b, shared = ((draws @ x) / n for x in (a, b, both))  # shares [B, L]
            chance = of_a * of_b
            agreed = (1 - of_a - of_b + 2 * shared).mean(1)
            expected = (1 - of_a - of_b + 2 * chance).mean(1)
            return {
                "precision": shared.sum(1) / of_a.sum(1),
                "precision_by_chance": chance.sum(1) / of_a.sum(1),
                "recall": shared.sum(1) / of_b.sum(1),
                "recall_by_chance": chance.sum(1) / of_b.sum(1),
                "kappa": (agreed - expected) / (1 - expected),
            }

    resampled = [parts(draws) for draws in intervals.draws(n, seed)]
    whole = parts(np.ones((1, n)))
    return {
        name: (float(value[0]), *intervals.percentile(np.concatenate([one[name] for one in resampled]), level))
        for name, value in whole.items()
        if np.isfinite(value[0])  # A or B gives none of the labels
    }


def ranking(probabilities: np.ndarray, given: np.ndarray) -> tuple[dict[str, Interval], int]:
    """Probabilities [N, L] and labels bool [N, L] -> mean area under the ROC curve over labels with at least FEWEST
    portraits of each kind, its interval over labels, and how many labels that are; without any, nothing."""
    k, n = given.sum(0), len(given)
    areas = []
    for c in np.flatnonzero((k >= FEWEST) & (n - k >= FEWEST)):
        ranks = stats.rankdata(probabilities[:, c])
        areas.append((ranks[given[:, c]].sum() - k[c] * (k[c] + 1) / 2) / (k[c] * (n - k[c])))
    if not areas:
        return {}, 0
    return {"roc_auc": (float(np.mean(areas)), *intervals.bootstrap(areas))}, len(areas)


def compared(clip: Run, service: Run, threshold: float, by: str) -> list[Row]:
    """A row for everybody and for each group of the column `by`."""
    found = pair(clip, service)
    a, b = found.a.predictions["probabilities"], found.b.predictions["probabilities"] >= GIVEN
    known = b.any(0)  # what the service can say
    a, b = a[:, known], b[:, known]
    groups = {"all": np.ones(len(a), bool)}
    if by in found.a.columns:
        column = found.a.columns[by].astype(str)
        groups |= {value: column == value for value in sorted(set(column) - {""})}
    rows = []
    for group, of in groups.items():
        area, labels = ranking(a[of], b[of])
        shared = overlap(a[of] >= threshold, b[of])
        rows.append(Row(service.manifest.model.name, group, int(of.sum()), int(known.sum()), shared | area, labels))
    return rows


def of_services(services: Sequence[Run]) -> list[Row]:
    """The services with each other, over the labels that both have."""
    rows = []
    for one, other in itertools.combinations(services, 2):
        found = pair(one, other)
        a, b = (run.predictions["probabilities"] >= GIVEN for run in (found.a, found.b))
        known = a.any(0) & b.any(0)
        names = " and ".join(run.manifest.model.name for run in (one, other))
        if known.any():
            rows.append(Row(names, "all", len(a), int(known.sum()), overlap(a[:, known], b[:, known])))
    return rows


def table(rows: Sequence[Row], name: str, title: str) -> tables.Table:
    """Shares in percent, kappa and the area as numbers."""
    statistics = [s for s in ("precision", "recall", "kappa", "roc_auc") if any(s in row.found for row in rows)]

    def cell(row: Row, statistic: str) -> str:
        if statistic not in row.found:
            return ""
        value, low, high = row.found[statistic]
        if statistic in ("kappa", "roc_auc"):
            return f"{value:.2f} [{low:.2f}, {high:.2f}]"
        chance = row.found[f"{statistic}_by_chance"][0]
        return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]; {100 * chance:.1f} by chance"

    head = ["service", "group", "n", "labels"]
    body = [[r.service, r.group, r.n, r.labels, *(cell(r, one) for one in statistics)] for r in rows]
    values = [[r.service, r.group, r.n, r.labels, what, *value] for r in rows for what, value in r.found.items()]
    note = (
        "Agreement with a service is a proxy of label quality: services err too, and differ from each other. 95% "
        "intervals: portraits resampled (roc_auc: labels)."
    )
    data = [[*head, "statistic", "value", "low", "high"], *values]
    return tables.Table(name, title, [*head, *statistics], body, note, data)


def main(runs: Sequence[Path], out: Path, threshold: float, by: str) -> None:
    """Tables and a figure in `out`."""
    clip, *services = (read_run(path) for path in runs)
    if not services or any(run.probe != "labels" for run in (clip, *services)):
        raise InputError("name a run of labels of CLIP (clipjax probe congress), then those of services (platforms.py)")
    for run in services:
        if (run.design and run.design.names) != (clip.design and clip.design.names):
            raise InputError(f"{run.path} has other labels than {clip.path}; give both runs the design schwemmer:TABLE")
    rows = [row for service in services for row in compared(clip, service, threshold, by)]
    title = f"Labels of {clip.manifest.model.name} from a probability of {100 * threshold:g}% on, and those of services"
    written = [table(rows, "agreement", title)]
    if len(services) > 1:
        written.append(table(of_services(services), "services", "Labels of the services, with each other"))
    for one in written:
        one.write(out)
        print(one.markdown())
    everybody = [row for row in rows if row.group == "all"]
    series = []
    for name, label in (("precision", "of CLIP's labels, the service gave"), ("recall", "of the service's, CLIP gave")):
        shown = [row.found.get(name, (None, None, None)) for row in everybody]
        value, low, high = zip(*shown, strict=True)
        chance = [row.found.get(f"{name}_by_chance") for row in everybody]
        counts = ["" if one is None else f"{100 * one[0]:.1f}% by chance" for one in chance]
        series.append(figures.Series(label, value, low, high, counts, [False] * len(everybody)))
    drawn = figures.rates_by_group([row.service for row in everybody], series, "agreement about labels")
    drawn.figure.axes[0].set_xlabel("percent of labels")
    drawn.save(out, "agreement")


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="of CLIP, then of services")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=0.005, help="from which probability CLIP gives a label")
    parser.add_argument("--by", default="gender", help="a group column of the run of CLIP")
    return parser


if __name__ == "__main__":
    try:
        given = arguments().parse_args()
        main(given.runs, given.out, given.threshold, given.by)
    except InputError as error:
        raise SystemExit(f"{Path(__file__).name}: {error}") from None
