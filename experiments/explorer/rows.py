"""Seconds per answer of the explorer's server at 10,000 and 1,000,000 images, without the text encoder.

    python experiments/explorer/rows.py --demo=clipjax-demo --json=experiments/explorer/rows.json

`clipjax demo --out=DEMO` creates DEMO, whose run lends its settings; features [N, 512], groups and prompts are drawn at
random, so that no answer waits for a model. A question is one HTTP request: its JSON is read, answered and written.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from clipjax.analysis.run import read_run
from clipjax.explore.opened import open_run
from clipjax.explore.server import Explorer

WIDTH = 512
COLUMNS = {"age": 9, "skin_tone": 7, "gender": 2}  # and how many groups each has
ROUNDS = 7  # of a question, of which the median is given
FEW = 2  # rounds from MANY images on
MANY = 10**6  # of which a list of hundreds of classes is not asked: minutes of products
MOST_LABELS = 10**8  # probabilities of the threshold view that are held at once


def texts(wanted, unwanted=None):
    """A text's features are a function of the text."""
    seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in wanted]
    return np.stack([np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32) for seed in seeds])


def explorer(demo: Path, n: int) -> tuple[Explorer, float]:
    """The demo's run with n other images, and the seconds that their groups take to sort out."""
    rng = np.random.default_rng(n)
    opened = open_run(read_run(demo / "people-roles"))
    prompts = [prompt for listed in opened.design.prompts() for prompt in listed]
    centres = texts(prompts)
    unit = np.empty((n, WIDTH), np.float32)
    groups = {name: rng.integers(0, size, n) for name, size in COLUMNS.items()}
    liked = rng.integers(0, len(centres), (9, 4))  # classes that each age gets oftener
    for start in range(0, n, 50_000):
        part = slice(start, min(start + 50_000, n))
        near = liked[groups["age"][part], rng.integers(0, 4, part.stop - start)]
        unit[part] = rng.standard_normal((len(near), WIDTH), np.float32) + 0.6 * centres[near]
        unit[part] /= np.linalg.norm(unit[part], axis=1, keepdims=True)
    columns = {name: np.array([f"{name} {i}" for i in range(COLUMNS[name])], object)[of] for name, of in groups.items()}
    names = np.array(opened.design.names, object)
    run = opened.run.with_columns(columns | {"prediction": names[np.zeros(n, int)], "file": np.arange(n).astype(str)})
    found = dataclasses.replace(opened, run=run, unit=unit, rows=np.arange(n), columns=columns, _cells={})
    begin = time.perf_counter()
    for grouping in found.grouped:
        found.cells(grouping)
    seconds = time.perf_counter() - begin
    made = Explorer(found, ahead=False)
    made.answers.texts.features = texts
    return made, seconds


def measure(demo: Path, n: int) -> dict[str, tuple[float, float]]:
    """What was asked -> seconds until the answer, and seconds of processors."""
    made, groups = explorer(demo, n)
    rounds = FEW if n >= MANY else ROUNDS
    client = TestClient(made.app())

    def ask(api: str, **body) -> tuple[float, float]:
        begin, busy = time.perf_counter(), time.process_time()
        answer = client.post(f"/api/{api}", json=body)
        assert answer.status_code == 200, answer.text
        return time.perf_counter() - begin, time.process_time() - busy

    own = client.post("/api/shipped", json={"name": "people-roles"}).json()["design"]
    wide = client.post("/api/shipped", json={"name": "occupations"}).json()["design"]
    out = {"groups sorted out, once": (groups, groups), "first answer": ask("rates", design=own)}

    def changed(of: dict, i: int, what: str) -> dict:
        classes = [dict(c) for c in of["classes"]]
        if what == "set":
            classes[i]["sets"] = [f"set {i}"]
        elif what == "removed":
            del classes[i]
        else:
            classes[i] |= {"name": f"word {i}"}
        return of | {"classes": classes}

    def median(name: str, *times: tuple[float, float]) -> None:
        out[name] = statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)

    for k, of in [(len(d["classes"]), d) for d in ((own,) if n >= MANY else (own, wide))]:
        for what in ("set", "removed", "word"):
            median(f"{what}, K = {k}", *(ask("rates", design=changed(of, i, what), baseline=of) for i in range(rounds)))
        median(f"undo, K = {k}", *(ask("rates", design=changed(of, i, "set"), baseline=of) for i in range(rounds)))
        groupings = (["gender"], ["age", "gender"], ["each"])
        median(f"other groups, K = {k}", *(ask("rates", design=of, grouping=g) for g in groupings))
        if n * k > MOST_LABELS:
            continue
        body = {"design": of, "baseline": of, "column": "gender"}
        out[f"threshold, first, K = {k}"] = ask("labels", **body, threshold=0.1)
        median(f"threshold, a step, K = {k}", *(ask("labels", **body, threshold=i / 100) for i in range(1, rounds + 1)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return out | {"peak memory, GB": (peak, peak)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--images", default="10000,1000000")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    found = {n: measure(args.demo, n) for n in map(int, args.images.split(","))}
    print("median seconds until the answer, and seconds of processors, at", *found, "images")
    for name in dict.fromkeys(name for row in found.values() for name in row):
        cells = (" ".join(f"{s:8.3f}" for s in row.get(name, (float("nan"),) * 2)) for row in found.values())
        print(f"{name:32}", *cells)
    if args.json:
        rows = {str(n): {name: [round(s, 4) for s in pair] for name, pair in row.items()} for n, row in found.items()}
        told = {"unit": "s", "of each": ["until the answer", "of processors"], "width": WIDTH, "images": rows}
        args.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
