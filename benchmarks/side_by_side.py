"""Shared by all benchmarks: alternating timed calls, ratios with their range, rows of RESULTS.md.

The speed of a shared machine changes, so nothing is compared across runs: each round times every candidate once,
one after the other (the order rotates between rounds), and a ratio is computed within its round. A row holds what was
compared, the median seconds of each, and the median ratio of the fastest peer's time to clipjax's with its range over
the rounds: above 1, clipjax is faster.

Call `threads()` before jax, torch or numpy is imported: all libraries get the same number.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

OURS = "clipjax"


def threads(count: int | None = None) -> int:
    """Pins every library's pool to the same size (all usable processors, or BENCHMARK_THREADS) by environment."""
    count = count or int(os.environ.get("BENCHMARK_THREADS", 0)) or len(os.sched_getaffinity(0))
    os.environ["JAX_PLATFORMS"] = "cpu"
    for name in ("NPROC", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)
    return count


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison: `seconds` per candidate and round, ours under "clipjax"."""

    benchmark: str
    case: str
    seconds: Mapping[str, list[float]]
    units: float = 1.0  # how many of `unit` one call does
    unit: str = "call"
    bar: float | None = None  # what the ratio is asked to reach
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def fastest(self) -> str | None:
        """The peer with the smallest median."""
        peers = {name: statistics.median(s) for name, s in self.seconds.items() if name != OURS}
        return min(peers, key=lambda name: peers[name]) if peers else None

    @property
    def ratios(self) -> list[float]:
        """The fastest peer's seconds over ours, round by round."""
        peer = self.fastest
        return [b / a for a, b in zip(self.seconds[OURS], self.seconds[peer], strict=True)] if peer else []

    def to_json(self) -> dict[str, Any]:
        """Everything, with the summary that RESULTS.md shows."""
        found: dict[str, Any] = dataclasses.asdict(self) | {"fastest_peer": self.fastest}
        if self.ratios:
            found |= {"ratio": statistics.median(self.ratios), "low": min(self.ratios), "high": max(self.ratios)}
        return found

    def __str__(self) -> str:
        rates = ", ".join(
            f"{name} {self.units / statistics.median(s):.4g} {self.unit}/s" for name, s in self.seconds.items()
        )
        if not self.ratios:
            return f"{self.case}: {rates}"
        found = f"{statistics.median(self.ratios):.2f} ({min(self.ratios):.2f} to {max(self.ratios):.2f})"
        return f"{self.case}: {rates}; ratio to {self.fastest} {found}" + (f", bar {self.bar}" if self.bar else "")


def interleave(
    calls: Mapping[str, Callable[[], Any]], rounds: int, budget: float = float("inf"), warm: bool = True
) -> dict[str, list[float]]:
    """Seconds of every call in every round. Calls return only when their result is available (`block_until_ready`).

    After two rounds no new one starts that would end past `budget` seconds: large models get fewer.
    """
    names = list(calls)
    if warm:
        for name in names:
            calls[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    begin = time.perf_counter()
    for i in range(rounds):
        elapsed = time.perf_counter() - begin
        if i >= 2 and elapsed * (i + 1) / i > budget:
            break
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def machine() -> dict[str, Any]:
    """Processor, thread count and the versions of both sides."""
    model = next((x.split(":", 1)[1].strip() for x in _cpuinfo() if x.startswith("model name")), platform.processor())
    flags = next((x.split(":", 1)[1].split() for x in _cpuinfo() if x.startswith("flags")), [])
    simd = next((x for x in ("amx_tile", "avx512f", "avx2") if x in flags), "")
    return {
        "processor": f"{model} ({simd})",
        "threads": int(os.environ.get("NPROC", 0)),
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "versions": {name: v for name in PACKAGES if (v := _version(name))},
    }


PACKAGES = ("jax", "jaxlib", "flax", "numpy", "pillow", "torch", "torchvision", "open_clip_torch", "transformers",
            "clip-anytorch", "clip-benchmark", "scikit-learn", "safetensors", "tokenizers")  # fmt: skip


def main(
    description: str | None,
    measure: Callable[[argparse.Namespace], Iterable[Row]],
    add_arguments: Callable[[argparse.ArgumentParser], Any] = lambda parser: None,
) -> None:
    """The command of one benchmark: prints its rows; `--json=FILE` keeps them for RESULTS.md."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    add_arguments(parser)
    args = parser.parse_args()
    rows = []
    for row in measure(args):
        print(row, flush=True)
        rows.append(row.to_json())
        if args.json:  # after every row: a long run that is stopped keeps what it has
            args.json.write_text(
                json.dumps({"machine": machine(), "rows": rows}, indent=1, default=lambda x: x.item()) + "\n"
            )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
