"""A zero-shot probe from JPEG files to accuracy, each library in its own process, from start to printed number.

    python benchmarks/end_to_end.py --model=ViT-B/32

200 photographs in 100 class folders (500 x 375, benchmarks/decode.py makes them), 3 templates, float32, a full-size
model with random weights that both read from disk. clipjax runs `clipjax probe zeroshot` without cached features
 (--config.cache_dir=none). Peers: clip-benchmark's zero-shot evaluation, and a plain open_clip script;
both decode in DataLoader workers (one per processor) in batches of 32. All must report the same number of hits.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import side_by_side

THREADS = side_by_side.threads()

BATCH, BAR = 32, 1.2
TEMPLATES = ("a photo of a {}.", "a blurry photo of a {}.", "a close-up photo of the {}.")
OPEN_CLIP = {"ViT-B/32": "ViT-B-32-quickgelu", "RN50": "RN50-quickgelu"}


def make(root: Path, name: str, per_class: int) -> None:
    """root: photos/CLASS/*.jpg, peer.pt (open_clip's state dict) and ours.safetensors (the same weights), classes."""
    import open_clip
    import torch
    from decode import photographs

    import clipjax
    from clipjax.data import info

    classes = list(info.design("cifar100").names)
    flat = sorted(photographs(root / "all", len(classes) * per_class, (500, 375)).iterdir())
    for i, file in enumerate(flat):
        folder = root / "photos" / classes[i // per_class]
        folder.mkdir(parents=True, exist_ok=True)
        file.rename(folder / file.name)
    torch.manual_seed(0)
    model = open_clip.create_model(OPEN_CLIP[name], precision="fp32")
    torch.save(model.state_dict(), root / "peer.pt")
    ours = clipjax.load(root / "peer.pt", activation="quick_gelu")
    assert isinstance(ours, clipjax.Model)
    ours.save(root / "ours.safetensors")
    (root / "classes.json").write_text(json.dumps(sorted(classes)))


def ours(root: Path, out: Path) -> int:
    """`clipjax probe zeroshot`; returns how many images it classified correctly."""
    flags = {
        "model": root / "ours.safetensors",
        "data.path": root / "photos",
        "templates": "|".join(TEMPLATES),
        "cache_dir": "none",
        "batch_size": BATCH,
    }
    words = [f"--config.{key}={value}" for key, value in flags.items()]
    run([sys.executable, "-m", "clipjax.cli.main", "probe", "zeroshot", *words, f"--out={out}"])
    records = json.loads((out / "metrics.json").read_text())["records"]
    return next(r["k"] for r in records if r["metric"] == "top1")


def peer(root: Path, name: str, kind: str) -> int:
    """One of the two below, in a process of its own."""
    return json.loads(run([sys.executable, __file__, f"--peer={kind}", f"--root={root}", f"--model={name}"]))["hits"]


def run(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"CLIPJAX_QUIET": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


def children_seconds() -> float:
    """Processor seconds of all finished children: what a machine's other users do not change much."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def loaded(root: Path, name: str) -> tuple[Any, Any, Any, list[str]]:
    """open_clip's model, tokenizer and DataLoader, as its README has them."""
    import open_clip
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    torch.set_num_threads(THREADS)
    model, _, transform = open_clip.create_model_and_transforms(OPEN_CLIP[name], pretrained=str(root / "peer.pt"))
    data = ImageFolder(root / "photos", transform)
    loader = DataLoader(data, BATCH, num_workers=THREADS)
    return (
        model.eval(),
        open_clip.get_tokenizer(OPEN_CLIP[name]),
        loader,
        json.loads((root / "classes.json").read_text()),
    )


def clip_benchmark_script(root: Path, name: str) -> int:
    from clip_benchmark.metrics import zeroshot_classification as zeroshot

    model, tokenizer, loader, classes = loaded(root, name)
    templates = [t.replace("{}", "{c}") for t in TEMPLATES]
    # The two halves of its `evaluate`: the rest, counting hits, breaks on numpy 2.4 (a float of a one-element array).
    weights = zeroshot.zero_shot_classifier(model, tokenizer, classes, templates, "cpu", amp=False)
    logits, labels = zeroshot.run_classification(model, weights, loader, "cpu", amp=False)
    return int((logits.argmax(1) == labels).sum())


def open_clip_script(root: Path, name: str) -> int:
    import torch

    model, tokenizer, loader, classes = loaded(root, name)
    hits = 0
    with torch.inference_mode():
        columns = []
        for c in classes:
            texts = model.encode_text(tokenizer([t.format(c) for t in TEMPLATES]), normalize=True).mean(0)
            columns.append(texts / texts.norm())
        weights = torch.stack(columns, 1)
        for images, labels in loader:
            hits += int(((model.encode_image(images, normalize=True) @ weights).argmax(1) == labels).sum())
    return hits


PEERS = {"clip-benchmark": clip_benchmark_script, "open_clip script": open_clip_script}


def measure(args: argparse.Namespace) -> Iterator[side_by_side.Row]:
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        root = Path(scratch)
        make(root, args.model, args.per_class)
        hits: dict[str, set[int]] = {}
        count = iter(range(1000))

        cpu: dict[str, list[float]] = {}

        def told(name: str, call: Callable[[], int]) -> Callable[[], None]:
            def timed() -> None:
                before = children_seconds()
                hits.setdefault(name, set()).add(call())
                cpu.setdefault(name, []).append(round(children_seconds() - before, 2))

            return timed

        calls = {side_by_side.OURS: told(side_by_side.OURS, lambda: ours(root, root / f"run{next(count)}"))}
        calls |= {kind: told(kind, lambda kind=kind: peer(root, args.model, kind)) for kind in PEERS}
        seconds = side_by_side.interleave(calls, args.rounds, warm=args.warm)
        n = sum(1 for _ in (root / "photos").rglob("*.jpg"))
        extra = {"hits": {name: sorted(found) for name, found in hits.items()}, "cpu_seconds": cpu}
        yield side_by_side.Row(
            "end to end", f"zero-shot {args.model}, {n} JPEG files", seconds, n, "images", BAR, extra
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=OPEN_CLIP, default="ViT-B/32")
    parser.add_argument("--warm", action="store_true", help="one untimed round first (files and programs in caches)")
    parser.add_argument("--per-class", type=int, default=2, metavar="N", help="photographs in each of the 100 classes")
    parser.add_argument("--scratch", help="where the images and weights are made")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)


def main() -> None:
    if any(word.startswith("--peer") for word in sys.argv):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        args = parser.parse_args()
        print(json.dumps({"hits": PEERS[args.peer](args.root, args.model)}))
    else:
        side_by_side.main(__doc__, measure, add_arguments)


if __name__ == "__main__":
    main()
