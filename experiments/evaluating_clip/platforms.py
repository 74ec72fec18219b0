"""Labels that Google, Amazon and Microsoft returned for portraits of Members of Congress, as three finished runs.

    python experiments/evaluating_clip/platforms.py CONGRESS/mc_data.tsv --out=runs

The table is of the replication material of Schwemmer et al. (2020). Each run is what `clipjax ingest` makes of one
service's labels: `clipjax report` and `compare` work on it beside a run of CLIP over the same portraits.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from clipjax import design
from clipjax.errors import InputError, require
from clipjax.runs import answers, ingest

GROUPS = ("gender", "party")


def main(table: Path, out: Path, thresholds: str) -> list[Path]:
    """Writes out/Google, out/Amazon and out/Microsoft; returns the folders."""
    asked, returned = design.read_design(f"schwemmer:{table}"), design.read_labels(table)
    with table.open(encoding="utf-8-sig", newline="") as file:
        portraits = list(csv.DictReader(file, delimiter="\t"))
    for column in ("wiki_img_url", *GROUPS):
        require(column, portraits[0], table, "column")
    files = [portrait["wiki_img_url"] for portrait in portraits]
    groups = {column: [portrait[column] for portrait in portraits] for column in GROUPS}
    made = []
    for service, labels in returned.items():
        read = answers.of_arrays(files, asked, labels=[sorted(one) for one in labels], groups=groups, name=str(table))
        settings = ingest.Settings(model=service, thresholds=thresholds)
        made.append(ingest.ingest(read, out / service, settings, [table]).path)
    return made


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, metavar="MC_DATA")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--thresholds", default="0.005", help="of the run of CLIP; a label counts at each")
    return parser


if __name__ == "__main__":
    try:
        given = arguments().parse_args()
        for path in main(given.table, given.out, given.thresholds):
            print(path)
    except InputError as error:
        raise SystemExit(f"{Path(__file__).name}: {error}") from None
