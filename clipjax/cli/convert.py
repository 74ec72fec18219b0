"""Convert weights from any known format to the format of clipjax, OpenAI, Hugging Face or open_clip.

    clipjax convert ViT-B/32 vit-b-32.safetensors
    clipjax convert finetuned.pt folder --to=huggingface
    clipjax convert epoch_32.pt ours.safetensors --activation=gelu --heads=16

SRC is a released name, a weights file (.pt, .safetensors, .bin, .msgpack; the list of shards), a Hugging Face or
open_clip folder, or hf://org/name. A file is read with the configuration beside it. A file without configuration
needs the flags below. DST is a .safetensors file (clipjax), a .pt file (openai) or a new folder that includes the
configuration (huggingface, open_clip). --to=open_clip with a DST that ends in .safetensors writes a single file. The
dtype stays unchanged unless --dtype changes it. Nothing in a file is executed.
"""

from __future__ import annotations

import argparse

FORMATS = ("clipjax", "openai", "huggingface", "open_clip")
DTYPES = ("keep", "float32", "float16", "bfloat16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax convert`."""
    from clipjax import loading

    parser.add_argument("src", metavar="SRC", help="a released name, a file, a folder or hf://org/name")
    parser.add_argument("dst", metavar="DST", help="a file; for --to=huggingface and --to=open_clip a new folder")
    parser.add_argument("--to", choices=FORMATS, default="clipjax", help="format to write (default: clipjax)")
    parser.add_argument("--dtype", choices=DTYPES, default="keep", help="cast floating tensors (default: keep)")
    loading.add_options(parser)


def run(args: argparse.Namespace) -> None:
    """Reads, casts and writes the weights; prints what was written and the call that opens it in other libraries."""
    from checkpoints_convert import opening
    from clipjax import loading
    from clipjax.models import describe

    loaded = loading.convert(args.src, args.dst, args.to, args.dtype, loading.options_of(args))
    print(f"{args.dst}: {loaded.name}, {describe.one_line(loaded)}, --to={args.to}")
    for line in opening.lines(args.dst, loaded, args.to):
        print(line)
