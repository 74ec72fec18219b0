"""Convert weights: any known checkpoint in, clipjax's, OpenAI's, Hugging Face's or open_clip's out.

    clipjax convert ViT-B/32 vit-b-32.safetensors
    clipjax convert finetuned.pt folder --to=huggingface
    clipjax convert epoch_32.pt ours.safetensors --activation=gelu --heads=16

SRC is a released name, a weights file (.pt, .safetensors, .bin, .msgpack; the list of shards), a Hugging Face or
open_clip folder, or hf://org/name. A file is read with the configuration beside it; one without is read as the flags
below say, or refused. DST is a .safetensors file (clipjax), a .pt file (openai) or a new folder with the configuration
in it (huggingface, open_clip); --to=open_clip with a DST that ends in .safetensors writes the file alone. dtype stays
as it was unless --dtype says otherwise. Nothing in a file is executed.
"""

from __future__ import annotations

import argparse

FORMATS = ("clipjax", "openai", "huggingface", "open_clip")
DTYPES = ("keep", "float32", "float16", "bfloat16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax convert`."""
    from clipjax import loading

    parser.add_argument("src", metavar="SRC")
    parser.add_argument("dst", metavar="DST", help="a file; for --to=huggingface and --to=open_clip a new folder")
    parser.add_argument("--to", choices=FORMATS, default="clipjax", help="format to write (default: clipjax)")
    parser.add_argument("--dtype", choices=DTYPES, default="keep", help="cast floating tensors (default: keep)")
    loading.add_options(parser)


def run(args: argparse.Namespace) -> None:
    """Reads, casts, writes, and says what was written and how its readers open it."""
    from checkpoints_convert import opening
    from clipjax import loading
    from clipjax.models import describe

    loaded = loading.convert(args.src, args.dst, args.to, args.dtype, loading.options_of(args))
    print(f"{args.dst}: {loaded.name}, {describe.one_line(describe.describe(loaded))}, --to={args.to}")
    for line in opening.lines(args.dst, loaded, args.to):
        print(line)
