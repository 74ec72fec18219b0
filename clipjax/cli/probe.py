"""Run a probe: clipjax probe CONFIG[:arg] [--config.key=value]... --out=RUN

CONFIG is a config file or a shipped name (zeroshot, linear, fewshot, retrieval). The same command again goes on
where it stopped; features are cached, so a second probe over the same pictures never runs the image tower.

    clipjax probe zeroshot --config.data.path=photos/ --config.classes="a cat,a dog" --out=runs/photos

On a pod or a Slurm or Kubernetes job the same command runs on every host; elsewhere add --coordinator=HOST:PORT
--processes=N --process=I. See `configs/probes` for every key.
"""

from __future__ import annotations

import argparse
from pathlib import Path

TAKES_OVERRIDES = True  # what the parser does not know (--config.key=value) is the config's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax probe`; `--config.key=value` is taken by the config itself."""
    parser.add_argument("config", metavar="CONFIG[:arg]")
    parser.add_argument("--out", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="process 0's address, for several hosts")
    parser.add_argument("--processes", type=int, metavar="N")
    parser.add_argument("--process", type=int, metavar="I")


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    """Joins the hosts, resolves the config, runs."""
    from clipjax import parallel
    from clipjax.runs import config, runner

    resolved = config.load(args.config, overrides)
    parallel.start_hosts(args.coordinator, args.processes, args.process)
    runner.run(resolved, Path(args.out))
