"""Many units: time and memory of `status`, `verify` and `seal`, also where memory and open files are limited.

    python experiments/shards/many_units.py --units=1000,10000 --work=FOLDER
    python experiments/shards/many_units.py --units=30,300 --limited --work=FOLDER

One unit of 60 images is computed; the others are links to its files. `limited`: with at most 256 open files, and, for
all but the smallest number of units, with 10% more address space than the smallest took.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
from kills import images

from clipjax.runs.shards import plan, units
from clipjax.runs.shards.store import Store

ROOT = Path(__file__).parents[2]
LINKS = 60_000  # of a file: ext4 takes 65,000
STEPS = (("status",), ("verify", "--quick"), ("verify",), ("seal",))
MEASURED = """
import json, re, resource, sys, time
files, space = int(sys.argv[1]), int(sys.argv[2])
if files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
if space:
    resource.setrlimit(resource.RLIMIT_AS, (space << 20, space << 20))
from clipjax.cli.main import main
status = main(sys.argv[3:])
used = dict(re.findall(r"(VmPeak|VmHWM):\\s+(\\d+)", open("/proc/self/status").read()))
megabytes = {name: int(number) // 1024 for name, number in used.items()}
print(json.dumps(megabytes | {"cpu_seconds": round(time.process_time(), 1), "status": status}))
"""


def measured(*words: str, files: int = 0, space: int = 0) -> dict[str, float]:
    """What one command takes, with limits (0: none) of open files and of address space in MB."""
    # One thread each: stacks and arenas of threads are address space that is not used.
    threads = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    env = os.environ | threads | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "CLIPJAX_QUIET": "1"}
    code = [sys.executable, "-c", MEASURED, str(files), str(space), "shards", *words]
    done = subprocess.run(code, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("status") == 0, done.stderr
    return found


def worked(folder: Path, files: int) -> Path:
    """A run of one unit of 60 images; and one of 300 units by a worker that may open `files`, where that is not 0."""
    images(folder, 1, 1)
    words = [
        "zeroshot", f"--config.data.path={folder}/drawn", f"--config.model={folder}/tiny.safetensors",
        "--config.batch_size=8",
    ]  # fmt: skip
    measured("plan", *words, f"--out={folder}/one")
    measured("work", f"{folder}/one")
    if files:
        rows = [(one, one.parent.name) for one in sorted((folder / "drawn").rglob("*.jpg"))]
        for i in range(300):
            os.link(rows[i % 60][0], folder / f"{i:03}.jpg")
        listed = "".join(f"{i:03}.jpg,{rows[i % 60][1]}\n" for i in range(300))
        (folder / "images.csv").write_text(f"file,label\n{listed}")
        words[1] = "--config.data.source=csv"
        more = (f"--config.data.csv={folder}/images.csv", "--config.data.label_column=label", "--unit-rows=1")
        measured("plan", *words, *more, f"--out={folder}/many", files=files)
        measured("work", f"{folder}/many", files=files)
        measured("seal", f"{folder}/many", files=files)
    return folder / "one"


def copied(run: Path, out: Path, n: int) -> None:
    """A run of n units whose files are those of the only unit of `run`."""
    store, target = Store(run), Store(out)
    made = msgspec.structs.replace(plan.read(store), units=n)
    plan.write(target, made, {})
    marker = units.read_marker(store, 0)
    for kind, file in marker.files.items():
        name = made.name(kind, 0, file.sha256, file.name.rpartition(".")[2])
        (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / "done").mkdir()
    identity = made.identity
    linked: dict[str, Path] = {}
    for unit in range(n):
        files = {}
        for kind, file in marker.files.items():
            name = made.name(kind, unit, file.sha256, file.name.rpartition(".")[2])
            if unit % LINKS == 0:
                linked[kind] = shutil.copyfile(run / file.name, out / name)
            else:
                os.link(linked[kind], out / name)
            files[kind] = msgspec.structs.replace(file, name=name)
        here = msgspec.structs.replace(marker, unit=unit, identity=identity, files=files)
        (out / units.marker_name(unit)).write_bytes(msgspec.json.encode(here))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", default="1000,10000")
    parser.add_argument("--limited", action="store_true")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    files = 256 if args.limited else 0
    one, found, space = worked(args.work, files), {}, {}
    for n in map(int, args.units.split(",")):
        run = args.work / f"units-{n}"
        copied(one, run, n)
        rows = {}
        for step, *options in STEPS:
            name = " ".join([step, *options])
            rows[name] = measured(step, str(run), *options, files=files, space=space.get(name, 0))
            if args.limited:
                space.setdefault(name, round(rows[name]["VmPeak"] * 1.1))
            print(n, name, rows[name], flush=True)
        found[str(n)] = rows
        shutil.rmtree(run)
        name = "limited" if args.limited else "many_units"
        (args.results / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
