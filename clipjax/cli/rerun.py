"""Repeat a run from its manifest and compare: clipjax rerun RUN [--out=DIR] [--cached] [--config.key=value]...

Every number is computed again, including features (--cached takes features from the cache). Exit status 0: every record
and prediction is bit-identical; 3: something differs, and the output lists it, with the versions, device,
weights and data that differ. If data or weights have moved, say where they are:

    clipjax rerun runs/people
    clipjax rerun runs/ft                  # trains again and compares every parameter
    clipjax rerun runs/people --config.data.path=/elsewhere/people --config.model=vit-b-32.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

TAKES_OVERRIDES = True  # --config.key=value stands over the manifest's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax rerun`; `--config.key=value` is taken by the config itself."""
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run of probe or finetune")
    parser.add_argument("--out", metavar="DIR", help="keep the second run here; default: nowhere")
    parser.add_argument("--cached", action="store_true", help="take image and text features from the cache")


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    """Runs, compares, and says what differs."""
    from clipjax.analysis import training
    from clipjax.errors import Breach
    from clipjax.runs import rerun

    path = Path(args.run)
    if training.is_training(path):
        _again(path, overrides, args)
        return
    found = rerun.rerun(path, overrides, Path(args.out) if args.out else None, args.cached)
    print(found.text)
    print(rerun.describe(found))
    if not found.same:
        raise Breach(f"{path}: made again, it gives other numbers")


def _again(path: Path, overrides: list[str], args: argparse.Namespace) -> None:
    from clipjax.errors import Breach, InputError
    from clipjax.runs import retrain

    if args.cached:
        raise InputError(f"{path}: is a fine-tuning run, which has no features in the cache; leave --cached out")
    found = retrain.rerun(path, overrides, Path(args.out) if args.out else None)
    print(found.text())
    if not found.same:
        raise Breach(f"{path}: trained again, it gives other weights")
