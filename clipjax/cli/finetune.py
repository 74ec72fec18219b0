"""Contrastive fine-tuning: clipjax finetune CONFIG[:arg] [--config.key=value]... --out=RUN

CONFIG is a config file or a shipped name (openai_vit_b32_csv, lit, rn50_frozen_bn, siglip_ring, emoji_from_scratch).
The same command continues after the last checkpoint, also with another number of devices. SIGTERM and Ctrl-C save a
checkpoint first (exit status 143). RUN/model.safetensors is the result, which every command accepts as a model.

    clipjax finetune openai_vit_b32_csv --config.data.csv=captions.csv --config.data.caption_columns=caption --out=RUN
    clipjax finetune openai_vit_b32_csv --keys

Often changed, as --config.KEY=VALUE (--keys lists all, with their meaning):

    model, steps, batch_size, optimizer.learning_rate, optimizer.warmup, ema, loss, precision
    tune=lora (lora.rank, lora.alpha, lora.on), last_blocks:K, projections, biases, norms; optimizer.freeze
    data.csv, data.path, data.caption_columns, data.validation_path, templates, augment.preset, soft_targets
    data.mixture (several tables), data.balance, data.weight_column, data.hard_negative_columns
    resize.image_size, resize.context (positions interpolated)
    parts, remat, devices, fsdp (memory and speed), conventions=open_clip (where libraries differ)
    checkpoints.best=-validation/loss, early_stopping, evaluate.every, evaluate.share

RUN is taken as a model by every command (--config.model=RUN; RUN/checkpoints/N too). clipjax report RUN has the
learning curves. --accept-changes goes on from the last checkpoint with another config or other data.

On a pod, or under Slurm, MPI or Kubernetes (docs/pods.md), run the same command on every host; elsewhere add
--coordinator=HOST:PORT --processes=N --process=I.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clipjax import cli

TAKES_OVERRIDES = True  # what the parser does not know (--config.key=value) is the config's
STOPS_TOGETHER = True  # a signal to one host stops all of them at the same step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax finetune`; `--config.key=value` is taken by the config itself."""
    cli.add_config(parser, "RUN", "the run's folder")
    parser.add_argument(
        "--accept-changes",
        action="store_true",
        help="go on from RUN's last checkpoint with another config or other data; the manifest records it",
    )


def run(args: argparse.Namespace, overrides: list[str]) -> None:
    """Joins the hosts, resolves the config, trains."""
    from clipjax import parallel
    from clipjax.runs import config, finetune

    resolved = config.load(args.config, overrides, "finetune")
    if config.print_keys(resolved, args.keys, args.out):
        return
    parallel.start_hosts(args.coordinator, args.processes, args.process, saves=True)
    if text := finetune.run(resolved, Path(args.out), args.accept_changes).text:
        print(text)
