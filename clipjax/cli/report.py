"""Tables, figures, report.html and a model-card section from finished runs: clipjax report RUN... [--out=DIR]

The report of one run goes into its folder, that of several runs into --out (default: clipjax-report). The page
needs no network, and the same runs give the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax report`."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders that `clipjax probe` made")
    parser.add_argument("--out", metavar="DIR", help="where it goes (default: the run's folder, or clipjax-report)")


def run(args: argparse.Namespace) -> None:
    """Reads all runs before anything is written."""
    from clipjax.analysis import report
    from clipjax.analysis.report import head
    from clipjax.analysis.run import read_run
    from clipjax.errors import InputError

    paths = [Path(path) for path in args.runs]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise InputError(f"{twice[0]} is named twice; name each run once")
    runs = [read_run(path) for path in paths]
    out = Path(args.out) if args.out else paths[0] if len(paths) == 1 else Path("clipjax-report")
    try:
        found = report.write(runs, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    if stated := head.lines([*(said for said, _ in found[0].points), *found[0].silent]):
        print(f"{stated}\n")
    for table in report.main_tables(found):
        print(table.markdown())
    print(f"Written: {out / 'report.html'} (and tables/, figures/, model_card.md beside it)")
