"""Peak memory and time of every step of `clipjax shards` by the number of images, and of retrieval by that of pairs.

    python experiments/shards/memory.py --images=10000,100000,1000000,10000000 --encoded=10000,100000 --work=FOLDER
    python experiments/shards/memory.py --pairs=50000,100000,200000 --work=FOLDER

`encoded`: images that a worker reads from tar files and encodes with a tiny model. For `images` a worker begins with
stored features: random numbers, whose images `plan` has read from a csv. Each step is a process of its own.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from kills import images

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROWS, WIDTH = 10_000, 32  # of a unit; of a feature, as the tiny model has it
GROUP = 10  # the largest group of equal pairs in retrieval
FIELDS = ("step", "n", "MB", "seconds", "cpu_seconds")
# VmHWM and not getrusage, whose peak after fork and exec is at least that of the parent.
MEASURED = """
import json, re, sys, time
began = time.time()
if sys.argv[1] == "clipjax":
    from clipjax.cli.main import main
    status = main(sys.argv[2:])
else:
    sys.path.insert(0, sys.argv[2])
    import memory
    status = getattr(memory, sys.argv[1])(*sys.argv[3:])
used = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(json.dumps([status, round(int(used) / 1024), round(time.time() - began, 1), round(time.process_time(), 1)]))
"""


def measured(step: str, n: int, *words: str) -> dict[str, object]:
    """A row of the table: one process."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "CLIPJAX_QUIET": "1"}
    done = subprocess.run([sys.executable, "-c", MEASURED, *words], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    status, *numbers = json.loads(done.stdout.splitlines()[-1])
    assert not status, done.stderr
    row = dict(zip(FIELDS, (step, n, *numbers), strict=True))
    print(row, flush=True)
    return row


def score(run: str, features: str) -> int:
    """What a worker does with features that it has: scores, counts and writes every unit of a plan."""
    from clipjax.runs import config
    from clipjax.runs.engine import Engines
    from clipjax.runs.shards import images as tables
    from clipjax.runs.shards import plan, units, work
    from clipjax.runs.shards.store import Store

    store = Store(run)
    job = work.Job(store, plan.read(store), Engines())
    asked, arithmetic = config.typed(job.config), job.engine.circumstances["arithmetic"]
    for unit, (one,) in enumerate(job.inputs):
        began, task = time.time(), job.module.of_rows(asked, tables.read(store, job.plan, one, asked))
        values = np.load(Path(features) / f"{unit:06}.npy").astype(np.float32)
        digests = np.random.default_rng(unit).integers(0, 256, (len(values), units.DIGEST), np.uint8)
        task.source.set_digests(digests)
        rows = np.arange(len(values))
        found = job.module.count(
            asked, task, rows, job.features.probabilities(values, job.weights, job.plan.probability)
        )
        part = units.part_of(one, task.source.files, digests, rows, values, [], found)
        units.write(store, job.plan, unit, part, arithmetic, "stored features", began)
    return 0


def table(folder: Path, n: int) -> Path:
    """A csv of n images with two groups, and features for each in files of ROWS."""
    (folder / "features").mkdir(parents=True)
    drawn = next(folder.parent.glob("encoded-*/drawn/*/*.jpg"))
    ages, people = ("0-19", "20-59", "60+"), ("F", "M")
    with open(folder / "images.csv", "w") as file:
        file.write("file,age,gender\n")
        for unit in range(n // ROWS):
            rng = np.random.default_rng(unit)
            which = rng.integers(0, 6, ROWS).tolist()
            file.writelines(
                f"people/{unit:06}/photograph-{i:05}.jpg,{ages[k % 3]},{people[k // 3]}\n" for i, k in enumerate(which)
            )
            values = rng.standard_normal((ROWS, WIDTH), np.float32)
            np.save(folder / "features" / f"{unit:06}.npy", values.astype("<f2"))
    there = folder / "people" / "000000"
    there.mkdir(parents=True)
    shutil.copy(drawn, there / "photograph-00000.jpg")  # a table none of whose images is there is refused
    return folder / "images.csv"


def asked(model: Path, *more: str) -> list[str]:
    """The words after `shards plan`."""
    return ["rates", f"--config.model={model}", "--config.design=people-roles", "--dtype=float16", *more]


def of_images(work: Path, n: int, model: Path) -> list[dict[str, object]]:
    """Every step over n images of a table, from features that are stored."""
    folder = work / f"table-{n}"
    listed, run = table(folder, n), folder / "run"
    groups = "--config.data.group_columns=age,gender"
    words = asked(model, "--config.data.source=csv", f"--config.data.csv={listed}", groups, f"--out={run}")
    rows = [measured("plan, table", n, "clipjax", "shards", "plan", *words)]
    rows.append(measured("work, from features", n, "score", str(HERE), str(run), str(folder / "features")))
    shutil.rmtree(folder / "features")
    rows += [measured(step, n, "clipjax", "shards", step, str(run)) for step in ("status", "verify", "seal")]
    rows.append(measured("export", n, "clipjax", "shards", "export", str(run), f"--out={folder}/tables"))
    shutil.rmtree(folder)
    return rows


def of_tars(work: Path, n: int) -> list[dict[str, object]]:
    """`plan` and `work` over n images in tar files of 1,000 or 10,000."""
    each = min(ROWS, n // 10)
    folder = work / f"encoded-{n}"
    folder.mkdir(parents=True)
    images(folder, n // each, each)
    words = asked(
        folder / "tiny.safetensors", "--config.batch_size=256", "--config.data.source=webdataset",
        f"--config.data.path={folder}/part-{{00000..{n // each - 1:05}}}.tar", "--config.data.label_column=",
        f"--out={folder}/run",
    )  # fmt: skip
    rows = [measured("plan, tar files", n, "clipjax", "shards", "plan", *words)]
    rows.append(measured("work, from images", n, "clipjax", "shards", "work", str(folder / "run")))
    for one in folder.glob("*.tar"):
        one.unlink()
    return rows


def retrieve(n: str) -> int:
    """Recall over n images and captions of which the truth is known. Groups of 1 to GROUP pairs are equal: of equals
    the first ranks first, so that the k-th of a group is found at rank k in both directions."""
    from clipjax.probes import retrieval

    pairs = int(n)
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, GROUP + 1, pairs)
    group = np.repeat(np.arange(pairs), sizes)[:pairs]
    vectors = rng.standard_normal((group[-1] + 1, WIDTH), np.float32)[group]
    place = np.arange(pairs) - np.searchsorted(group, group)
    records = retrieval.recalls(vectors, vectors.copy(), np.arange(pairs))
    for record in records[:-1]:
        k = int(record.metric.partition("@")[2])
        assert record.k == int((place < k).sum()), (record, k)
    return 0


def figure(rows: list[dict[str, str]]) -> None:
    """Memory and seconds over the number of images."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9, 4), layout="constrained")
    for axes, name, label in zip(
        drawn.subplots(1, 2), ("MB", "cpu_seconds"), ("peak memory, MB", "processor seconds"), strict=True
    ):
        for step in dict.fromkeys(row["step"] for row in rows):
            mine = [(int(row["n"]), float(row[name])) for row in rows if row["step"] == step]
            axes.plot(*zip(*sorted(mine), strict=True), marker="o", markersize=3, label=step)
        axes.set(xscale="log", yscale="log", xlabel="images (retrieval: pairs)", ylabel=label)
    axes.legend(fontsize=7)
    for suffix in ("svg", "png"):
        drawn.savefig(HERE / f"memory.{suffix}", dpi=130, metadata={} if suffix == "png" else {"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", default="")
    parser.add_argument("--encoded", default="")
    parser.add_argument("--pairs", default="")
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    asked_for = {
        name: [int(n) for n in filter(None, getattr(args, name).split(","))] for name in ("images", "encoded", "pairs")
    }
    rows = [row for n in asked_for["encoded"] for row in of_tars(args.work, n)]
    if asked_for["images"]:
        if not asked_for["encoded"]:
            rows += of_tars(args.work, 1000)
        model = next(args.work.glob("encoded-*/tiny.safetensors"))
        rows += [row for n in asked_for["images"] for row in of_images(args.work, n, model)]
    rows += [measured("retrieval", n, "retrieve", str(HERE), str(n)) for n in asked_for["pairs"]]
    path = HERE / "results" / "memory.csv"
    before = list(csv.DictReader(path.open())) if path.exists() else []
    new = {(row["step"], str(row["n"])) for row in rows}
    rows = [row for row in before if (row["step"], row["n"]) not in new] + rows
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    figure(list(csv.DictReader(path.open())))
    shutil.rmtree(args.work)


if __name__ == "__main__":
    main()
