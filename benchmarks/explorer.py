"""Milliseconds from Enter to the new chart in `clipjax explore`, in chromium: 10,000 images, 768 numbers each, K = 22.

    python benchmarks/explorer.py --work=FOLDER --json=benchmarks/results/explorer.json

The script creates the run in the real format: real probe, real cache, ViT-L/14's text encoder with random weights,
FairFace's published group sizes, features generated around the classes. The browser's key events type each edit into
the page. The clock runs inside the page, from Enter to the frame that shows the new chart. Needs Debian's chromium
and chromium-driver, and selenium.

- known: a set of the last class is renamed: no new prompt, everything else is computed and drawn again
- new: the last class is renamed: one new prompt goes through the text encoder, whose time is measured separately
- threshold: a step of the slider in the threshold view, K = 22, and K = 300 (occupations)
"""

from __future__ import annotations

import argparse
import csv
import functools
import io
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import side_by_side

side_by_side.threads()

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

N, DESIGN = 10_000, "fairface-default+child"

WATCH = """
window.timed = [];
let begin = 0;
const start = (event) => { begin = performance.now(); };
addEventListener("keydown", (event) => { if (event.key === "Enter") start(); }, true);
document.getElementById("slider").addEventListener("input", start, true);
new MutationObserver(() => requestAnimationFrame(() => {
  const channel = new MessageChannel();  // after the frame has been drawn
  channel.port1.onmessage = () => {
    const entry = performance.getEntriesByType("resource").filter((e) => /api.(rates|labels)$/.test(e.name)).at(-1);
    const server = Object.fromEntries(entry.serverTiming.map((t) => [t.name, t.duration]));
    window.timed.push({ total: performance.now() - begin, ...server });
    performance.clearResourceTimings();
  };
  channel.port2.postMessage(0);
})).observe(document.getElementById("results"), { attributeFilter: ["data-answer"] });
"""


def make(work: Path) -> Path:
    """The run, made once; returns its folder."""
    run = work / "run"
    if (run / "manifest.json").exists():
        return run
    from clipjax import design
    from clipjax.analysis import paper
    from clipjax.cache import FeatureCache
    from clipjax.models import catalog, clip, weights
    from clipjax.probes import zeroshot
    from clipjax.runs import config, engine, runner
    from clipjax.runs.cache_keys import cache_root, images_folder
    from clipjax.runs.data import open_source
    from clipjax.runs.features import Features

    work.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    shape = catalog.openai(768, catalog.vit(32, 32, 64, 1), catalog.get("ViT-L/14").config.text)
    flat: dict[str, Any] = {}
    for name, size in clip.shapes(shape).items():
        scale = len(size) == 1 and name.endswith("weight")  # of a LayerNorm
        flat[name] = (0.02 * rng.standard_normal(size, np.float32) + scale).astype(np.float16)
    flat["logit_scale"] = np.float32(np.log(100)).reshape(())
    weights.save(work / "model.safetensors", weights.Weights(flat, shape, "text of ViT-L/14", {"format": "random"}))
    pictures(work)
    overrides = [f"--config.data.csv={work / 'faces.csv'}", f"--config.data.path={work / 'faces'}",
                 "--config.data.group_columns=race,gender,age", f"--config.model={work / 'model.safetensors'}",
                 f"--config.design={DESIGN}"]  # fmt: skip
    resolved = config.typed(config.plain(config.load("fairface:csv", overrides)))
    source = open_source(resolved.data).source
    features = Features(engine.load(resolved), resolved, quiet=True)
    (classes,) = zeroshot.class_weights(features.texts, [design.read_design(DESIGN)])
    key = features.engine.image_key(source.fingerprint, "proj")
    root = cache_root(resolved)
    assert root is not None
    with FeatureCache(images_folder(root, key), 768, key) as cache:
        cache.append(np.arange(N), planted(classes, source.columns["race"], rng), [])
    runner.run(resolved, run)
    assert paper.published()["populations"]["first10k"]["n"] == N
    return run


def pictures(work: Path) -> None:
    """10,000 names for one small image, and their table with the group sizes of FairFace's first 10,000 rows."""
    from clipjax.analysis import paper

    data = io.BytesIO()
    Image.new("RGB", (40, 40), "grey").save(data, "JPEG")
    (work / "faces").mkdir(exist_ok=True)
    for i in range(N):
        (work / "faces" / f"{i:05}.jpg").write_bytes(data.getvalue())
    columns = {}
    for name in ("race", "gender", "age"):
        sizes = paper.published()["populations"]["first10k"][name]
        values = np.concatenate([np.full(n, value, object) for value, n in sizes.items()])
        columns[name] = np.random.default_rng(len(name)).permutation(values)
    with open(work / "faces.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *columns])
        writer.writerows((f"{i:05}.jpg", *(c[i] for c in columns.values())) for i in range(N))


def planted(classes: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features [N, E] near a class's weights, another mix of classes in every group."""
    mean = classes.mean(0)
    apart = classes - mean
    apart /= np.linalg.norm(apart, axis=1, keepdims=True)
    chosen = np.zeros(N, np.int64)
    for group in sorted(set(groups)):
        rows = np.flatnonzero(groups == group)
        chosen[rows] = rng.choice(len(classes), len(rows), p=rng.dirichlet(np.full(len(classes), 0.6)))
    noise = rng.standard_normal((N, classes.shape[1]), np.float32) / np.sqrt(classes.shape[1])
    return (mean + 0.35 * apart[chosen] + 0.5 * noise).astype(np.float32)


def measure(run: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Milliseconds of every edit: total, and the server's own (answer, of which texts)."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait
    from support.chromium import answered, chromium, opened, serving

    def edit(driver, field: str, text: str) -> None:
        place = driver.find_element(By.CSS_SELECTOR, f"#classes li:last-child .{field}")
        place.send_keys(Keys.CONTROL, "a")
        answered(driver, lambda: place.send_keys(text, Keys.ENTER))

    def taken(driver, of: int) -> list[dict[str, float]]:
        WebDriverWait(driver, 10).until(lambda d: d.execute_script("return window.timed.length") >= of)
        found = driver.execute_script("return window.timed.splice(0)")
        assert len(found) == of, (len(found), of)
        return found

    out = {}
    with serving(run) as (address, _), chromium() as driver:
        opened(driver, address)
        driver.execute_script(WATCH)
        for i in range(3):  # the model is loaded, its program compiled
            edit(driver, "class-name", f"warm {i}")
        taken(driver, 3)
        for i in range(rounds):
            edit(driver, "class-sets", f"set {i}")
        out["known"] = taken(driver, rounds)
        for i in range(rounds):
            edit(driver, "class-name", f"word {i}")
        out["new"] = taken(driver, rounds)
        for name in ("K = 22", "K = 300"):
            if name == "K = 300":
                chips = driver.find_elements(By.CSS_SELECTOR, "#shipped .chip")
                answered(driver, next(c for c in chips if c.text == "occupations").click)
            if not driver.find_element(By.ID, "view-labels").is_displayed():
                answered(driver, driver.find_element(By.CSS_SELECTOR, "input[value=labels] + span").click)
            slider = driver.find_element(By.ID, "slider")
            time.sleep(1)
            driver.execute_script("window.timed.length = 0")
            for _ in range(rounds):
                answered(driver, functools.partial(slider.send_keys, Keys.ARROW_LEFT))
            out[f"threshold, {name}"] = taken(driver, rounds)
    return out


def summary(edits: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median, 95th percentile and largest, in milliseconds."""
    found = {}
    for what in ("total", "answer", "texts"):
        values = sorted(e[what] for e in edits)
        p95 = values[max(int(np.ceil(0.95 * len(values))) - 1, 0)]
        found[what] = {
            k: round(v, 1) for k, v in (("median", statistics.median(values)), ("p95", p95), ("max", values[-1]))
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the run is made and kept (300 MB)")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--make", action="store_true", help="make the run and no more")
    args = parser.parse_args()
    os.environ["CLIPJAX_CACHE"] = str(args.work.resolve() / "cache")
    run = make(args.work.resolve())
    if args.make:
        return
    edits = measure(run, args.rounds)
    told = {name: summary(found) | {"edits": len(found)} for name, found in edits.items()}
    for name, found in told.items():
        print(f"{name}: " + "; ".join(f"{k} {v}" for k, v in found.items()))
    if args.json:
        about = {"images": N, "width": 768, "classes": 22, "unit": "ms"}
        found = {"machine": side_by_side.machine(), "about": about, "rows": told}
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
