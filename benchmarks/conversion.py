"""Converting OpenAI's archive: `clipjax convert X.pt Y.safetensors` beside torch.jit.load and saving its tensors.

    python benchmarks/conversion.py --model=ViT-L/14 --work=/dev/shm/work

Complete processes, including interpreter and imports, each into a new file; peers save by torch.save and by
safetensors.torch. Memory is the largest resident size of the process (getrusage), Python and its libraries included,
divided by the size of the archive; the goal is 1.5. A folder in memory (/dev/shm) keeps the disk out of the comparison.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import released_files
import side_by_side
from side_by_side import Row, interleave

PEER = """
import sys, time, warnings; warnings.filterwarnings("ignore"); start = time.perf_counter()
import torch
imported = time.perf_counter()
state = torch.jit.load(sys.argv[1], map_location="cpu").state_dict()
if sys.argv[3] == "torch.save":
    torch.save(state, sys.argv[2])
else:
    from safetensors.torch import save_file
    save_file(dict(state), sys.argv[2])
now = time.perf_counter()
print(now - imported)
"""
OURS = """
import sys, time
import clipjax.cli.main as cli
start = time.perf_counter()
assert cli.main(["convert", sys.argv[1], sys.argv[2]]) == 0
print(time.perf_counter() - start)
"""


def measure(args: argparse.Namespace) -> Iterator[Row]:
    side_by_side.threads()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.work or temporary)
        archive = released_files.make(folder, args.model, "torchscript")["torchscript"]
        peaks: dict[str, list[int]] = {}
        processor: dict[str, list[float]] = {}
        inside: dict[str, list[float]] = {}

        def process(name: str, code: str, *more: str) -> Callable[[], None]:
            def call() -> None:
                target = folder / "converted"
                target.unlink(missing_ok=True)
                seconds, peak, cpu = _run([sys.executable, "-c", code, str(archive), str(target), *more])
                inside.setdefault(name, []).append(seconds)
                processor.setdefault(name, []).append(cpu)
                peaks.setdefault(name, []).append(peak)
                target.unlink()

            return call

        calls = {"clipjax": process("clipjax", OURS)}
        calls |= {f"{how}": process(how, PEER, how) for how in ("torch.save", "safetensors.torch")}
        seconds = interleave(calls, args.rounds)
        extra = {
            "file bytes": archive.stat().st_size,
            "peak bytes": {name: max(found) for name, found in peaks.items()},
            "peak / file": {name: max(found) / archive.stat().st_size for name, found in peaks.items()},
            "processor seconds": {k: v[1:] for k, v in processor.items()},
            "seconds inside, imports of torch or of the command excluded": {k: v[1:] for k, v in inside.items()},
        }
        yield Row(
            "conversion", f"{args.model}, {archive.stat().st_size / 1e6:.0f} MB archive", seconds, bar=2, extra=extra
        )
        print("peak memory / file: " + ", ".join(f"{k} {v:.2f}" for k, v in extra["peak / file"].items()))


def _run(command: list[str]) -> tuple[float, int, float]:
    """What the process printed last (seconds inside it), its peak resident bytes, its processor seconds."""
    read, write = os.pipe()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
    os.close(write)
    with os.fdopen(read) as output:
        lines = output.read().splitlines()
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:2])} failed: {lines}")
    return float(lines[-1]), usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="ViT-L/14")
    parser.add_argument("--work", metavar="DIR", help="keeps the files there (default: a temporary folder)")


if __name__ == "__main__":
    side_by_side.main(__doc__, measure, add_arguments)
