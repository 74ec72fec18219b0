"""Run a probe: clipjax probe CONFIG[:arg] [--config.key=value]... --out=RUN

CONFIG is a config file or a shipped name (zeroshot, linear, fewshot, retrieval; fairface, fairface_attributes,
congress, celeba, rates). The same command continues an interrupted run. Features are cached, so a second probe on the
same images does not run the image encoder.

    clipjax probe zeroshot --config.data.path=photos/ --config.classes="a cat,a dog" --out=runs/photos
    clipjax probe rates --config.data.csv=people.csv --config.data.group_columns=age --config.design=mine.yaml --out=RUN
    clipjax probe rates --keys

If a condition on the numbers holds, the exit status is 3, and one line reports each number that met it:

    clipjax probe fairface --config.data.path=FAIRFACE --out=RUN --fail-if="rate[set=crime, race=*] > 0.05 @ lower"

On a pod, or under Slurm, MPI or Kubernetes (docs/pods.md), run the same command on every host; elsewhere add
--coordinator=HOST:PORT --processes=N --process=I. --log=tensorboard and --log=wandb:PROJECT write the numbers of the
run there too (pip install 'clipjax[tensorboard]', 'clipjax[wandb]').
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clipjax import cli

TAKES_OVERRIDES = True  # what the parser does not know (--config.key=value) is the config's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax probe`; `--config.key=value` is taken by the config itself."""
    cli.add_config(parser, "RUN", "the run's folder")
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="CONDITION",
        help="METRIC[key=value] > NUMBER @ lower; repeatable",
    )
    parser.add_argument(
        "--log", action="append", default=[], metavar="WHERE", help="tensorboard, or wandb:PROJECT; repeatable"
    )


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    """Joins the hosts, resolves the config, runs, and holds the numbers against the conditions."""
    from clipjax import parallel
    from clipjax.analysis import gate
    from clipjax.errors import Breach
    from clipjax.runs import config, publish, runner

    resolved = config.load(args.config, overrides)
    if config.print_keys(resolved, args.keys, args.out):
        return
    conditions = [gate.parse(text) for text in args.fail_if]
    publish.check(args.log)
    parallel.start_hosts(args.coordinator, args.processes, args.process)
    found = runner.run(resolved, Path(args.out))
    if parallel.is_main_process():
        publish.publish(found.runs, args.log)
        print(found.text())
    lines = [f"{run.path}: {line}" for run in found.runs for c in conditions for line in gate.breaches(c, run.records)]
    if lines:
        raise Breach("\n".join([f"{len(lines)} breached", *lines]))
