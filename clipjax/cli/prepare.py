"""Resize and crop a data set once: clipjax prepare CONFIG[:arg] [--config.key=value]... --out=DIR

For hosts whose processors cannot decode as fast as their accelerators compute. CONFIG is a probe's config: what it
says of the data, and the image size of its model. A probe over DIR gives the same bits as over the originals, from
any model of that image size. The same command again goes on where it stopped.

    clipjax prepare zeroshot:imagenet --config.data.path=IMAGENET --config.model=ViT-B/32 --out=prepared/val
    clipjax probe zeroshot:prepared --config.data.path=prepared/val --config.model=ViT-B/32 --out=runs/imagenet

Disk: 150 kB a picture at 224 pixels. Prepare each split into a folder of its own; below one folder, --config.data.split
(and a linear probe's train_split) name them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

TAKES_OVERRIDES = True  # what the parser does not know (--config.key=value) is the config's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax prepare`; `--config.key=value` is taken by the config itself."""
    parser.add_argument("config", metavar="CONFIG[:arg]")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder of prepared pictures")


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    """Resolves the config, writes, says what is there."""
    from clipjax.runs import config, prepare

    print(prepare.run(config.load(args.config, overrides), Path(args.out)))
