"""List the released models, or describe a weights file: sizes, heads, activation, dtypes, source.

    clipjax models
    clipjax models finetuned.safetensors

FILE is a weights file, a folder, hf://org/name or a released name, as for --model of other commands.
"""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax models`."""
    from clipjax import loading

    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="a weights file or folder, or a name (default: the list)"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of the table")
    loading.add_options(parser)


def run(args: argparse.Namespace) -> None:
    """Prints the catalog, without network or device, or the description of FILE."""
    if args.file is not None:
        _describe(args)
        return
    rows = _rows()
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'name':<15} {'parameters':>11} {'pixels':>6} {'width':>5} {'ImageNet':>8}  {'cached':<6}  sources")
    for row in rows:
        first, *mirrors = row["sources"]
        sources = ["OpenAI", *mirrors] if mirrors else [first]
        accuracy = "" if row["imagenet_top1"] is None else f"{row['imagenet_top1']}%"
        print(
            f"{row['name']:<15} {row['parameters'] / 1e6:>9.0f} M {row['resolution']:>6} {row['width']:>5} "
            f"{accuracy:>8}  {'yes' if row['cached'] else 'no':<6}  {', '.join(sources)}"
        )
    from clipjax import download

    print(
        "\nwidth: of the joint embedding. ImageNet: zero-shot top-1 as published (CLIP paper, Table 11). "
        f"emoji-clip is embedded and was trained on emoji artwork only. Cache: {download.cache_dir()}"
    )


def _rows() -> list[dict[str, Any]]:
    from clipjax import download, loading
    from clipjax.models import catalog

    rows: list[dict[str, Any]] = []
    for r in catalog.RELEASES:
        path = download.release_path(r.filename, r.hub)
        rows.append(
            {
                "name": r.name,
                "parameters": r.parameters,
                "resolution": r.config.image.image_size,
                "width": r.config.embed_dim,
                "imagenet_top1": r.imagenet_top1,
                "sources": [download.openai_url(r.sha256, r.filename), *(f"hf://{repo}" for repo in r.hub)],
                "cached": str(path) if path else None,
            }
        )
    demo = loading.find_weights(loading.DEMO)
    parameters = sum(array.size for array in demo.flat.values())
    config = demo.config
    return [
        *rows,
        {
            "name": demo.name,
            "parameters": parameters,
            "resolution": config.image.image_size,
            "width": config.embed_dim,
            "imagenet_top1": None,
            "sources": ["embedded"],
            "cached": str(loading.locate(loading.DEMO)),
        },
    ]


def _describe(args: argparse.Namespace) -> None:
    from clipjax import loading
    from clipjax.models import describe

    what = loading.describe(args.file, loading.options_of(args))
    print(json.dumps(what, indent=2) if args.json else describe.table(what))
