"""The verbs of the `clipjax` command."""

from __future__ import annotations

import argparse


def add_config(parser: argparse.ArgumentParser, metavar: str, out: str) -> None:
    """Flags of a verb that runs a config on one host or several: CONFIG, --out (`metavar`, what it is), --keys."""
    parser.add_argument(
        "config", metavar="CONFIG[:arg]", help="a shipped name or a .py file; what `arg` means, it says"
    )
    parser.add_argument("--out", metavar=metavar, help=out)
    parser.add_argument(
        "--keys", nargs="?", const="text", choices=("text", "json"), help="print every key of the config, and stop"
    )
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="process 0's address, for several hosts")
    parser.add_argument("--processes", type=int, metavar="N", help="how many hosts there are")
    parser.add_argument("--process", type=int, metavar="I", help="which of them this is, from 0")
