"""List the models that can be loaded, and what is cached; or describe a weights file: sizes, heads, dtypes, source.

    clipjax models
    clipjax models finetuned.safetensors

FILE is a weights file, a folder, hf://org/name, py:FILE.py or a released name, as for --model of other commands.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

# What each family can be loaded from, beside a file of clipjax's own.
FAMILIES = (
    ("OpenAI's CLIP", "a released name; OpenAI's .pt; Hugging Face, open_clip and timm folders and files"),
    ("LAION, DataComp, DFN, MetaCLIP", "open_clip and Hugging Face folders and files, hf://org/name"),
    ("SigLIP, SigLIP 2 (fixed resolution)", "open_clip, Hugging Face and big_vision, hf://org/name; tokenizer.json"),
    ("MetaCLIP 2", "open_clip and Hugging Face folders and files, hf://org/name; tokenizer.json"),
    ("CLIPA", "open_clip folders and files, hf://org/name; tokenizer.json"),
    ("PE-Core, EVA01 and EVA02", "open_clip folders and files, hf://org/name; their own releases"),
    ("CoCa, its contrastive part", "open_clip folders and files, hf://org/name"),
    ("MobileCLIP-B, MobileCLIP2-B and -L", "open_clip folders and files, hf://org/name"),
    ("every other image-text model", "py:FILE.py, a Python file of your own (docs: Models that clipjax does not have)"),
)


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
    released, of_hub = _released(), _of_hub()
    if args.json:
        print(json.dumps([*released, *of_hub], indent=2))
        return
    print(f"{'name':<15} {'parameters':>11} {'pixels':>6} {'width':>5} {'ImageNet':>8}  {'cached':<6}  sources")
    for row in released:
        first, *mirrors = row["sources"]
        sources = ["OpenAI", *mirrors] if mirrors else [first]
        accuracy = "" if row["imagenet_top1"] is None else f"{row['imagenet_top1']}%"
        print(
            f"{row['name']:<15} {row['parameters'] / 1e6:>9.0f} M {row['resolution']:>6} {row['width']:>5} "
            f"{accuracy:>8}  {'yes' if row['cached'] else 'no':<6}  {', '.join(sources)}"
        )
    print(
        "\nwidth: of the joint embedding. ImageNet: zero-shot top-1 as published (CLIP paper, Table 11). "
        "emoji-clip is embedded and was trained on emoji artwork only.\n\nFamilies, and what they are loaded from:"
    )
    for name, sources in FAMILIES:
        print(f"  {name:<36} {sources}")
    _print_cached(of_hub)


def _print_cached(of_hub: list[dict[str, Any]]) -> None:
    from clipjax import download

    own = download.cache_dir()
    print(f"\nCached: {own}")
    for folder in sorted(path for path in own.glob("*") if path.is_dir()):
        files = [path for path in folder.rglob("*") if path.is_file()]
        print(f"  {folder.name:<36} {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:,.1f} MB")
    for row in of_hub:
        print(f"  {row['name']:<36} {Path(row['cached']).stat().st_size / 1e6:,.1f} MB in the hub's cache")


def _released() -> list[dict[str, Any]]:
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


def _of_hub() -> list[dict[str, Any]]:
    """Weights in the hub's cache, whoever put them there; what they are is known once they are read."""
    from clipjax import download

    unknown = dict.fromkeys(("parameters", "resolution", "width", "imagenet_top1"))
    return [
        {"name": str(repo), **unknown, "sources": [str(repo)], "cached": str(paths[-1])}
        for repo, paths in download.hub.every_cached()
    ]


def _describe(args: argparse.Namespace) -> None:
    from clipjax import loading
    from clipjax.models import describe

    what = loading.describe(args.file, loading.options_of(args))
    if args.json:
        print(json.dumps(what, indent=2))
    elif "image" in what:
        print(describe.table(what))
    else:
        print("\n".join(f"{name:<20} {value}" for name, value in what.items()))
