"""clipjax on an NVIDIA GPU: agreement with a CPU, and speed beside open_clip and the roofline.

    python experiments/gpu/run.py [--parts=features,encoders] [--models=ViT-B/32,RN50] [--budget=600] [--list]

Needs one GPU, `pip install 'jax[cuda13]' 'clipjax[peers]'`, and downloads nothing. Every cell is one line in
results/CARD.jsonl, written when it is done; the same command continues with the missing cells, and writes
results/CARD.md from all lines. `--budget`: seconds after which no cell is started.

Parts: features, commands, losses (agreement with the CPU); ceilings, cudnn, encoders, texts, updates (speed);
kernels (the longest kernels of an encoder).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

# torch lies on the same card: JAX takes what it needs, not three quarters of the memory in advance.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from clipjax.models import catalog

HERE = Path(__file__).parent
PARTS = ("features", "commands", "losses", "ceilings", "cudnn", "encoders", "texts", "updates", "kernels")
PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "nvidia-cudnn-cu13", "flax", "numpy", "torch", "open_clip_torch")
TINY = ("emoji-clip",)
Cell = tuple[str, str, Callable[[], dict[str, Any]]]


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    """(part, case, what measures it) in the order of PARTS; libraries are imported by the part that needs them."""
    import agreement
    import speed

    models = args.models.split(",")
    large = [m for m in models if m not in TINY]
    for part in args.parts.split(","):
        if part == "features":
            yield from ((part, m, lambda m=m: agreement.features(m)) for m in models)
        elif part == "commands":
            yield part, "demo, probe, finetune", agreement.commands
        elif part == "losses":
            yield from ((part, m, lambda m=m: agreement.losses(m)) for m in ("ViT-B/32", "RN50") if m in models)
        elif part == "ceilings":
            yield part, "matrix product, copy", speed.ceilings
        elif part == "cudnn":
            yield from ((part, m, lambda m=m: speed.cudnn(m, args.batch)) for m in large)
        elif part in ("encoders", "texts"):
            measure = getattr(speed, part)
            for dtype in args.dtypes.split(","):
                some = large if part == "encoders" else [m for m in ("ViT-B/32", "ViT-L/14", "RN50x64") if m in models]
                for m in some:
                    with_compiler = m in args.compiled.split(",") and dtype == "bfloat16"
                    yield (
                        part, f"{m}, {dtype}, batch {args.batch}",
                        lambda m=m, d=dtype, c=with_compiler, f=measure: f(m, d, args.batch, c),
                    )  # fmt: skip
        elif part == "updates":
            compiled = "ViT-B/32" in args.compiled.split(",")
            yield part, f"ViT-B/32, batch {args.batch}", lambda c=compiled: speed.updates("ViT-B/32", args.batch, c)
        elif part == "kernels":
            yield from ((part, m, lambda m=m: speed.kernels(m, args.batch)) for m in ("RN50", "ViT-B/32", "ViT-L/14"))


def main() -> None:
    """Measures what is missing, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--models", default=",".join((*catalog.names(), *TINY)))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--dtypes", default="bfloat16,float32", help="of encoders and texts")
    parser.add_argument(
        "--compiled", default="", help="models whose open_clip encoder is timed under torch.compile too"
    )
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no cell is begun")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of CARD.jsonl and CARD.md")
    parser.add_argument("--list", action="store_true", help="say what is done and what is missing, measure nothing")
    args = parser.parse_args()
    card = jax.devices()[0].device_kind
    kept = args.results / (re.sub(r"[^a-z0-9]+", "-", card.lower()) + ".jsonl")
    kept.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    for part, case, measure in cells(args):
        done = any((r["part"], r["case"]) == (part, case) for r in read(kept))
        if args.list:
            print("done   " if done else "missing", part, case)
        elif not done and time.perf_counter() - begin < args.budget:
            record = {"part": part, "case": case, "card": card} | attempt(measure)
            record |= {"date": time.strftime("%Y-%m-%d"), "versions": versions()}
            with kept.open("a") as file:
                file.write(json.dumps(record, default=float) + "\n")
            print(json.dumps({k: v for k, v in record.items() if k != "versions"}, default=float)[:1500], flush=True)
    if not args.list and kept.exists():
        import table

        kept.with_suffix(".md").write_text(table.render(read(kept)))


def attempt(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured, or why not: one cell that the card refuses does not take the others with it."""
    begin = time.perf_counter()
    try:
        found = measure()
    except Exception as error:  # whatever a library raises belongs into the record
        found = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"}
    return found | {"took": round(time.perf_counter() - begin, 1)}


def read(kept: Path) -> list[dict[str, Any]]:
    """The cells measured so far."""
    return [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    if flags := os.environ.get("XLA_FLAGS"):
        found["XLA_FLAGS"] = flags
    return found


if __name__ == "__main__":
    main()
