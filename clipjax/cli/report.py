"""Findings, tables, figures, one page and a model card from finished runs: clipjax report RUN... [--out=DIR]

The report of one run goes into its folder, that of several runs into --out (default: clipjax-report). report.html is
one file that needs no network, and the same runs give the same bytes.

    clipjax report runs/people
    clipjax report runs/people runs/people-child --out=reports/people --format=pdf
    clipjax report runs/people --to=model-card --license=mit > README.md
    clipjax report runs/ft                                  # of clipjax finetune: learning curves, probes, recipe

--to=model-card prints the card alone: metadata of the Hugging Face hub in YAML (with the evaluation results), then
Markdown. It writes nothing. --schema prints the JSON Schema of metrics.json, manifest.json and compare.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipjax.analysis.report.card import Stated
    from clipjax.analysis.run import Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax report`."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help="folders that `clipjax probe` made")
    parser.add_argument("--out", metavar="DIR", help="where it goes (default: the run's folder, or clipjax-report)")
    parser.add_argument("--to", default="report", choices=("report", "model-card"), help="default: report")
    parser.add_argument(
        "--format", default="html", choices=("html", "pdf"), help="pdf: report.pdf as well, by Chromium or Chrome"
    )
    parser.add_argument(
        "--license", default="unknown", metavar="ID", help="of the weights, for the model card (default: unknown)"
    )
    parser.add_argument("--language", default="en", metavar="CODE", help="of the prompts, for the card (default: en)")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of the files of a run, and stop")


def run(args: argparse.Namespace) -> None:
    """Reads all runs before anything is written."""
    from clipjax.analysis import training
    from clipjax.analysis.report import card, schema
    from clipjax.analysis.run import read_run
    from clipjax.errors import InputError

    if args.schema:
        print(json.dumps(schema.schemas(), indent=1))
        return
    paths = [Path(path) for path in args.runs]
    if not paths:
        raise InputError("name the folder of a run: clipjax report RUN")
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise InputError(f"{twice[0]} is named twice; name each run once")
    if trained := [path for path in paths if training.is_training(path)]:
        _write_training(trained[0], paths, args)
        return
    runs = [read_run(path) for path in paths]
    stated = card.Stated(args.license, args.language)
    if args.to == "report":
        _write(
            runs, Path(args.out) if args.out else paths[0] if len(paths) == 1 else Path("clipjax-report"), stated, args
        )
        return
    if args.out or args.format != "html":
        raise InputError("--to=model-card prints the card; leave out --out and --format")
    from clipjax.analysis import report

    print(card.text(runs, report.sections(runs), stated))


def _write_training(path: Path, paths: Sequence[Path], args: argparse.Namespace) -> None:
    """The page of a fine-tuning run, which is a report by itself."""
    from clipjax.analysis.report import pdf, training
    from clipjax.analysis.training import read_training
    from clipjax.errors import InputError

    if len(paths) > 1 or args.to != "report":
        probes = " ".join(sorted(str(p.parent) for p in path.glob("probes/*/step-*/manifest.json"))[-2:])
        remedy = f"; its probes are runs that stand beside others: {probes}" if probes else ""
        raise InputError(f"{path}: a fine-tuning run has a page of its own: clipjax report {path}{remedy}")
    out = Path(args.out) if args.out else path
    program = pdf.browser() if args.format == "pdf" else ""
    run = read_training(path)
    try:
        training.write(run, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    if program:
        pdf.write(out / "report.html", out / "report.pdf", program)
    print(f"{training.terminal(run)}\n")
    print(f"Written: {out / 'report.html'} (and tables/, figures/ beside it)")


def _write(runs: Sequence[Run], out: Path, stated: Stated, args: argparse.Namespace) -> None:
    from clipjax.analysis import report
    from clipjax.analysis.report import head, pdf
    from clipjax.errors import InputError

    program = pdf.browser() if args.format == "pdf" else ""
    try:
        found = report.write(runs, out, stated)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    if program:
        pdf.write(out / "report.html", out / "report.pdf", program)
    for line in filter(None, (head.incomplete(run.manifest) for run in runs)):
        print(f"{line}\n")
    if said := head.lines([*(point for point, _ in found[0].points), *found[0].silent]):
        print(f"{said}\n")
    for table in report.main_tables(found):
        print(table.markdown())
    page = "report.html and report.pdf" if program else "report.html"
    print(f"Written: {out / page} (and tables/, figures/, model_card.md beside it)")
