"""List the released models: size, inputs, published accuracy, sources, and what is cached."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax models`."""
    parser.add_argument("--json", action="store_true", help="one JSON list instead of the table")


def run(args: argparse.Namespace) -> None:
    """Prints the catalogue; touches no network and no device."""
    from clipjax import download
    from clipjax.models import catalog

    rows: list[dict[str, Any]] = []
    for r in catalog.RELEASES:
        path = download.release_path(r.filename, r.sha256, r.hub)
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
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'name':<15} {'parameters':>11} {'pixels':>6} {'width':>5} {'ImageNet':>8}  {'cached':<6}  sources")
    for row in rows:
        millions = f"{row['parameters'] / 1e6:.0f} M"
        mirrors = ", ".join(s for s in row["sources"][1:])
        print(
            f"{row['name']:<15} {millions:>11} {row['resolution']:>6} {row['width']:>5} {row['imagenet_top1']:>7}%  "
            f"{'yes' if row['cached'] else 'no':<6}  OpenAI, {mirrors}"
        )
    print(
        "\nwidth: of the joint embedding. ImageNet: zero-shot top-1 as published (CLIP paper, Table 11). "
        f"Cache: {download.cache_dir()}"
    )
