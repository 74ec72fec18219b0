"""Resize and crop a data set once: clipjax prepare CONFIG[:arg] [--config.key=value]... --out=DIR

This is for hosts that decode images more slowly than their accelerators compute. CONFIG is the config of a probe;
prepare uses its data keys and the image size of its model. A probe on DIR gives the same bits as on the originals,
for any model with that image size. The same command continues an interrupted one.

    clipjax prepare zeroshot:imagenet --config.data.path=IMAGENET --config.model=ViT-B/32 --out=prepared/val
    clipjax probe zeroshot:prepared --config.data.path=prepared/val --config.model=ViT-B/32 --out=runs/imagenet

Disk space: 150 kB per image at 224 pixels. Prepare each split into its own folder. If the folders have one parent,
give the parent as data.path; --config.data.split (and train_split of a linear probe) selects a split.
"""

from __future__ import annotations

import argparse
from pathlib import Path

TAKES_OVERRIDES = True  # what the parser does not know (--config.key=value) is the config's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax prepare`; `--config.key=value` is taken by the config itself."""
    parser.add_argument("config", metavar="CONFIG[:arg]", help="the config of a probe: a shipped name or a .py file")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder of prepared images")


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    """Resolves the config, writes the images, and prints a summary."""
    from clipjax.runs import config, prepare

    print(prepare.run(config.load(args.config, overrides), Path(args.out)))
