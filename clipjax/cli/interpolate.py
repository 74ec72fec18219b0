"""Interpolate two models (WiSE-FT): clipjax interpolate BEFORE AFTER OUT --alpha=0.5

Writes (1 - alpha) x BEFORE + alpha x AFTER for every parameter. The result often keeps more of the abilities from
before fine-tuning (Wortsman et al. 2022). With several alphas OUT is a folder, and --probe runs a probe on each
model:

    clipjax interpolate ViT-B/32 run/model.safetensors sweep/ --alpha=0,0.25,0.5,0.75,1 \\
        --probe=zeroshot --config.data.path=photos/

    clipjax report sweep/alpha-*/probe
"""

from __future__ import annotations

import argparse
from pathlib import Path

TAKES_OVERRIDES = True  # --config.key=value is the probe's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax interpolate`."""
    parser.add_argument("before", metavar="BEFORE", help="whatever takes a model: a released name, a file")
    parser.add_argument("after", metavar="AFTER", help="the same architecture, for example fine-tuned from BEFORE")
    parser.add_argument("out", metavar="OUT", help="a .safetensors file; with several alphas a folder")
    parser.add_argument("--alpha", default="0.5", metavar="A[,A...]", help="share of AFTER (default: 0.5)")
    parser.add_argument("--probe", metavar="CONFIG[:arg]", help="run this probe on every model")
    from clipjax import loading

    loading.add_options(parser)


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    """Reads both, writes one file per alpha, probes each."""
    from clipjax import loading
    from clipjax.errors import InputError
    from clipjax.runs import interpolation

    try:
        alphas = [float(a) for a in args.alpha.split(",")]
    except ValueError:
        raise InputError(f"--alpha={args.alpha} is not a list of numbers; for example 0,0.5,1") from None
    if overrides and not args.probe:
        raise InputError(f"{overrides[0]} is for a probe; name it with --probe=CONFIG")
    options = loading.options_of(args)
    print(interpolation.run(args.before, args.after, Path(args.out), alphas, args.probe, overrides, options))
