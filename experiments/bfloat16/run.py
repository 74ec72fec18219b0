"""Effects of bfloat16: features of all nine models against float32, and answers on real images.

    python experiments/bfloat16/run.py [--models=ViT-B/32,RN50]

Features: six photographs and twelve prompts, random weights at OpenAI's scales with all constant parameters changed
(otherwise the blocks of a ResNet would be the identity). Answers: the embedded demo model on 290 drawings of
people under two class designs; a full-size random ViT-B/32 on the same, in which classes are almost
tied. Runs on the device that JAX finds; float32 is computed with matmul precision "highest", bfloat16 with
the default. Writes results/results.json (by device; continues with the missing models) and results/table.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np
from filelock import FileLock
from PIL import Image

import clipjax
from clipjax import design, image
from clipjax.demo import people
from clipjax.encoder import Encoder
from clipjax.models import catalog, clip
from clipjax.probes import zeroshot

HERE = Path(__file__).parent
PROMPTS = [f"a photo of a {name}." for name in (
    "dog", "cat", "cup of coffee", "rocket", "horse", "camera", "man", "woman", "child", "judge", "thief", "nurse"
)]  # fmt: skip


def random_weights(config: Any) -> Any:
    """OpenAI's initialisation with gains, biases and BatchNorm's statistics moved off their constants."""
    rng = np.random.default_rng(1)
    flat = {k: np.array(v) for k, v in clip.flatten(clip.init(config, jax.random.key(0))).items()}
    for name, value in flat.items():
        if value.ndim != 1:
            continue
        noise = rng.normal(size=value.shape).astype(np.float32)
        if name.endswith("running_var"):
            flat[name] = 1 + 0.3 * np.tanh(noise)
        elif name.endswith(("bn3.weight", "bn3.bias")):
            flat[name] = 0.3 + 0.1 * noise
        else:
            flat[name] = value + 0.1 * noise
    return clip.unflatten(flat)


def both(config: Any, params: Any, pixels: np.ndarray, tokens: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(image features, text features) by compute dtype."""
    found = {}
    for dtype, precision in (("float32", "highest"), ("bfloat16", None)):
        with jax.default_matmul_precision(precision):
            encoder = Encoder(config, params, dtype=dtype, batch_size=8)
            found[dtype] = encoder.images(pixels), encoder.texts(tokens)
    return found


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row, in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def features(name: str) -> dict[str, Any]:
    """Lowest and median cosine of both encoders, and the largest change of an image-text cosine."""
    config = catalog.get(name).config
    folder = resources.files("clipjax") / "assets" / "photographs"
    pictures = [image.open_image(str(p)) for p in sorted(folder.iterdir(), key=str) if p.name.endswith(".jpg")]
    spec = image.Preprocess(config.image.image_size, **vars(config.pixels))
    found = both(config, random_weights(config), image.preprocess(pictures, spec), clipjax.tokenize(PROMPTS))
    (im, tx), (im16, tx16) = found["float32"], found["bfloat16"]
    im_cos, tx_cos = cosines(im16, im), cosines(tx16, tx)
    unit = zeroshot.normalise
    change = np.abs(unit(im16) @ unit(tx16).T - unit(im) @ unit(tx).T).max()
    return {
        "model": name, "image_min": im_cos.min(), "image_median": float(np.median(im_cos)), "text_min": tx_cos.min(),
        "text_median": float(np.median(tx_cos)), "largest_change_of_a_cosine": float(change),
    }  # fmt: skip


def answers(model: str, params: Any, config: Any, pictures: list[Image.Image], name: str) -> dict[str, Any]:
    """How many images receive another first answer, of the classes of one design, with everything in bfloat16."""
    names = [c.name for c in design.read_design(name).classes]
    spec = image.Preprocess(config.image.image_size, **vars(config.pixels))
    texts = clipjax.tokenize([f"a photo of a {n}." for n in names])
    out = both(config, params, image.preprocess(pictures, spec), texts)
    scale = float(np.exp(np.asarray(params["logit_scale"])))
    prob = {k: zeroshot.softmax(scale * zeroshot.normalise(i) @ zeroshot.normalise(t).T) for k, (i, t) in out.items()}
    a, b = prob["float32"], prob["bfloat16"]
    flipped = a.argmax(1) != b.argmax(1)
    top = np.sort(a, 1)[:, ::-1]
    return {
        "model": model, "design": name, "pictures": len(pictures), "classes": len(names), "flips": int(flipped.sum()),
        "largest_change_of_a_probability": float(np.abs(a - b).max()),
        "lead_of_the_flipped": [float(x) for x in (top[:, 0] - top[:, 1])[flipped]],
    }  # fmt: skip


def main() -> None:
    """All of it; features as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(catalog.names()))
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of results.json and table.md")
    parser.add_argument("--parts", default="features,answers")
    args = parser.parse_args()
    for name in args.models.split(",") if "features" in args.parts else ():
        if not any(r["model"] == name for r in kept(args.results)["features"]):
            keep(args.results, "features", [features(name)])
    if "answers" in args.parts and not kept(args.results)["answers"]:
        keep(args.results, "answers", all_answers())


def all_answers() -> list[dict[str, Any]]:
    """Both designs for the demo model, the first for random weights."""
    demo, config = clipjax.load("emoji-clip"), catalog.get("ViT-B/32").config
    assert isinstance(demo, clipjax.Model)
    with tempfile.TemporaryDirectory() as folder:
        listing = people.unpack(Path(folder))
        with open(listing, encoding="utf-8", newline="") as file:
            drawings = [image.open_image(listing.parent / row["file"]) for row in csv.DictReader(file)]
    found = [answers("emoji-clip", demo.params, demo.config, drawings, name) for name in people.DESIGNS]
    return [*found, answers("random ViT-B/32", random_weights(config), config, drawings, people.DESIGNS[0])]


def device() -> str:
    """Where this process computes."""
    return "CPU" if jax.default_backend() == "cpu" else jax.devices()[0].device_kind


def kept(results: Path) -> dict[str, Any]:
    """What this device has done."""
    path = results / "results.json"
    everything = json.loads(path.read_text()) if path.exists() else {}
    return everything.get(device(), {"features": [], "answers": []})


def keep(results: Path, part: str, rows: list[dict[str, Any]]) -> None:
    """Adds rows to this device's; several processes may do so at once."""
    print(rows, flush=True)
    path = results / "results.json"
    results.mkdir(parents=True, exist_ok=True)
    with FileLock(results / ".lock"):
        everything = json.loads(path.read_text()) if path.exists() else {}
        mine = everything.setdefault(device(), {"features": [], "answers": []})
        mine |= {"date": time.strftime("%Y-%m-%d"), "jax": jax.__version__, "float32_matmul_precision": "highest"}
        mine[part] += rows
        order = catalog.names()
        mine["features"].sort(key=lambda r: order.index(r["model"]))
        path.write_text(json.dumps(everything, indent=1, default=float) + "\n")
        (results / "table.md").write_text(table(everything))


def table(everything: dict[str, Any]) -> str:
    """For README: both tables, device after device."""
    lines = ["| model | device | image cosine, lowest (median) | text cosine, lowest (median) | largest change |",
             "|---|---|---|---|---|"]  # fmt: skip
    for name in catalog.names():
        for where, results in everything.items():
            for r in results["features"]:
                if r["model"] == name:
                    lines.append(
                        f"| {name} | {where} | {r['image_min']:.5f} ({r['image_median']:.5f}) | {r['text_min']:.5f} "
                        f"({r['text_median']:.5f}) | {r['largest_change_of_a_cosine']:.4f} |"
                    )
    lines += ["", "| model, design | device | pictures x classes | other first answer | largest change |",
              "|---|---|---|---|---|"]  # fmt: skip
    for where, results in everything.items():
        for r in results["answers"]:
            lines.append(
                f"| {r['model']}, {r['design']} | {where} | {r['pictures']} x {r['classes']} | {r['flips']} | "
                f"{r['largest_change_of_a_probability']:.4f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
