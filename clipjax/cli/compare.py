"""Paired comparison of two runs on the same images: clipjax compare RUN_A RUN_B [--vary=design] [--out=DIR]

    clipjax compare runs/roles runs/roles-child --out=comparison
    clipjax compare runs/before runs/after --vary=weights
    clipjax compare runs/before runs/after --vary=weights --fail-if="paired_difference[accuracy=top1] < -0.02 @ upper"
    clipjax compare runs/ft

A run of clipjax finetune by itself: each of its probes, before training (A) against after (B), in DIR/PROBE.

By default the runs differ in the class design; --vary=weights compares two models, --vary=design,weights both. Images
are paired by their contents: copies, other names, another table or container are the same images. Ingested answers
without contents are paired by file name, where names are unique in both runs. Runs on different
images, or with other preprocessing, precision, labels or groups, are refused, and the error lists the differences.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipjax.analysis.compare import Compared
    from clipjax.analysis.training import TrainingRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax compare`."""
    parser.add_argument("a", metavar="RUN_A", help="the folder of a finished run")
    parser.add_argument(
        "b", nargs="?", metavar="RUN_B", help="of another one on the same images; differences are B - A"
    )
    parser.add_argument("--vary", metavar="WHAT", help="what may differ: design (default), weights")
    parser.add_argument(
        "--annotations", default="", choices=("a", "b"), help="whose labels and groups count where the runs' differ"
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="CONDITION",
        help="on B - A: paired_difference[set=NAME, column=*] > NUMBER @ lower, or ndkl[...]; repeatable",
    )
    parser.add_argument("--out", default="clipjax-compare", metavar="DIR", help="default: clipjax-compare")


def run(args: argparse.Namespace) -> None:
    """Nothing is written before the runs are known to be comparable."""
    from clipjax.analysis import compare, gate, training
    from clipjax.analysis.run import read_run
    from clipjax.errors import Breach, InputError

    conditions = [gate.parse(text) for text in args.fail_if]
    out = Path(args.out)
    if (out / "manifest.json").exists():
        raise InputError(f"{out}: is a run; choose another --out for the comparison")
    if args.b is None:
        if not training.is_training(Path(args.a)):
            raise InputError(f"{args.a}: name the run to compare it with: clipjax compare {args.a} RUN_B")
        if args.vary is not None or args.annotations:
            flag = "--annotations" if args.vary is None else "--vary"
            raise InputError(f"{args.a}: its probes differ in the weights, over the same images; leave {flag} out")
        found = _compare_training(training.read_training(Path(args.a)), out)
    else:
        vary = [v.strip() for v in ("design" if args.vary is None else args.vary).split(",")]
        found = [compare.compare(read_run(args.a), read_run(args.b), vary, annotations=args.annotations)]
        _write(found[0], out)
    records = [record for one in found for record in one.records]
    numbers = [number for one in found for number in one.numbers]
    agreement = [record for one in found for record in one.agreement] if conditions else []
    lines = [line for c in conditions for line in gate.breaches_of_change(c, records, numbers, agreement)]
    if lines:
        raise Breach("\n".join([f"{len(lines)} breached", *lines]))


def _compare_training(run: TrainingRun, out: Path) -> list[Compared]:
    """Every probe of a fine-tuning run, before against after."""
    from clipjax.analysis.report.training import before_and_after
    from clipjax.errors import InputError

    probes = {name: steps for name, steps in run.probes.items() if len(steps) > 1}
    if not probes:
        raise InputError(
            f"{run.path}: has no probe before and after; give it one (--keys: probes), or run one on both weights and "
            "compare those"
        )
    found = []
    for name, steps in probes.items():
        print(f"{name}: step {steps[0][0]} (A) against step {steps[-1][0]} (B)")
        found.append(before_and_after(steps))
        _write(found[-1], out / name)
    return found


def _write(found: Compared, out: Path) -> None:
    from clipjax.analysis.report import comparison, head, main_tables
    from clipjax.errors import InputError

    try:
        sections = comparison.write(found, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    if stated := head.terminal(found.findings, where=head.COMPARE):
        print(f"{stated}\n")
    for table in main_tables(sections, 3):
        print(table.markdown())
    for line in comparison.notes(found):
        print(line)
    if found.class_moves is not None:
        print(f"{found.moved} of {found.images} images got another class.")
    print(f"Written: {out / 'report.html'} (and compare.json, flips.csv, tables/, figures/ beside it)")
