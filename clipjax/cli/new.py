"""Begin a study of your own, ready to run: clipjax new study FOLDER [--csv=TABLE --group-columns=A,B] [--model=M]

    clipjax new study people && sh people/run.sh
    clipjax new study mine --csv=photos.csv --group-columns=age,region --model=ViT-B/32

FOLDER gets a config, two class designs to compare, a README and the command, run.sh. Without --csv it also gets 290
drawings of people, so that it runs as it stands, offline. With --csv it uses your table: one row per image, a column
`file` relative to the table, and the columns to group by.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import string
from pathlib import Path, PurePath

SAMPLE = """\
The images are 290 drawings of people (Noto emoji, Apache-2.0) in `images`, with a table of what they show. Drawings are
not people, and a skin tone is not a race: they are there so that the study runs. `config.py` takes your own table."""
OWN = "The images are those of `{table}`, grouped by {groups}."
GROUPS = "age,skin_tone,gender"  # of the drawings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax new`."""
    parser.add_argument("what", choices=("study",), help="a folder with config, class designs, README and command")
    parser.add_argument("folder", metavar="FOLDER", help="a new folder")
    parser.add_argument(
        "--csv", default="", metavar="TABLE", help="your images and their columns (csv, parquet, jsonl)"
    )
    parser.add_argument("--group-columns", default="", metavar="A,B", help="the columns of TABLE to group by")
    parser.add_argument(
        "--model", default="", metavar="M", help="default: the embedded model for the drawings, ViT-B/32 for a TABLE"
    )


def run(args: argparse.Namespace) -> None:
    """Checks the table, then writes the folder whole."""
    from clipjax.errors import InputError
    from clipjax.files import check_new_folder, write_folder

    folder = Path(args.folder)
    check_new_folder(folder)
    if bool(args.csv) != bool(args.group_columns):
        raise InputError("--csv and --group-columns belong together: --csv=TABLE --group-columns=A,B")
    if args.csv:
        _check_table(args.csv, args.group_columns)
    groups = args.group_columns or GROUPS
    table = PurePath(os.path.relpath(args.csv, folder)).as_posix() if args.csv else "images/people.csv"
    name = folder.resolve().name
    values = {
        "name": name,
        "data": OWN.format(table=table, groups=groups.replace(",", ", ")) if args.csv else SAMPLE,
        "design_b": json.dumps(f"{name}-b", ensure_ascii=False),
        "model": json.dumps(_model(args, folder), ensure_ascii=False),
        "table": json.dumps(table, ensure_ascii=False),
        "groups": json.dumps(groups, ensure_ascii=False),
    }
    write_folder(folder, lambda made: _fill(made, values, sample=not args.csv))
    print(f"Written: {folder} (README.md, config.py, design.yaml, design-b.yaml, run.sh)\nRun it: sh {folder}/run.sh")


def _check_table(csv: str, groups: str) -> None:
    """InputError where the table or a column is not there."""
    from clipjax.runs import config as configs
    from clipjax.runs import groups as grouping
    from clipjax.runs.data import open_source

    config = configs.probe_config("rates")
    config.data.source, config.data.csv, config.data.group_columns = "csv", csv, groups
    asked = configs.typed(configs.plain(config))
    grouping.columns(open_source(asked.data).source, groups, bands="")


def _model(args: argparse.Namespace, folder: Path) -> str:
    """A name as it is; a file relative to the study."""
    from clipjax import loading

    if not args.model:
        return "ViT-B/32" if args.csv else loading.DEMO
    return PurePath(os.path.relpath(args.model, folder)).as_posix() if Path(args.model).exists() else args.model


def _fill(folder: Path, values: dict[str, str], sample: bool) -> None:
    from clipjax import design
    from clipjax.demo import people
    from clipjax.demo.images import ASSETS

    for name in ("README.md", "run.sh", "design-b.yaml", "config.txt"):
        text = string.Template((ASSETS / "study" / name).read_text(encoding="utf-8")).substitute(values)
        (folder / name.replace("config.txt", "config.py")).write_text(text, encoding="utf-8")
    first = dataclasses.replace(design.read_design(people.DESIGNS[0]), name=values["name"], note="")
    head = "# Replace these classes by those that you would use. Rates are counted for each of the `sets`.\n"
    (folder / "design.yaml").write_text(head + first.yaml(), encoding="utf-8")
    if sample:
        people.unpack(folder / "images")
