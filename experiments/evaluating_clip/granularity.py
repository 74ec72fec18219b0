"""Coarse against fine-grained classes over the same images: is a haddock called a fish, a haddock, or a cod?

    python experiments/evaluating_clip/granularity.py --csv=animals.csv --label-column=name --design=animals.yaml \
        --model=ViT-B/32 --group-columns=vendor --out=runs/animals

The design has fine classes, each with an attribute `coarse`: the name of its coarse class. Two runs of zero-shot
classification are made in --out: `fine` with the classes of the design, `coarse` with the names of the coarse classes.
Then, over the same images: how often the fine class is right; and how often the coarse class is right by the coarse
list, by the coarse class of the likeliest fine class, and by summed probabilities of the fine classes; paired with
McNemar's test, by coarse class and group. "Evaluating CLIP" warns that one accuracy says little about another list.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clipjax import design
from clipjax.analysis import association, figures, tables
from clipjax.analysis.paired import paired_rates
from clipjax.analysis.pairing import pair
from clipjax.analysis.records import PairedRecord, Record
from clipjax.analysis.run import read_run
from clipjax.data import tables as read_tables
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.files import write_text
from clipjax.runs import config, runner
from clipjax.runs.engine import Engines

FEWEST = 20  # images of a cell that is not marked


def coarse_of(fine: Design) -> list[str]:
    """The coarse class of each fine class. InputError where one has none, or all have the same."""
    found = fine.attribute("coarse")
    if missing := [name for name, coarse in zip(fine.names, found, strict=True) if coarse is None]:
        raise InputError(f"{fine.source}: class {missing[0]!r} has no attribute coarse, the name of its coarse class")
    if len(set(found)) < 2:
        raise InputError(f"{fine.source}: all classes have the coarse class {found[0]!r}; two are needed")
    return [str(one) for one in found]


def right_by(
    fine_probabilities: np.ndarray, coarse_probabilities: np.ndarray, label: np.ndarray, parent: np.ndarray
) -> dict[str, np.ndarray]:
    """Probabilities [N, F] and [N, C], labels int [N] of fine classes, the coarse class int [F] of each -> bool [N],
    what is right by fine, coarse, likeliest (the coarse class of the likeliest fine class), summed."""
    truth = parent[label]
    likeliest = fine_probabilities.argmax(1)
    summed = fine_probabilities @ np.eye(coarse_probabilities.shape[1])[parent]
    return {
        "fine": likeliest == label,
        "coarse": coarse_probabilities.argmax(1) == truth,
        "likeliest": parent[likeliest] == truth,
        "summed": summed.argmax(1) == truth,
    }


def compared(right: Mapping[str, np.ndarray], cells: Mapping[str, np.ndarray]) -> list[tuple[str, PairedRecord, float]]:
    """Cells bool [N] by name -> (cell, the coarse list against the likeliest fine class, p adjusted over the cells but
    the first, which is everybody's)."""
    found = [(name, paired_rates(right["coarse"][of], right["likeliest"][of])) for name, of in cells.items()]
    adjusted = [found[0][1].p, *association.adjust([record.p for _, record in found[1:]])]
    return [(name, record, float(p)) for (name, record), p in zip(found, adjusted, strict=True)]


def runs(given: argparse.Namespace, fine: Design, coarse: Sequence[str]) -> tuple[Path, Path]:
    """Both probes; the second takes its image features from the cache."""
    column = read_tables.read(given.csv, [given.label_column])[given.label_column].values
    to = dict(zip(fine.names, coarse, strict=True))
    if unknown := sorted({str(value) for value in column if value not in to}):
        raise InputError(f"{given.csv}: {unknown[0]!r} of {given.label_column} is not a class of {given.design}")
    given.out.mkdir(parents=True, exist_ok=True)
    listed = given.out / "coarse.yaml"
    write_text(listed, design.of_classes(list(dict.fromkeys(coarse)), fine.templates, f"{fine.name}-coarse").yaml())
    renamed = ",".join(f"{one}={other}" for one, other in to.items() if one != other)
    shared = [
        "--config.data.source=csv", f"--config.data.csv={given.csv}", f"--config.model={given.model}",
        f"--config.data.label_column={given.label_column}", f"--config.data.group_columns={given.group_columns}",
    ]  # fmt: skip
    engines, made = Engines(), []
    own = {"fine": [f"--config.design={given.design}"],
           "coarse": [f"--config.design={listed}", f"--config.data.class_names={renamed}"]}  # fmt: skip
    for name, overrides in own.items():
        runner.run(config.load("zeroshot", [*shared, *overrides]), given.out / name, engines)
        made.append(given.out / name)
    return made[0], made[1]


def main(given: argparse.Namespace) -> None:
    """Two runs, tables and a figure in `out`."""
    fine_design = design.read_design(given.design)
    coarse = coarse_of(fine_design)
    found = pair(*(read_run(path) for path in runs(given, fine_design, coarse)), annotations="a")
    fine, names = found.a, list(dict.fromkeys(coarse))
    parent = np.array([names.index(one) for one in coarse])
    label = np.array([fine_design.names.index(one) for one in fine.predictions["label"]])
    right = right_by(fine.predictions["probabilities"], found.b.predictions["probabilities"], label, parent)
    cells = {"all images": np.ones(len(label), bool)}
    cells |= {names[c]: parent[label] == c for c in range(len(names)) if (parent[label] == c).any()}
    for column, values in fine.columns.items():
        cells |= {f"{column}={value}": values == value for value in sorted(set(values.astype(str)) - {""})}
    title = f"Which coarse class of {len(names)}, by a list of these and by one of {len(coarse)} fine classes"
    write(compared(right, cells), right, cells, title, given.out)


def write(
    rows: Sequence[tuple[str, PairedRecord, float]], right: Mapping[str, np.ndarray], cells: Mapping[str, np.ndarray],
    title: str, out: Path,
) -> None:  # fmt: skip
    """granularity.csv, .md, .tex, .png and .svg."""
    body: list[list[tables.Cell]] = []
    data: list[list[tables.Cell]] = [["images", "n", *right, "difference", "low", "high", "p", "p_adjusted"]]
    for name, record, p in rows:
        shares = [float(found[cells[name]].mean()) for found in right.values()]
        difference, low, high = (100 * (x or 0) for x in (record.difference, record.low, record.high))
        gap = f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]"
        body.append([name, record.n, *map(tables.percent, shares), gap, f"{p:.2g}"])
        data.append([name, record.n, *shares, record.difference, record.low, record.high, record.p, p])
    head = ["images", "n", "fine class", "coarse list", "likeliest fine class", "summed", "difference", "adjusted p"]
    note = (
        "Percent right. Difference: likeliest fine class less coarse list, over the same images; McNemar's exact test, "
        "adjusted over the cells below the first."
    )
    table = tables.Table("granularity", title, head, body, note, data)
    table.write(out)
    print(table.markdown())
    sides = (("a", "list of coarse classes"), ("b", "list of fine classes"))
    series = [figures.Series.of(label, [_rate(record, side) for _, record, _ in rows]) for side, label in sides]
    figures.rates_by_group([name for name, _, _ in rows], series, "coarse class right").save(out, "granularity")


def _rate(record: PairedRecord, side: str) -> Record:
    """One side of a pair."""
    k, value, low, high = (getattr(record, f"{part}_{side}") for part in ("k", "value", "low", "high"))
    return Record(metric="rate", k=k, n=record.n, value=value, low=low, high=high, small=record.n < FEWEST)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="one row per image")
    parser.add_argument("--label-column", required=True, help="the fine class of each image, as the design names it")
    parser.add_argument("--design", required=True, help="fine classes, each with an attribute coarse")
    parser.add_argument("--group-columns", default="")
    parser.add_argument("--model", default="emoji-clip")
    parser.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    try:
        main(arguments().parse_args())
    except InputError as error:
        raise SystemExit(f"{Path(__file__).name}: {error}") from None
