"""Memory, open files and threads during hours of probes, cache changes and explorer requests.

    python experiments/soak/run.py --minutes=60 --work=FOLDER
    python experiments/soak/run.py --render

The script observes two processes. One repeats commands in one process, like a notebook or a service:
probes of the drawings with different class lists, comparison and report; every few rounds the feature
cache is deleted and images change. The other is `clipjax explore` with the requests of two browsers for different
designs. Every ten seconds it reads their memory, files and threads from /proc. Writes results/*.json and soak.png.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

HERE = Path(__file__).parent
RESULTS = HERE / "results"
EVERY = 10.0  # seconds between samples
WARM = 0.25  # of the time, which slopes leave out: programs are compiled and pools filled
NOUNS = "baker pilot nurse judge monk queen robot child elder sailor painter farmer thief hero singer cook".split()


def probes(work: Path, until: float, rest: float) -> None:
    """Rounds of verbs in this process until the clock says `until`."""
    from PIL import Image

    from clipjax.cli.main import main
    from clipjax.demo import people

    os.environ["CLIPJAX_CACHE"] = str(work / "cache")
    listing = people.unpack(work / "people")
    rng, rounds = random.Random(0), 0
    log = open(work / "probes.log", "w", buffering=1)  # noqa: SIM115 (until the process ends)
    while time.time() < until:
        names = rng.sample(NOUNS, rng.randint(2, 8))
        runs = work / "runs"
        for i, classes in enumerate((names, [*names[:-1], "a " + names[-1]])):
            design = work / f"design{i}.yaml"
            lines = "".join(f"  - {{name: {c}, sets: [s{j % 2}]}}\n" for j, c in enumerate(classes))
            design.write_text(f"name: d{i}\ntemplates: ['a drawing of a {{}}.', 'a {{}}']\nclasses:\n{lines}")
            check(main([
                "probe", "rates", f"--config.data.csv={listing}", "--config.data.group_columns=age,skin_tone",
                f"--config.design={design}", f"--out={runs / str(i)}",
            ]))  # fmt: skip
        check(main(["compare", str(runs / "0"), str(runs / "1"), f"--out={runs / 'both'}"]))
        check(main(["report", str(runs / "0"), str(runs / "1")]))
        if rounds % 5 == 4:
            check(main(["rerun", str(runs / "0")]))
            shutil.rmtree(work / "cache")
            picture = rng.choice(sorted((work / "people").glob("*.png")))
            Image.new("RGB", (64, 64), (rng.randrange(256), 0, 0)).save(picture)
        shutil.rmtree(runs)
        rounds += 1
        time.sleep(rest)
        log.write(f"{rounds}\n")


def check(status: int) -> None:
    if status:
        raise SystemExit(f"a verb ended with status {status}")


def watched(pid: int) -> dict[str, float]:
    """Resident MB, file handles and threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
    threads = int(re.search(r"Threads:\s+(\d+)", status)[1])
    return {"mb": resident, "files": len(os.listdir(f"/proc/{pid}/fd")), "threads": threads}


class Visitor(threading.Thread):
    """One browser's worth of questions to the explorer, one after the other."""

    def __init__(self, address: str, seed: int, until: float, pause: float):
        super().__init__(daemon=True)
        self.rng, self.until, self.pause = random.Random(seed), until, pause
        self.answered, self.failed, self.seconds, self.page = 0, [], 0.0, f"soak{seed}"
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self.opener.open(address, timeout=60).read()
        self.root = address.split("/?")[0]

    def ask(self, name: str, **body: Any) -> bytes:
        data = json.dumps({"page": self.page} | body).encode()
        request = urllib.request.Request(f"{self.root}/api/{name}", data, {"Content-Type": "application/json"})
        begin = time.perf_counter()
        found = self.opener.open(request, timeout=120).read()
        self.seconds += time.perf_counter() - begin
        self.answered += 1
        return found

    def run(self) -> None:
        """Edits, figures, tables, saved and loaded designs."""
        design = json.loads(self.ask("start"))["design"]
        while time.time() < self.until:
            try:
                edited = json.loads(json.dumps(design))
                kept = self.rng.sample(edited["classes"], max(2, len(edited["classes"]) - self.rng.randrange(3)))
                word = f"{self.rng.choice(NOUNS)} {self.rng.randrange(10**6)}"
                edited["classes"] = [*kept, {"name": word, "sets": ["new"]}]
                self.ask("rates", design=edited)
                if self.rng.random() < 0.2:
                    self.ask("labels", design=edited, view="labels")
                if self.rng.random() < 0.1:
                    self.ask("figure", design=edited, format=self.rng.choice(["svg", "png"]))
                    self.ask("table", design=edited)
                    self.ask("load", text=json.loads(self.ask("save", design=edited))["text"])
            except OSError as error:
                told = error.read()[:300].decode() if hasattr(error, "read") else ""
                self.failed.append(f"{error} {told}")
            time.sleep(self.pause)


def soak(minutes: float, work: Path, pause: float, rest: float) -> None:
    """Starts both, watches, and writes what it saw."""
    from clipjax.cli.main import main
    from clipjax.demo import people

    work.mkdir(parents=True, exist_ok=True)
    os.environ["CLIPJAX_CACHE"] = str(work / "explored_cache")
    listing = people.unpack(work / "explored_people")
    flags = [
        f"--config.data.csv={listing}",
        "--config.data.group_columns=age,skin_tone",
        "--config.design=people-roles",
    ]
    if not (work / "explored" / "manifest.json").exists():
        check(main(["probe", "rates", *flags, f"--out={work / 'explored'}"]))
    until = time.time() + minutes * 60
    with open(work / "explore.err", "w") as errors, open(work / "probes.out", "w") as out:
        explorer = subprocess.Popen(
            [sys.executable, "-m", "clipjax.cli.main", "explore", str(work / "explored")],
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        prober = subprocess.Popen(
            [sys.executable, __file__, "--probes", f"--until={until}", f"--rest={rest}", f"--work={work}"],
            stdout=out,
            stderr=out,
        )
        assert explorer.stdout is not None
        address = re.search(r"http://\S+", explorer.stdout.readline())[0]
        visitors = [Visitor(address, seed, until, pause) for seed in range(2)]
        for visitor in visitors:
            visitor.start()
        samples, begin = [], time.time()
        while time.time() < until and prober.poll() is None and explorer.poll() is None:
            row = {"probes": watched(prober.pid), "explorer": watched(explorer.pid)}
            samples.append({"minute": (time.time() - begin) / 60} | row)
            time.sleep(EVERY)
        for visitor in visitors:
            visitor.join(timeout=150)
        ended = {"probes": prober.wait(timeout=600), "explorer": explorer.poll()}
        explorer.terminate()
        ended["explorer_after_sigterm"] = explorer.wait(timeout=60)
    rounds = int((work / "probes.log").read_text().split()[-1])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "samples.json").write_text(json.dumps(samples) + "\n")
    summary = {
        "date": time.strftime("%Y-%m-%d"), "minutes": samples[-1]["minute"], "rounds_of_verbs": rounds,
        "verbs": rounds * 4 + rounds // 5, "questions": sum(v.answered for v in visitors),
        "mean_ms": 1e3 * sum(v.seconds for v in visitors) / max(sum(v.answered for v in visitors), 1),
        "failed": [line for v in visitors for line in v.failed], "status": ended,
    }  # fmt: skip
    (RESULTS / "summary.json").write_text(json.dumps(summary | slopes(samples), indent=1) + "\n")
    render()


def slopes(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each process: first and last value behind the warm-up, and growth an hour by least squares."""
    import numpy as np

    late = [s for s in samples if s["minute"] >= WARM * samples[-1]["minute"]]
    out: dict[str, Any] = {}
    for who in ("probes", "explorer"):
        for what in ("mb", "files", "threads"):
            y = np.array([s[who][what] for s in late])
            slope = np.polyfit([s["minute"] / 60 for s in late], y, 1)[0] if len(late) > 1 else 0.0
            found = {"lowest": y.min(), "highest": y.max(), "last": y[-1], "an_hour": round(slope, 2)}
            out[f"{who}_{what}"] = {name: float(value) for name, value in found.items()}
    return out


def render() -> None:
    """soak.png."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    samples = json.loads((RESULTS / "samples.json").read_text())
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True)
    labels = {"mb": "resident memory, MB", "files": "open files", "threads": "threads"}
    for ax, (what, label) in zip(axes, labels.items(), strict=True):
        for who, colour in (("probes", "#0072B2"), ("explorer", "#D55E00")):
            ax.plot([s["minute"] for s in samples], [s[who][what] for s in samples], color=colour, label=who)
        ax.set(ylabel=label, ylim=(0, None))
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, loc="lower right")
    axes[-1].set(xlabel="minutes")
    figure.savefig(HERE / "soak.png", dpi=130, metadata={"Software": "clipjax"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--work", type=Path, default=Path("soak"), help="a folder for data, caches and logs")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between a visitor's edits")
    parser.add_argument("--rest", type=float, default=0.0, help="seconds between rounds of verbs")
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--probes", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.render:
        render()
    elif args.probes:
        probes(args.work.resolve(), args.until, args.rest)
    else:
        soak(args.minutes, args.work.resolve(), args.pause, args.rest)


if __name__ == "__main__":
    main()
