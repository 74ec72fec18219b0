"""Where the first minute of a command goes: every thread of it, from process start to exit, by stage.

    python benchmarks/first_minute.py --work=/dev/shm/work --json=benchmarks/results/first_minute.json

Each case is a complete process: `classify` of one photograph, `probe zeroshot` over 400 JPEG files in 100 classes,
`convert` of OpenAI's archive, all with ViT-B/32, and `demo`. Cold: empty folders of compiled programs and of caches;
warm: with the programs and answers that the cold process left, but without features of images.

A thread of the process looks every 10 ms at the stack and the processor time of every thread. A stage is named by the
functions on the stack (STAGES); the processor time of XLA's own threads is given to the stage of the main thread if
that is compilation, and is "devices" otherwise. Processor seconds depend little on what else the machine does, seconds
of the main thread do. Compilations, hits and misses of the cache of programs are JAX's own events.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import side_by_side

TICK = 0.01  # seconds
# Stage -> "file:function" of a frame. The first stage that has a frame anywhere on the stack is the stage.
STAGES: tuple[tuple[str, str], ...] = (
    ("canary: what to expect", r"runs/canary\.py:(make|expected_\w+)$"),
    ("weights: digest", r"(cache\.py:sha256_of_arrays|files\.py:sha256|engine\.py:weights_sha256)$"),
    ("weights: finite, shapes", r"models/(weights\.py:check_finite|shapes\.py:check)$"),
    ("weights: to devices", r"(encoder\.py:(_on_devices|placed)|clipjax/cpu\.py:placed)$"),
    ("weights: read, write", r"(models/weights\.py|checkpoints_convert/.*\.py):\w+$"),
    ("programs: from the cache", r"jax/_src/compilation_cache\.py:(get|put)_executable\w*$"),
    ("programs: compile", r"jax/_src/compiler\.py:\w+$"),
    ("programs: trace, lower", r"jax/_src/(pjit|interpreters/(mlir|pxla|partial_eval)|stages)\.py:\w+$"),
    ("images: decode", r"(clipjax/image|PIL/\w+|data/source)\.py:\w+$"),
    ("report, figures, tables", r"(clipjax/analysis/|demo/people\.py:table|demo/images\.py:draw|runs/summary)"),
    ("encode", r"clipjax/encoder\.py:\w+$"),
    ("scores, statistics", r"clipjax/(probes|runs/(scoring|rates|groups|task))"),
    ("config, data", r"clipjax/(runs/(config|data)|data|cli)/?.*\.py:\w+$"),
)
PATTERNS = [(name, re.compile(pattern)) for name, pattern in STAGES]
XLA = "devices (XLA's threads)"
EVENTS = {
    "/jax/core/compile/backend_compile_duration": "programs compiled or read",
    "/jax/compilation_cache/cache_hits": "cache hits",
    "/jax/compilation_cache/cache_misses": "cache misses",
}


class Sampler(threading.Thread):
    """Adds up, tick by tick: processor seconds of all threads and seconds of the main thread, by stage."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.cpu: dict[str, float] = collections.defaultdict(float)
        self.main: dict[str, float] = collections.defaultdict(float)
        self.events: collections.Counter[str] = collections.Counter()
        self.main["interpreter"] = self.cpu["interpreter"] = time.process_time()
        self.own = 0.0  # processor seconds of the sampler itself, which no sum contains
        self._spent = _thread_seconds()
        self._now = time.perf_counter()
        self._ended = threading.Event()
        self._listens = False

    def run(self) -> None:
        while not self._ended.wait(TICK):
            self.tick()

    def end(self) -> None:
        self._ended.set()
        self.join()
        self.tick()

    def tick(self) -> None:
        frames, native = sys._current_frames(), {t.native_id: t.ident for t in threading.enumerate()}
        spent, now = _thread_seconds(), time.perf_counter()
        main = _stage(frames.get(threading.main_thread().ident or 0))
        for thread, seconds in spent.items():
            used = seconds - self._spent.get(thread, 0.0)
            ident = native.get(thread)
            if ident == self.ident:
                self.own += used
            elif ident in frames:
                self.cpu[_stage(frames[ident])] += used
            else:
                self.cpu[main if main.startswith(("programs", "canary")) else XLA] += used
        self.main[main] += now - self._now
        self._spent, self._now = spent, now
        self._listen()

    def _listen(self) -> None:
        jax = sys.modules.get("jax")
        if self._listens or not hasattr(jax, "monitoring") or not hasattr(jax, "jit"):
            return
        self._listens = True

        def event(name: str, *values: Any, **_: Any) -> None:
            if name in EVENTS:
                self.events[EVENTS[name]] += 1

        jax.monitoring.register_event_listener(event)  # pyrefly: ignore[missing-attribute]
        jax.monitoring.register_event_duration_secs_listener(event)  # pyrefly: ignore[missing-attribute]


def _thread_seconds() -> dict[int, float]:
    """Processor seconds of every thread of this process, by the number that the kernel gives it."""
    found = {}
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/schedstat") as file:
            found[int(task)] = int(file.read().split()[0]) / 1e9
    return found


def _stage(frame: Any) -> str:
    """The stage of a stack; an import is of the package whose module is being executed."""
    names = []
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if file == "<frozen importlib._bootstrap>" and function == "_find_and_load":
            return f"import {frame.f_locals['name'].partition('.')[0]}"
        names.append(f"{file}:{function}")
        frame = frame.f_back
    for stage, pattern in PATTERNS:
        if any(pattern.search(name) for name in names):
            return stage
    return "other"


def child(out: str, words: list[str]) -> None:
    """Runs a command of clipjax in this process, watched; what was seen goes to the file `out`."""
    sampler = Sampler()
    sampler.start()
    from clipjax.cli.main import main  # of the clipjax that PYTHONPATH names

    sys.argv = ["clipjax", *words]
    status = main()
    sampler.end()
    cpu = {k: round(v, 3) for k, v in sampler.cpu.items()}
    seconds = {k: round(v, 3) for k, v in sampler.main.items()}
    modules = len(sys.modules)
    Path(out).write_text(
        json.dumps(
            {"cpu": cpu, "main": seconds, "events": dict(sampler.events), "modules": modules, "sampler": sampler.own}
        )
    )
    sys.exit(status)


def watched(words: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """One process: its stages, and its processor seconds and seconds in all."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [sys.executable, __file__, "--child", out.name, *words]
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds, cpu = time.perf_counter() - begin, usage.ru_utime + usage.ru_stime
        if status:
            raise SystemExit(f"{' '.join(words)}: {said[-2000:]}")
        found = json.loads(Path(out.name).read_text())
    cpu -= found.pop("sampler")
    found["cpu"]["exit"] = round(max(cpu - sum(found["cpu"].values()), 0), 3)
    return found | {"cpu_seconds": round(cpu, 2), "seconds": round(seconds, 2)}


def cases(work: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and words of every command."""
    import released_files
    from decode import photographs

    files = released_files.make(work / "files", "ViT-B/32")
    photos = work / "photos"
    if not photos.exists():
        for i, file in enumerate(sorted(photographs(work / "all", 400, (500, 375)).iterdir())):
            folder = photos / f"class {i // 4:02}"
            folder.mkdir(parents=True, exist_ok=True)
            file.rename(folder / file.name)
    ours, photo = str(files["clipjax"]), str(files["photo"])
    yield "classify", ["classify", photo, "--classes=dog,cat", f"--model={ours}"]
    yield (
        "probe",
        ["probe", "zeroshot", f"--config.model={ours}", f"--config.data.path={photos}", "--out={out}/probe"],
    )
    yield "demo", ["demo", "--out={out}/demo"]
    yield "convert", ["convert", str(files["torchscript"]), "{out}/converted.safetensors"]


def measure(
    work: Path, rounds: int, only: list[str], checkouts: dict[str, Path], keep: Callable[[dict[str, Any]], None]
) -> dict[str, dict[str, Any]]:
    """Checkout -> case and cold or warm -> the rounds; the checkouts in turn within each round. `keep` is given what
    has been measured, after every process."""
    found: dict[str, dict[str, Any]] = {name: {} for name in checkouts}
    for name, words in cases(work):
        if only and name not in only:
            continue
        for _ in range(rounds):
            for which, checkout in checkouts.items():
                for state, measured in _cold_and_warm(work, words, checkout):
                    found[which].setdefault(f"{name}, {state}", []).append(measured)
                    said = f"{measured['cpu_seconds']} processor seconds, {measured['seconds']} s"
                    print(f"{which}: {name}, {state}: {said}", flush=True)
                    keep(found)
    return found


def _cold_and_warm(work: Path, words: list[str], checkout: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        environment = {
            "CLIPJAX_COMPILATION_CACHE": f"{folder}/programs", "CLIPJAX_CACHE": f"{folder}/cache",
            "CLIPJAX_QUIET": "1", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(checkout),
        }  # fmt: skip
        for state in ("cold", "warm"):
            out = Path(folder) / state
            out.mkdir()
            yield state, watched([word.format(out=out) for word in words], environment)
            for features in Path(folder, "cache").rglob("*.log"):
                features.unlink()


def table(found: dict[str, list[dict[str, Any]]], kind: str = "cpu", least: float = 0.05) -> str:
    """Medians over the rounds as a Markdown table: stages down, cases across; below `least` seconds "rest"."""
    sums: dict[str, dict[str, float]] = collections.defaultdict(lambda: collections.defaultdict(float))
    for case, rounds in found.items():
        for stage in {stage for one in rounds for stage in one[kind]}:
            name = stage if not stage.startswith("import ") or stage.split()[1] in IMPORTS else "import other packages"
            middle = statistics.median(one[kind].get(stage, 0.0) for one in rounds)
            sums[name][case] += middle
    rest = {name for name, row in sums.items() if max(row.values()) < least}
    lines = ["| | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    order = sorted(sums.keys() - rest, key=lambda name: (not name.startswith(("interp", "import")), name))
    for name in order:
        lines.append(_row(name, [sums[name].get(case, 0.0) for case in found]))
    lines.append(_row("rest", [sum(sums[name].get(case, 0.0) for name in rest) for case in found]))
    total = "cpu_seconds" if kind == "cpu" else "seconds"
    lines.append(_row("**all**", [statistics.median(one[total] for one in rounds) for rounds in found.values()]))
    for what in ("programs compiled or read", "cache hits", "cache misses"):
        counts = [statistics.median(one["events"].get(what, 0) for one in rounds) for rounds in found.values()]
        lines.append(f"| {what} | " + " | ".join(f"{n:g}" for n in counts) + " |")
    modules = [statistics.median(one["modules"] for one in rounds) for rounds in found.values()]
    return "\n".join([*lines, "| modules imported | " + " | ".join(f"{n:g}" for n in modules) + " |"])


IMPORTS = ("clipjax", "jax", "flax", "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "grain", "PIL", "statsmodels")


def _row(name: str, values: list[float]) -> str:
    return f"| {name} | " + " | ".join(f"{v:.2f}" if v >= 0.005 else "" for v in values) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where weights and images are kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="classify,probe,demo,convert")
    parser.add_argument("--before", type=Path, metavar="DIR", help="another checkout of clipjax, measured in turn")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rounds there")
    args = parser.parse_args()
    checkouts = ({"before": args.before} if args.before else {}) | {"now": Path(__file__).parents[1]}

    def keep(found: dict[str, Any]) -> None:
        if args.json:
            args.json.write_text(json.dumps({"machine": side_by_side.machine(), **found}, indent=1) + "\n")

    found = measure(args.work, args.rounds, [word for word in args.only.split(",") if word], checkouts, keep)
    for which, rounds in found.items():
        print(f"\n{which}, processor seconds\n\n{table(rounds)}")
        print(f"\n{which}, seconds of the main thread\n\n{table(rounds, 'main')}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        main()
