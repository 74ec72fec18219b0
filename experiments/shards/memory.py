"""Peak memory and time of `clipjax shards` over synthetic units, and of a worker over small images, by their number.

python experiments/shards/memory.py --images=10000,100000,1000000 --worked=2000,20000 --work=FOLDER
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
from kills import images

from clipjax.analysis import rates
from clipjax.runs import config
from clipjax.runs.shards import plan, units
from clipjax.runs.shards.store import Store

ROOT = Path(__file__).parents[2]
ROWS, WIDTH = 10_000, 64
# VmHWM and not getrusage, whose peak after fork and exec is at least that of the parent.
MEASURED = (
    "import json, re, sys, time; from clipjax.cli.main import main; began = time.time();"
    "status = main(sys.argv[1:]); used = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1];"
    "print(json.dumps([status, round(int(used) / 1024), round(time.time() - began, 1)]))"
)


def measured(*words: str) -> dict[str, float]:
    """Peak resident MB and seconds of one command."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "CLIPJAX_QUIET": "1"}
    out = subprocess.run([sys.executable, "-c", MEASURED, *words], env=env, capture_output=True, text=True, check=True)
    status, used, seconds = json.loads(out.stdout.splitlines()[-1])
    assert status == 0, out.stderr
    return {"MB": used, "seconds": seconds}


def planned(work: Path, name: str, shards: int, each: int) -> tuple[Path, plan.Plan]:
    """A plan over tar files of small drawings."""
    folder = work / f"{name}-images"
    folder.mkdir(parents=True)
    images(folder, shards, each)
    words = [
        f"--config.model={folder}/tiny.safetensors", "--config.batch_size=32", "--config.data.source=webdataset",
        f"--config.data.path={folder}/part-{{00000..{shards - 1:05}}}.tar", "--config.design=people-roles",
        "--config.data.label_column=",
    ]  # fmt: skip
    store = Store(work / name)
    return work / name, plan.make(config.load("rates", words), store, plan.Options(dtype="float16"))


def synthetic(work: Path, n: int, small: plan.Plan) -> Path:
    """A run of n images whose features are random numbers, finished but not sealed."""
    made = msgspec.structs.replace(small, units=n // ROWS, data="synthetic", group_columns=["age", "gender"])
    store, classes = Store(work / f"synthetic-{n}"), len(small.design.classes)
    plan.write(store, made, {})
    names = np.array([one.name for one in small.design.classes], object)
    for unit in range(made.units):
        rng = np.random.default_rng(unit)
        keys = np.array([f"{unit:06}/{i:05}.jpg" for i in range(ROWS)], object)
        columns = {
            "age": rng.choice(np.array(["0-19", "20-59", "60+"], object), ROWS),
            "gender": rng.choice(np.array(["F", "M"], object), ROWS),
        }
        answers = rng.integers(0, classes, ROWS)
        table = {"file": keys, **columns, "prediction": names[answers], "probability": rng.random(ROWS, np.float32)}
        tallied = rates.tallies(answers, columns, rates.groupings("", list(columns)), classes)
        part = units.Part(
            keys, np.arange(ROWS), [rng.bytes(16) for _ in keys], rng.integers(0, 256, (ROWS, 32), np.uint8),
            rng.standard_normal((ROWS, WIDTH), np.float32), table, tallied, [],
        )  # fmt: skip
        units.write(store, made, unit, part, "cpu", "synthetic", time.time())
    return work / f"synthetic-{n}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", default="10000,100000,1000000")
    parser.add_argument("--worked", default="2000,20000")
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for n in map(int, args.worked.split(",")):
        run, _ = planned(args.work, f"worked-{n}", n // 500, 500)
        found[f"{n} images, 500 a unit"] = {"work": measured("shards", "work", str(run))}
        print(n, found[f"{n} images, 500 a unit"], flush=True)
    small = plan.read(Store(run))
    for n in map(int, args.images.split(",")):
        run = synthetic(args.work, n, small)
        actions = ("status", "verify", "seal")
        found[f"{n} synthetic"] = {action: measured("shards", action, str(run)) for action in actions}
        found[f"{n} synthetic"]["export"] = measured("shards", "export", str(run), f"--out={run}-tables")
        print(n, found[f"{n} synthetic"], flush=True)
        shutil.rmtree(run)
        shutil.rmtree(f"{run}-tables")
    (Path(__file__).parent / "results" / "memory.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
