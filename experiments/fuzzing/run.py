"""Gives damaged input to everything that reads untrusted files, for a given time.

    python experiments/fuzzing/run.py                                   # every target, a minute each
    python experiments/fuzzing/run.py design csv --seconds=600 --seed=3
    python experiments/fuzzing/run.py --engine=atheris --seconds=120    # guided by coverage; pip install atheris

The targets, the mutators and the definition of a finding are those of the tests (tests/support/hostile). Each campaign
is a process with a memory limit: a crash is a finding too, and the campaign continues with the next input.
Results go to results/ENGINE.json, findings to --findings.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

MEMORY = 4 << 30  # bytes beyond what a campaign has taken when it begins
LIBRARIES = ("numpy", "pillow", "pyarrow", "safetensors", "PyYAML", "scipy", "regex", "ftfy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=float, default=60.0, help="per target")
    parser.add_argument("--inputs", type=int, default=10**9, help="per target, if that is reached first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("mutate", "atheris"), default="mutate")
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    parser.add_argument("--results", type=Path, help="default: results/ENGINE.json beside this file")
    parser.add_argument("--campaign", help=argparse.SUPPRESS)  # this process is one
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.campaign:
        campaign(args)
        return
    from support.hostile.all_targets import TARGETS

    if unknown := [name for name in args.targets if name not in TARGETS]:
        parser.error(f"no target {unknown[0]}; there are {', '.join(TARGETS)}")
    path = args.results or HERE / "results" / f"{args.engine}.json"
    results = json.loads(path.read_text()) if path.exists() else {"targets": {}}
    results |= {
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
    }
    for name in args.targets or TARGETS:
        results["targets"][name] = found = watched(name, args)
        print(name, json.dumps({k: v for k, v in found.items() if k != "findings"}), flush=True)
        for finding in found["findings"]:
            print("  !!", finding["kind"], finding["where"], flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
    if path.parent == HERE / "results":
        (path.parent / "table.md").write_text(table())


def watched(name: str, args: argparse.Namespace) -> dict:
    """Campaigns of one target until its time is over, a new one after each that died."""
    total: dict = {"inputs": 0, "read": 0, "refused": 0, "worst_ms": 0.0, "grown_mb": 0.0, "findings": []}
    begin = time.monotonic()
    seed, fruitless = args.seed, 0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        while (
            (left := args.seconds - (time.monotonic() - begin)) > 1 and total["inputs"] < args.inputs and fruitless < 5
        ):
            words = [sys.executable, __file__, f"--campaign={name}", f"--seconds={left}", f"--seed={seed}"]
            words += [f"--inputs={args.inputs - total['inputs']}", f"--engine={args.engine}", f"--scratch={scratch}"]
            with open(Path(scratch) / "stderr", "wb") as errors:
                done = subprocess.run(words, stderr=errors, timeout=left + 600)
            report = Path(scratch) / "report.json"
            found = json.loads(report.read_text()) if report.exists() else {"inputs": 0}
            report.unlink(missing_ok=True)
            fruitless = 0 if found["inputs"] else fruitless + 1
            told = (Path(scratch) / "stderr").read_text(errors="replace")
            if done.returncode and not found.get("ended"):
                found.setdefault("findings", []).append({
                    "kind": "death", "where": f"status {done.returncode}", "told": told[-2000:], "input": "current",
                })  # fmt: skip
            _add(total, found, Path(scratch), args.findings / name)
            if covered := re.findall(r"cov: (\d+) ft: (\d+)", told):
                total["edges"], total["features"] = (max(int(c[i]) for c in covered) for i in (0, 1))
            seed += 1
    total["seconds"] = round(time.monotonic() - begin, 1)
    total["date"] = time.strftime("%Y-%m-%d")
    return total


def _add(total: dict, found: dict, scratch: Path, where: Path) -> None:
    for key in ("inputs", "read", "refused"):
        total[key] += found.get(key, 0)
    for key in ("worst_ms", "grown_mb"):
        total[key] = max(total[key], found.get(key, 0.0))
    known = {(f["kind"], f["where"]) for f in total["findings"]}
    for finding in found.get("findings", ()):
        if (finding["kind"], finding["where"]) in known or not (scratch / finding["input"]).exists():
            continue
        where.mkdir(parents=True, exist_ok=True)
        kept = where / f"{len(total['findings']):03}"
        shutil.copy(scratch / finding["input"], kept)
        total["findings"].append(finding | {"input": str(kept)})


class Campaign:
    """Counts what became of the inputs of one process; the report is on the disk at any time."""

    def __init__(self, args: argparse.Namespace):
        from support.hostile import guard
        from support.hostile.all_targets import TARGETS

        self.guard, self.target, self.scratch = guard, TARGETS[args.campaign], args.scratch
        self.counts: Counter[str] = Counter()
        self.findings: dict[tuple[str, str], dict] = {}
        self.worst, self.written = 0.0, 0.0
        self.seeds = self.target.seeds()
        for data in self.seeds:
            self.guard.tried(self.target, self.scratch / "x", data)  # imports what it needs, out of the accounts
        self.began_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.limit_memory()

    def limit_memory(self) -> None:
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))

    def try_one(self, data: bytes) -> None:
        (self.scratch / "current").write_bytes(data)
        began = time.monotonic()
        outcome = self.guard.tried(self.target, self.scratch / "x", data)
        self.worst = max(self.worst, time.monotonic() - began)
        self.counts["inputs"] += 1
        self.counts[outcome.kind] += 1
        key = (outcome.kind, outcome.where)
        if outcome.kind not in ("read", "refused") and key not in self.findings:
            name = f"finding-{len(self.findings)}"
            (self.scratch / name).write_bytes(data)
            self.findings[key] = {"kind": outcome.kind, "where": outcome.where, "told": outcome.told, "input": name}
        if time.monotonic() - self.written > 0.5:
            self.report()

    def report(self, ended: bool = False) -> None:
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.began_kb
        text = json.dumps({
            **{key: self.counts[key] for key in ("inputs", "read", "refused")}, "worst_ms": round(1000 * self.worst, 1),
            "grown_mb": round(grown / 1024, 1), "findings": list(self.findings.values()), "ended": ended,
        })  # fmt: skip
        temporary = self.scratch / "report.part"
        temporary.write_text(text)
        temporary.replace(self.scratch / "report.json")
        self.written = time.monotonic()


def campaign(args: argparse.Namespace) -> None:
    """One process: inputs until the time is over."""
    end = time.monotonic() + args.seconds
    if args.engine == "atheris":
        guided(args, end)
        return
    one, draw = Campaign(args), random.Random(f"{args.campaign} {args.seed}")
    while time.monotonic() < end and one.counts["inputs"] < args.inputs:
        one.try_one(one.target.mutate(draw, draw.choice(one.seeds), one.seeds))
    one.report(ended=True)


def guided(args: argparse.Namespace, end: float) -> None:
    """The same, libFuzzer keeping what reaches new lines of clipjax and checkpoints_convert."""
    import atheris
    from support.hostile.mutators import some_bytes

    with atheris.instrument_imports(include=["clipjax", "checkpoints_convert"]):
        one = Campaign(args)
    corpus = args.scratch / "corpus"
    corpus.mkdir(exist_ok=True)
    for i, data in enumerate(one.seeds):
        (corpus / f"seed{i}").write_bytes(data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        draw = random.Random(seed)
        data = data if len(data) > 2 else draw.choice(one.seeds)
        if draw.random() < 0.2:
            return atheris.Mutate(data, most)
        try:
            return one.target.mutate(draw, data, one.seeds)[:most]
        except Exception:  # an input that libFuzzer made fits no mutator; raised here it would hang the process
            return some_bytes(draw, data)[:most]

    def attempt(data: bytes) -> None:
        one.try_one(data)
        if time.monotonic() > end or one.counts["inputs"] >= args.inputs:
            one.report(ended=True)
            sys.stderr.flush()
            os._exit(0)  # libFuzzer itself only ends by a signal or a finding

    # The guard has an alarm of its own, and the limit on memory is RLIMIT_AS.
    flags = [f"-seed={args.seed + 1}", "-max_len=1000000", "-timeout=0", "-handle_alrm=0", "-rss_limit_mb=0"]
    flags += ["-report_slow_units=1000", "-print_final_stats=0", "-len_control=0", "-reload=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], attempt, custom_mutator=mutate)
    atheris.Fuzz()


def table() -> str:
    """Both engines side by side, in Markdown."""
    found = {}
    for engine in ("mutate", "atheris"):
        path = HERE / "results" / f"{engine}.json"
        found[engine] = json.loads(path.read_text())["targets"] if path.exists() else {}
    lines = [
        "| target | inputs | seconds | read | guided inputs | seconds | edges | slowest, ms | memory, MB | open |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    total = Counter()
    for name in {**found["mutate"], **found["atheris"]}:
        a, b = (found[engine].get(name, {}) for engine in ("mutate", "atheris"))
        both = [x for x in (a, b) if x]
        opened = sum(len(x["findings"]) for x in both)
        read = f"{100 * a['read'] / max(a['inputs'], 1):.0f}%" if a else ""
        cells = [name, f"{a.get('inputs', 0):,}", f"{a.get('seconds', 0):.0f}", read, f"{b.get('inputs', 0):,}"]
        cells += [f"{b.get('seconds', 0):.0f}", f"{b.get('edges', '')}", f"{max(x['worst_ms'] for x in both):.0f}"]
        cells += [f"{max(x['grown_mb'] for x in both):.0f}", str(opened)]
        lines.append("| " + " | ".join(cells) + " |")
        total += Counter({"a": a.get("inputs", 0), "as": round(a.get("seconds", 0)), "b": b.get("inputs", 0)})
        total += Counter({"bs": round(b.get("seconds", 0)), "open": opened})
    lines.append(
        f"| all | {total['a']:,} | {total['as']:,} | | {total['b']:,} | {total['bs']:,} | | | | {total['open']} |"
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
