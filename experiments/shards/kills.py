"""Eight workers as a Slurm array or an indexed Kubernetes Job, of which one is killed, stopped or told to end every few
seconds: what is left is compared, byte for byte, with what one undisturbed worker makes.

    python experiments/shards/kills.py --as=slurm --seconds=600 --every=8 --work=FOLDER
"""

import argparse
import collections
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from clipjax.testing import pictures, tiny_model

ROOT = Path(__file__).parents[2]
SKIPPED = ("done", "failed", "log.jsonl", "SHA256SUMS")
MAIN = [sys.executable, "-m", "clipjax.cli.main", "shards"]


def environment(kind: str, index: int, count: int) -> dict[str, str]:
    """What the scheduler tells a task."""
    if kind == "slurm":
        return {
            "SLURM_JOB_ID": f"{1000 + index}", "SLURM_ARRAY_JOB_ID": "1000", "SLURM_ARRAY_TASK_ID": str(index),
            "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": str(count - 1), "SLURM_ARRAY_TASK_COUNT": str(count),
            "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "localhost",
        }  # fmt: skip
    return {"JOB_COMPLETION_INDEX": str(index), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def images(folder: Path, shards: int, each: int) -> None:
    """Tar shards of small drawings with labels."""
    names = ("cat", "dog", "fish")
    drawn = pictures(folder / "drawn", dict.fromkeys(names, 20))
    files = sorted(drawn.rglob("*.jpg"))
    for shard in range(shards):
        with tarfile.open(folder / f"part-{shard:05}.tar", "w") as tar:
            for i in range(each):
                one = files[(shard * each + i) % len(files)]
                for suffix, data in (("jpg", one.read_bytes()), ("cls", one.parent.name.encode())):
                    # Bytes after the end of a JPEG make every image another one.
                    data += f"{shard}-{i}".encode() if suffix == "jpg" else b""
                    info = tarfile.TarInfo(f"{i:05}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    tiny_model(folder / "tiny.safetensors", layers=1)


def files(run: Path) -> dict[str, bytes]:
    """Every file that does not depend on who did what; the manifest without the commit, which moves on a clone."""
    found = (p for p in sorted(run.rglob("*")) if p.is_file() and not {*SKIPPED} & {*p.parts, p.name})
    read = {p.relative_to(run).as_posix(): p.read_bytes() for p in found}
    manifest = json.loads(read["manifest.json"])
    del manifest["git_revision"]
    return read | {"manifest.json": json.dumps(manifest).encode()}


class Tasks:
    """The scheduler: every task is started again when it ends before the run is complete."""

    def __init__(self, kind: str, run: Path, count: int, env: dict[str, str], logs: Path):
        self.kind, self.run, self.count, self.env, self.logs = kind, run, count, env, logs
        self.tasks: dict[int, subprocess.Popen] = {}
        self.starts, self.ends = 0, collections.Counter()

    def start(self, index: int) -> None:
        words = [*MAIN, "work", str(self.run), *([] if self.kind == "slurm" else [f"--workers={self.count}"])]
        with open(self.logs / f"{index}.txt", "ab") as log:
            env = self.env | environment(self.kind, index, self.count)
            self.tasks[index] = subprocess.Popen(words, env=env, stdout=log, stderr=log)
        self.starts += 1

    def keep(self, complete: bool) -> None:
        for index in range(self.count):
            task = self.tasks.get(index)
            if task is not None and task.poll() is not None:
                self.ends[task.returncode] += 1
                del self.tasks[index]
            if index not in self.tasks and not complete:
                self.start(index)

    def disturb(self, rng: random.Random) -> str:
        index = rng.choice([i for i, task in self.tasks.items() if task.poll() is None] or [-1])
        if index < 0:
            return "none"
        what = rng.choice(["SIGKILL", "SIGKILL", "SIGTERM", "SIGSTOP"])
        self.tasks[index].send_signal(getattr(signal, what))
        if what == "SIGSTOP":  # goes on later, as a zombie whose unit others have done
            time.sleep(rng.uniform(1, 4))
            self.tasks[index].send_signal(signal.SIGCONT)
        return what


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--as", dest="kind", choices=("slurm", "kubernetes"), default="slurm")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--every", type=float, default=8)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--shards", type=int, default=120)
    parser.add_argument("--each", type=int, default=25)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    images(args.work, args.shards, args.each)
    env = os.environ | {
        "PYTHONPATH": str(ROOT), "CLIPJAX_CACHE": str(args.work / "cache"), "JAX_PLATFORMS": "cpu",
        "PYTHONFAULTHANDLER": "1",
    }  # fmt: skip
    pattern = f"{args.work}/part-{{00000..{args.shards - 1:05}}}.tar"
    asked = [
        "zeroshot", "--config.data.source=webdataset", f"--config.data.path={pattern}", "--config.classes=cat,dog,fish",
        f"--config.model={args.work}/tiny.safetensors", "--config.batch_size=8",
    ]  # fmt: skip
    run = args.work / args.kind
    subprocess.run([*MAIN, "plan", *asked, f"--out={run}"], env=env, check=True)
    logs, rng, done, began = args.work / "logs", random.Random(0), 0, time.time()
    logs.mkdir()
    tasks, signals = Tasks(args.kind, run, args.workers, env, logs), collections.Counter()
    next_signal = began + args.every
    while True:
        done = len(list(run.glob("done/*.json")))
        now = time.time()
        if done == args.shards and now - began < args.seconds:  # again, until the time is over: some units are undone
            for marker in rng.sample(sorted(run.glob("done/*.json")), args.shards // 2):
                marker.unlink()
        tasks.keep(complete=done == args.shards)
        if done == args.shards and not tasks.tasks:
            break
        if now >= next_signal and now - began < args.seconds:
            signals[tasks.disturb(rng)] += 1
            next_signal = time.time() + args.every
        time.sleep(0.2)
    seconds = time.time() - began
    for action in ("seal", "verify"):
        subprocess.run([*MAIN, action, str(run)], env=env, check=True)
    alone = args.work / "alone"
    for words in (["plan", *asked, f"--out={alone}"], ["work", str(alone)], ["seal", str(alone)]):
        subprocess.run([*MAIN, *words], env=env, check=True)
    ours, theirs = files(run), files(alone)
    markers = [json.loads(path.read_text()) for path in sorted(run.glob("done/*.json"))]
    said = "".join(path.read_text() for path in logs.glob("*.txt"))
    result = {
        "as": args.kind, "workers": args.workers, "units": args.shards, "images": args.shards * args.each,
        "seconds": round(seconds), "signals": dict(signals), "starts": tasks.starts,
        "ends": {str(status): n for status, n in sorted(tasks.ends.items())},
        "units_done": said.count(" images in "), "races_lost": said.count("another worker was first"),
        "workers_with_markers": len({marker["worker"] for marker in markers}), "tracebacks": said.count("Traceback"),
        "files": len(ours),
        "files_that_differ": sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)),
    }  # fmt: skip
    text = json.dumps(result, indent=1) + "\n"
    (Path(__file__).parent / "results" / f"{args.kind}.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
