"""Several models, the same probes, one page: clipjax panel CONFIG[:arg] [--config.key=value]... --out=DIR

CONFIG is a config file or a shipped name (people): models, data sets and probes. Every probe of every model is a run in
DIR/runs, for `clipjax report` and `clipjax compare`. The same command repeats no finished run and writes the page anew:
the models side by side with intervals, which ranks hold when images are resampled, published numbers, what goes with
accuracy. A run that fails is on the page and stops no other; the exit status is then 1.

    clipjax panel people:people.csv --config.models=emoji-clip,ViT-B/32 --out=panel
    clipjax panel people --keys
    clipjax panel people --config.models=before=a.safetensors,after=b.safetensors --out=panel

--coordinator, --processes and --process are those of `clipjax probe`, for several hosts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clipjax import cli

TAKES_OVERRIDES = True  # what the parser does not know (--config.key=value) is the config's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax panel`; `--config.key=value` is taken by the config itself."""
    cli.add_config(parser, "DIR", "the folder of the page and of all runs")


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    """Joins the hosts, resolves the config, runs what is missing, writes the page."""
    from clipjax import parallel
    from clipjax.errors import InputError
    from clipjax.runs import config, panel

    resolved = config.load(args.config, overrides, "panels")
    if config.print_keys(resolved, args.keys, args.out):
        return
    parallel.start_hosts(args.coordinator, args.processes, args.process)
    out = Path(args.out)
    done = panel.run(resolved, out, " ".join([args.config, *overrides]))
    if parallel.is_main_process():
        print(f"{done.text}\n")
        print(f"Written: {out / 'report.html'} (and metrics.json, tables/, figures/, runs/ beside it)")
    if done.failed:
        raise InputError(done.failure)
