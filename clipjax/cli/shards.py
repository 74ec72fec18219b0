"""Run a probe in units that any number of machines work on: clipjax shards plan|work|status|seal|verify|export

For data sets that one machine does not finish, and machines that come and go. A unit is a tar or parquet file, or
10,000 rows of another source. Workers do not wait for each other; a unit counts once, whoever did it, and the numbers
do not depend on how many workers there were. RUN is a folder that all machines share, or a bucket (gs://, s3://, az://).

    clipjax shards plan zeroshot --config.data.source=webdataset --config.data.path='laion/{00000..00999}.tar' \\
        --config.classes=classes.txt --config.model=ViT-B/32 --out=RUN
    clipjax shards work RUN                           # on one machine, or in each task of a Slurm array
    clipjax shards work RUN --workers=16              # in each pod of an indexed Kubernetes Job with 16 completions
    clipjax shards work RUN --worker=3 --workers=16   # anywhere else
    clipjax shards status RUN
    clipjax shards seal RUN                           # RUN is then a run, as `clipjax probe` makes one
    clipjax shards verify RUN --repair                # damaged units are done again by the next `work`
    clipjax shards verify RUN --recompute=3           # are these units, computed again, the same bytes?
    clipjax shards export RUN --out=FOLDER            # features as parquet tables
    clipjax shards count RUN --design=FILE --out=RUN2 # another class design over all stored features (rates)
    clipjax shards linear TRAIN --test=TEST --out=RUN2 # a linear probe, fitted to one sealed run, tested on another

The same command continues what was stopped. docs/pods.md has the files for Slurm and Kubernetes.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipjax.runs.shards.seal import Status
    from clipjax.runs.shards.store import Store

TAKES_OVERRIDES = True  # what the parser does not know (--config.key=value) is the config's
# Every action and the options that it reads.
ACTIONS = {
    "plan": ("out", "unit_rows", "group", "dtype", "probabilities", "mixed"),
    "work": ("worker", "workers", "grace"),
    "status": (),
    "seal": ("allow_missing", "no_predictions", "fail_if"),
    "verify": ("quick", "repair", "recompute"),
    "export": ("out",),
    "linear": ("out", "test", "C"),
    "count": ("out", "design"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax shards`; `--config.key=value` is taken by the config of `plan`."""
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help=", ".join(ACTIONS))
    parser.add_argument("what", metavar="CONFIG[:arg]|RUN", help="plan: a config as of `clipjax probe`; else the run")
    parser.add_argument("--out", metavar="RUN", help="plan: where the run is made; export: the folder of tables")
    parser.add_argument("--unit-rows", type=int, metavar="N", help="plan: rows of a unit (10000)")
    parser.add_argument("--group", type=int, metavar="N", help="plan: input files of a unit (1)")
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), help="plan: of stored features; numbers are of these (float32)"
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="plan: predictions have the probabilities of all classes"
    )
    parser.add_argument(
        "--mixed", action="store_true", help="plan: units may be of devices that compute differently (1e-3 apart)"
    )
    parser.add_argument("--worker", type=int, metavar="I", help="work: which worker this is, from 0")
    parser.add_argument("--workers", type=int, metavar="W", help="work: how many there are")
    parser.add_argument("--grace", type=float, metavar="S", help="work: seconds for the unit after SIGTERM (20)")
    parser.add_argument("--allow-missing", type=int, metavar="K", help="seal: without K units; the manifest says so")
    parser.add_argument(
        "--no-predictions", action="store_true", help="seal: no predictions.parquet; the units' files have them"
    )
    parser.add_argument("--design", metavar="DESIGN", help="count: a class design, as of --config.design")
    parser.add_argument("--test", metavar="RUN", help="linear: the sealed run that is tested on")
    parser.add_argument("--C", type=float, metavar="C", help="linear: inverse regularisation (the CLIP paper's sweep)")
    parser.add_argument(
        "--fail-if", action="append", metavar="CONDITION", help="seal: METRIC[key=value] > NUMBER @ lower; repeatable"
    )
    parser.add_argument("--recompute", type=int, metavar="K", help="verify: computes K units again and compares")
    parser.add_argument("--quick", action="store_true", help="verify: sizes only")
    parser.add_argument("--repair", action="store_true", help="verify: `work` does damaged units again")


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    """One action, on one run."""
    from clipjax.errors import InputError
    from clipjax.runs.shards.store import Store

    if overrides and args.action != "plan":
        raise InputError(f"{overrides[0]} is read by `clipjax shards plan`, which writes it into the run; leave it out")
    reads = ACTIONS[args.action]
    if "out" in reads and not args.out:
        raise InputError(f"clipjax shards {args.action} needs --out=FOLDER")
    for name in dict.fromkeys(name for names in ACTIONS.values() for name in names):
        if name not in reads and all(getattr(args, name) is not unset for unset in (None, False)):
            *first, last = (action for action, names in ACTIONS.items() if name in names)
            readers = f"{', '.join(first)} and {last}" if first else last
            raise InputError(f"--{name.replace('_', '-')} is read by {readers}, not by {args.action}; leave it out")
    if args.action == "plan":
        _plan(args, overrides)
        return
    store = Store(args.what)
    actions = {
        "work": _work, "status": _status, "seal": _seal, "verify": _verify, "export": _export, "linear": _linear,
        "count": _count,
    }  # fmt: skip
    actions[args.action](store, args)


def _plan(args: argparse.Namespace, overrides: list[str]) -> None:
    from clipjax.runs import config
    from clipjax.runs.shards import plan
    from clipjax.runs.shards.store import Store

    given = {"rows": args.unit_rows, "group": args.group, "dtype": args.dtype}
    given = {name: value for name, value in given.items() if value is not None}
    options = plan.Options(**given, probabilities=args.probabilities, mixed=args.mixed)
    made = plan.make(config.load(args.what, overrides), Store(args.out), options)
    print(f"{args.out}: {made.units} units of {made.data}; do them: clipjax shards work {args.out}")


def _work(store: Store, args: argparse.Namespace) -> None:
    from clipjax.errors import InputError
    from clipjax.runs.shards import seal, work

    grace = work.GRACE if args.grace is None else args.grace
    if not 0 <= grace < float("inf"):
        raise InputError(f"--grace={grace} is a number of seconds, 0 or more")
    worker = work.of_environment(os.environ, args.worker, args.workers)
    finished = work.work(store, worker, grace=grace)
    print(f"{store.place}: worker {worker.index} of {worker.count} did {finished} units; {_line(seal.status(store))}")


def _status(store: Store, args: argparse.Namespace) -> None:
    from clipjax.runs.shards import seal, work

    found = seal.status(store)
    print(f"{store.place}: {_line(found)}{', sealed' if found.sealed else ''}")
    for unit in [*found.failed, *found.trying]:
        print(work.reasons(store, [unit]))


def _line(found: Status) -> str:
    failed = f", {len(found.failed)} failed" if found.failed else ""
    return f"{found.done} of {found.units} units are done{failed}"


def _seal(store: Store, args: argparse.Namespace) -> None:
    from clipjax import stored
    from clipjax.analysis import findings, gate
    from clipjax.analysis.records import Metrics
    from clipjax.analysis.report import head
    from clipjax.errors import Breach
    from clipjax.runs.shards import seal

    conditions = [gate.parse(text) for text in args.fail_if or ()]
    found = seal.seal(store, args.allow_missing or 0, predictions=not args.no_predictions)
    records = stored.parse(store.read("metrics.json"), store.path("metrics.json"), Metrics, "seal again").records
    said = [head.terminal(findings.of_records(records)), head.incomplete(found)]
    counts = f"{store.place}: {found.counts.seen} images, {found.counts.skipped} skipped; see metrics.json"
    print("\n\n".join([*filter(None, said), counts]))
    lines = [line for condition in conditions for line in gate.breaches(condition, records)]
    if lines:
        raise Breach("\n".join([f"{len(lines)} breached", *lines]))


def _verify(store: Store, args: argparse.Namespace) -> None:
    from clipjax.errors import Breach, InputError, some
    from clipjax.runs.shards import again, seal

    if args.recompute is not None:
        if found := again.again(store, args.recompute):
            raise Breach("\n".join([f"{store.place}: computed again, files differ", *found]))
        print(f"{store.place}: {args.recompute} units, computed again, have the same files")
        return
    found = seal.verify(store, args.quick, args.repair)
    if found:
        end = (
            f"do them again: clipjax shards work {store.place}"
            if args.repair
            else "add --repair to have them done again"
        )
        raise InputError(f"{len(found)} problems: {some(found, 5)}; {end}")
    print(f"{store.place}: every file of every finished unit is what was written")


def _export(store: Store, args: argparse.Namespace) -> None:
    from clipjax.runs.shards import export
    from clipjax.runs.shards.store import Store

    print(export.export(store, Store(args.out)))


def _linear(store: Store, args: argparse.Namespace) -> None:
    from clipjax.errors import InputError
    from clipjax.files import local_path
    from clipjax.runs.shards import linear
    from clipjax.runs.shards.store import Store

    if not args.test:
        raise InputError("clipjax shards linear needs --test=RUN, a sealed run that it was not fitted to")
    found = linear.run(store, Store(args.test), local_path(args.out, "--out"), linear.Options(args.C or 0.0))
    print(f"{args.out}: fitted to {found.result.n_train} images, C={found.result.C:g}; see metrics.json")


def _count(store: Store, args: argparse.Namespace) -> None:
    from clipjax.errors import InputError
    from clipjax.files import local_path
    from clipjax.runs.shards import count

    if not args.design:
        raise InputError("clipjax shards count needs --design=DESIGN")
    found = count.count(store, args.design, local_path(args.out, "--out"))
    print(f"{args.out}: {found.counts.seen} images; next: clipjax compare {store.place} {args.out}")
