"""Convert weights: any known checkpoint in, clipjax's, OpenAI's, Hugging Face's or open_clip's out.

    clipjax convert ViT-B/32 vit-b-32.safetensors
    clipjax convert finetuned.pt folder --to=huggingface

SRC is a released name, an OpenAI .pt (TorchScript archive or state dict), a .safetensors file, a Hugging Face or
open_clip folder, or hf://org/name. DST is a file, for --to=huggingface a new folder. dtype stays as it was unless
--dtype says otherwise. Nothing in a file is executed.
"""

from __future__ import annotations

import argparse

FORMATS = ("clipjax", "openai", "huggingface", "open_clip")
DTYPES = ("keep", "float32", "float16", "bfloat16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax convert`."""
    parser.add_argument("src", metavar="SRC")
    parser.add_argument("dst", metavar="DST")
    parser.add_argument("--to", choices=FORMATS, default="clipjax", help="format to write (default: clipjax)")
    parser.add_argument("--dtype", choices=DTYPES, default="keep", help="cast floating tensors (default: keep)")
    parser.add_argument("--activation", choices=("quick_gelu", "gelu"), help="for a bare file that does not say")


def run(args: argparse.Namespace) -> None:
    """Reads, casts, writes, and says in one line what was written."""
    from clipjax import loading
    from clipjax.models import catalog

    loaded = loading.convert(args.src, args.dst, args.to, args.dtype, args.activation)
    same = next((r.name for r in catalog.RELEASES if r.config == loaded.config), "an architecture of its own")
    dtypes = ", ".join(sorted({str(array.dtype) for array in loaded.flat.values()}))
    count = sum(array.size for name, array in loaded.flat.items() if "running_" not in name)
    print(f"{args.dst}: {loaded.name}, built as {same}, {count / 1e6:.1f} million parameters, {dtypes}, --to={args.to}")
