"""Compile a model for a pod you do not have: memory, FLOPs, collectives, largest batch.

    clipjax plan --model=ViT-L/14@336px --topology=v5e:4x4 --batch=128
    clipjax plan --model=ViT-B/32 --topology=v5p:2x2x4 --train --loss=ring_softmax --fsdp=4
    clipjax plan --model=ViT-L/14 --topology=h100:1 --train --tune=lora --lora-rank=16
    clipjax plan --model=RN50x64 --topology=h100:8
    clipjax plan --model=ViT-B/32 --topology=h200:64 --images=1e9 --price=4

For TPUs (v4, v5e, v5p, v6e) this needs the extra `clipjax[tpu]` and no TPU: the TPU compiler compiles the real step.
For NVIDIA's h100, h200, a100 and l4 (`h100:8` is eight of them) nothing is compiled: the step is lowered for CUDA,
and the time is computed from formulas for operations and bytes. All numbers are per chip and step. Times are lower
bounds at published peak rates, not measurements. --images=N adds what N images take: hours of chips and of cores that
decode, bytes that are read and kept, and money.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

TRAIN = {
    "loss": "softmax", "remat": "none", "fsdp": 1, "parts": 1, "scan": False, "context": None, "tune": "full",
    "lora_rank": 8, "lora_on": "attention", "lora_dropout": 0.0, "optimizer": "adamw", "ema": 0.0,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax plan`."""
    from clipjax import loading
    from clipjax.plan import cost

    parser.add_argument("--model", required=True, help="released name, weights file, folder or hf://org/name")
    parser.add_argument("--topology", required=True, help="CHIP:SHAPE, e.g. v5e:4x4, v5p:2x2x4, h100:8")
    parser.add_argument("--batch", type=int, default=64, help="images (with --train: pairs) per chip (64)")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"), help="default: bfloat16")
    parser.add_argument("--placement", default="replicated", choices=("replicated", "fsdp"), help="in evaluation")
    parser.add_argument("--train", action="store_true", help="the training step instead of the evaluation step")
    train = parser.add_argument_group("with --train, as in a fine-tuning config")
    train.add_argument("--loss", help="softmax, ring_softmax, sigmoid, ring_sigmoid")
    train.add_argument("--remat", help="none, dots, full")
    train.add_argument("--fsdp", type=int, help="chips that share one copy of parameters and moments")
    train.add_argument("--parts", type=int, help="number of accumulation steps (exact)")
    train.add_argument("--scan", action="store_true", help="one compiled block per encoder")
    train.add_argument("--tune", help="full, lora, projections, biases, norms, or last_blocks:K")
    train.add_argument("--lora-rank", type=int, help="of --tune=lora (8)")
    train.add_argument("--lora-on", help="attention, mlp, projections, several joined by +")
    train.add_argument("--lora-dropout", type=float, help="of an adapter's input (0)")
    train.add_argument("--optimizer", help="adamw, lion, adafactor, muon: their moments")
    train.add_argument("--ema", type=float, help="decay of an average of parameters; 0: none")
    train.add_argument("--context", type=int, help="tokens of a caption (default: those of the model)")
    parser.set_defaults(**TRAIN)
    parser.add_argument(
        "--largest", default="predict", choices=("predict", "search", "none"),
        help="the largest batch that fits: predicted from a second compilation; searched for (up to ten compilations, "
        "and XLA's compiler can crash at very large batches; the results printed before remain valid); or none",
    )  # fmt: skip
    parser.add_argument(
        "--decode", type=float, default=0.0, metavar="RATE",
        help="images per second that one core decodes: prints the number of cores needed",
    )  # fmt: skip
    parser.add_argument("--images", type=float, metavar="N", help="what a run over N images takes (1e9)")
    parser.add_argument(
        "--image-bytes", type=float, default=cost.IMAGE, metavar="B", help=f"of one image file ({cost.IMAGE:.0f})"
    )
    parser.add_argument("--price", type=float, default=0.0, metavar="P", help="of one chip for one hour")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the text")
    loading.add_options(parser)


def run(args: argparse.Namespace) -> None:
    """Checks names first; one compilation takes half a minute to several minutes."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # nothing runs, so an existing TPU or GPU stays free
    from clipjax.errors import InputError
    from clipjax.plan import chips, cost, report
    from clipjax.progress import say

    topology = chips.topology(args.topology)
    if args.batch < 1:
        raise InputError(f"--batch={args.batch} is not positive")
    if args.images is not None:
        cost.check(args.images, args.image_bytes, args.price)
        if args.train:
            raise InputError("--images is of a run that encodes images, not of --train; leave one of them out")
    elif args.price or args.image_bytes != cost.IMAGE:
        raise InputError("--price and --image-bytes are of a number of images; give it: --images=1e9")
    if not args.train and (unread := [name for name, usual in TRAIN.items() if getattr(args, name) != usual]):
        raise InputError(f"--{unread[0].replace('_', '-')} is read with --train; leave it out, or plan --train")
    name, config = _config(args)
    if args.train and args.context and not 0 < args.context <= config.text.context_length:
        raise InputError(f"--context={args.context}: {name} reads 1 to {config.text.context_length} tokens")
    build, per = _builder(args, topology, config)
    head: dict[str, Any] = {"model": name, "step": "training step" if args.train else "evaluation step"}
    if topology.chip.kind == "gpu":
        record = head | report.estimate(topology, build(args.batch), args.precision)
    else:

        def early(found: dict[str, Any]) -> None:
            if not args.json:
                print(report.as_text(head | found, args.decode), flush=True)

        record = head | report.plan(
            topology, build, args.batch, args.precision, largest=args.largest, per=per, note=say, early=early
        )
    if args.images is not None:
        if "images_per_second_per_chip" not in record:
            raise InputError(f"--batch={args.batch} does not fit; --images is computed at a batch that fits")
        from clipjax.runs.shards import plan as units

        rate, decode = record["images_per_second_per_chip"], args.decode or cost.DECODED
        given = args.images, config.embed_dim, decode, args.image_bytes, args.price
        record["cost"] = cost.cost(rate, *given, rows=units.ROWS)
    if args.json:
        print(json.dumps(record, indent=2))
        return
    if "largest" in record:  # the rest was printed early
        print(f"  largest batch: {report.largest_as_text(record['largest'])}")
    elif "predicted" in record:
        print(f"  largest batch: {report.predicted_as_text(record['predicted'])}")
    else:
        print(report.as_text(record, args.decode))
    if "cost" in record:
        print(cost.as_text(record["cost"]))


def _builder(args: argparse.Namespace, topology: Any, config: Any) -> tuple[Any, int]:
    """(images per chip -> the step, the number that must divide a batch)."""
    from clipjax.errors import InputError
    from clipjax.models import lora
    from clipjax.plan import compiling, programs

    gpu = topology.chip.kind == "gpu"
    chips = topology.size if gpu else compiling.tpu_devices(topology)
    if not args.train:
        return lambda size: programs.evaluation(config, chips, size, dtype=args.precision, placement=args.placement), 1
    form = lora.Lora(args.lora_rank, 2.0 * args.lora_rank, args.lora_on, args.lora_dropout)
    adapters = form if args.tune == "lora" else None
    if unread := [n for n in TRAIN if n.startswith("lora") and adapters is None and getattr(args, n) != TRAIN[n]]:
        raise InputError(f"--{unread[0].replace('_', '-')} is read with --tune=lora; this is --tune={args.tune}")
    options = programs.options(args.loss, args.precision, args.remat, args.parts, args.scan, args.ema, adapters)
    return lambda size: programs.training(
        config, chips, size, options, fsdp=args.fsdp, length=args.context, tune=args.tune, optimizer=args.optimizer
    ), args.parts  # fmt: skip


def _config(args: argparse.Namespace) -> tuple[str, Any]:
    """The configuration of a released model needs no download; for other models the file is read."""
    from clipjax import loading
    from clipjax.models import catalog

    options = loading.options_of(args)
    if release := catalog.find(args.model):
        options.check(release.config, release.name)
        return release.name, release.config
    found = loading.find_weights(args.model, options)
    return found.name, found.config
