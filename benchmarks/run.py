"""Runs every benchmark with the peers, one after the other, each in its own process; then writes RESULTS.md.

    pip install -e '.[peers]'
    python benchmarks/run.py                         all of them: about an hour on two cores
    python benchmarks/run.py --only=latency,decode   some; image_encoders:RN50 is one of the models
    python benchmarks/run.py --render                RESULTS.md from results/*.json as they are

Rows are written to benchmarks/results/NAME.json, for the image encoders one file per model: each has its own process
because memory is limited. Nothing else should run at the same time: the script waits until the machine is idle
(--load=0.3), and states in RESULTS.md how busy it was before each benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from clipjax.models import catalog

HERE = Path(__file__).parent
RESULTS = HERE / "results"
# Name -> its arguments, in the order of RESULTS.md.
BENCHMARKS: dict[str, list[str]] = {
    **{f"image_encoders:{model}": [f"--models={model}", "--rounds=3", "--budget=45"] for model in catalog.names()},
    **{
        f"image_encoders:{model}": [f"--models={model}", "--batches=8,32", "--rounds=5", "--budget=90"]
        for model in ("ViT-B-16-SigLIP", "PE-Core-B-16")
    },
    "latency": [],
    "classifier": ["--rounds=2", "--names=8"],
    "cold_start": ["--rounds=4"],
    "conversion": ["--rounds=4"],
    "training_step": ["--rounds=5"],
    "end_to_end": ["--rounds=2"],
    "linear_probe": ["--rounds=2", "--only=fit,sweep"],
    "design_sweep": ["--rounds=3"],
    "tokenizer": ["--rounds=5"],
    "decode": ["--rounds=2"],
}
NOTES = HERE / "NOTES.md"  # other measurements and explanations; appended unchanged


def main() -> None:
    """Runs the selected benchmarks and renders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(BENCHMARKS))
    parser.add_argument("--render", action="store_true", help="run nothing")
    parser.add_argument("--work", type=Path, default=None, help="where weights files are made and kept")
    parser.add_argument("--load", type=float, default=0.3, help="begin below this share of busy processors")
    args = parser.parse_args()
    names = []
    for wanted in [] if args.render else args.only.split(","):
        if not (found := [name for name in BENCHMARKS if wanted in (name, script(name))]):
            raise SystemExit(f"unknown benchmark {wanted}; there are {', '.join(BENCHMARKS)}")
        names += found
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        busy = quiet(args.load)
        target = path(name)
        command = [sys.executable, str(HERE / f"{script(name)}.py"), *BENCHMARKS[name], f"--json={target}"]
        if args.work and name in ("latency", "classifier", "cold_start", "conversion"):
            command.append(f"--work={args.work}")
        print(f"== {name} (machine {busy:.0%} busy before)", flush=True)
        subprocess.run(command, check=True, cwd=HERE)
        found = json.loads(target.read_text())
        found["machine"]["busy_before"] = round(busy, 2)
        found["command"] = " ".join(["python", f"benchmarks/{script(name)}.py", *BENCHMARKS[name]])
        target.write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "RESULTS.md").write_text(render())


def script(name: str) -> str:
    """The script of a benchmark."""
    return name.split(":")[0]


def path(name: str) -> Path:
    """The file of its rows."""
    return RESULTS / f"{name.replace(':', '_').replace('/', '-').replace('@', '-')}.json"


def quiet(limit: float, patience: float = 60) -> float:
    """The share of busy processors over a second, once it is below `limit` or `patience` seconds have passed."""
    begin = time.monotonic()
    while (busy := _busy()) > limit and time.monotonic() - begin < patience:
        time.sleep(2)
    return busy


def _busy() -> float:
    def read() -> tuple[int, int]:
        values = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        return sum(values), values[3] + values[4]

    (total, idle), _ = read(), time.sleep(1)
    later, later_idle = read()
    return 1 - (later_idle - idle) / max(later - total, 1)


def render() -> str:
    """RESULTS.md from results/*.json and NOTES.md."""
    lines = [
        "# Measurements",
        "",
        "clipjax and its peers on one machine, in alternating rounds (benchmarks/side_by_side.py). Each ratio is",
        "computed within a round; the tables show the median over the rounds and the range. **Above 1, clipjax is",
        "faster** than the fastest peer. Random weights in the released shapes and formats, float32 for all.",
        "",
    ]
    for title in dict.fromkeys(map(script, BENCHMARKS)):
        if found := [path(name) for name in BENCHMARKS if script(name) == title and path(name).exists()]:
            lines += section(title, [json.loads(file.read_text()) for file in found])
    return "\n".join(lines) + "\n" + (NOTES.read_text() if NOTES.exists() else "")


def section(title: str, parts: list[dict[str, Any]]) -> list[str]:
    """One benchmark: where and how its parts ran, then a row per case."""
    lines = [f"## {title.replace('_', ' ').capitalize()}", ""]
    for found in parts:
        machine = found["machine"]
        lines.append(
            f"- `{found.get('command', title)}`, {machine['date']}, {machine['processor']}, "
            f"{machine['threads']} threads, Python {machine['python']}; "
            f"{machine.get('busy_before', 0):.0%} busy before."
        )
    lines += ["", "| case | clipjax | fastest peer | ratio | goal | |", "|---|---|---|---|---|---|"]
    rows = [row for found in parts for row in found["rows"]]
    for row in rows:
        middle = {who: sorted(s)[len(s) // 2] for who, s in row["seconds"].items()}
        peer = row.get("fastest_peer")
        rate = {who: f"{row['units'] / s:,.4g} {row['unit']}/s" for who, s in middle.items()}
        ratio, verdict = "", ""
        if peer:
            ratio = f"**{row['ratio']:.2f}** ({row['low']:.2f} to {row['high']:.2f})"
            if row["bar"]:
                verdict = "reached" if row["ratio"] >= row["bar"] else "missed"
        theirs = f"{rate[peer]} ({peer})" if peer else ""
        lines.append(f"| {row['case']} | {rate['clipjax']} | {theirs} | {ratio} | {row['bar'] or ''} | {verdict} |")
    if extras := [(row["case"], row["extra"]) for row in rows if row["extra"]]:
        lines += ["", *(f"- {case}: {_plain(extra)}" for case, extra in extras)]
    versions = dict.fromkeys(", ".join(f"{k} {v}" for k, v in p["machine"]["versions"].items()) for p in parts)
    return [*lines, "", *(f"<sub>{text}</sub>" for text in versions), ""]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"({', '.join(map(_plain, value))})" if isinstance(value, (list, tuple)) else str(value)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # the peers' own
    main()
