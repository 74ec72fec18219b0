"""Accuracy on the emoji of artists who are not in the training data: top-1, top-5, skin tone, with exact intervals.

    python experiments/emoji_clip/evaluate.py --model RUN/model.safetensors --tables TABLES VENDOR... [--out FILE.json]

prepare.py writes TABLES/VENDOR.csv. Every drawing, on white, is classified among all distinct names of that
vendor with the template "a picture of a {}."; `new` concepts are those without a drawing in the training data.
Skin tone: among the five names that differ only in it.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image
from prepare import TONES

import clipjax
from clipjax.analysis import clopper_pearson
from clipjax.models import clip

TEMPLATE = "a picture of a {}."


def pictures(rows: list[dict[str, str]]) -> list[Image.Image]:
    """Drawings composited on white."""
    out = []
    for row in rows:
        drawing = Image.open(row["file"]).convert("RGBA")
        page = Image.new("RGBA", drawing.size, "white")
        page.alpha_composite(drawing)
        out.append(page.convert("RGB"))
    return out


def unit(model: clipjax.Model, encode: str, values: list, prepare, batch: int = 256) -> np.ndarray:
    """Features of unit length."""
    parts = [values[i : i + batch] for i in range(0, len(values), batch)]
    return np.concatenate([np.asarray(clip.normalise(getattr(model, encode)(prepare(p)))) for p in parts])


def rate(hits: np.ndarray) -> dict[str, float]:
    """A proportion with its exact 95% interval."""
    low, high = clopper_pearson(int(hits.sum()), len(hits))
    return {"k": int(hits.sum()), "n": len(hits), "value": float(hits.mean()), "low": float(low), "high": float(high)}


def evaluate(model: clipjax.Model, rows: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    """The figures of one vendor."""
    names = sorted({row["label"] for row in rows})
    index = {name: i for i, name in enumerate(names)}
    tokens = lambda part: clipjax.tokenize([TEMPLATE.format(n) for n in part], truncate=True)  # noqa: E731
    similarity = (
        unit(model, "encode_image", pictures(rows), model.preprocess) @ unit(model, "encode_text", names, tokens).T
    )
    order = np.argsort(-similarity, axis=1)[:, :5]
    label = np.array([index[row["label"]] for row in rows])
    top1, top5 = order[:, 0] == label, (order == label[:, None]).any(1)
    base = {row["label"]: row["base_name"] for row in rows}
    concept = np.array([base[names[i]] == row["base_name"] for i, row in zip(order[:, 0], rows, strict=True)])
    new = np.array([row["concept"] == "new" for row in rows])
    found = {
        "top1": rate(top1), "top5": rate(top5), "concept": rate(concept), "top1, no tone": rate(
            top1[[not row["tone"] for row in rows]]), "top1, new concepts": rate(top1[new]),
        "top5, new concepts": rate(top5[new]),
    }  # fmt: skip
    tones = []
    for i, row in enumerate(rows):
        if row["tone"]:
            five = [row["label"].replace(f"{row['tone']} skin tone", f"{tone} skin tone") for tone in TONES]
            if len(set(five)) == 5 and all(name in index for name in five):
                tones.append(TONES[int(np.argmax([similarity[i, index[name]] for name in five]))] == row["tone"])
    return found | {"skin tone": rate(np.array(tones))} | {"classes": {"n": len(names)}}


def main() -> None:
    """Prints a table; writes results.json where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emoji-clip")
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("vendors", nargs="+")
    args = parser.parse_args()
    model = clipjax.load(args.model)
    results = {}
    for vendor in args.vendors:
        with open(args.tables / f"{vendor}.csv", newline="", encoding="utf-8") as file:
            results[vendor] = evaluate(model, list(csv.DictReader(file)))
    print("| | " + " | ".join(results) + " |\n|---" + "|---" * len(results) + "|")
    for name in results[args.vendors[0]]:
        cells = (r[name] for r in results.values())
        shown = (f"{c['value']:.1%} ({c['low']:.1%} to {c['high']:.1%}) of {c['n']}" if "k" in c else f"{c['n']:,}"
                 for c in cells)  # fmt: skip
        print(f"| {name} | " + " | ".join(shown) + " |")
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
