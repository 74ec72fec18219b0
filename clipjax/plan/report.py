"""A plan: what one step needs per chip, how fast it could be at best, and both in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from clipjax.plan import compiling, hlo, search
from clipjax.plan.chips import Chip, Topology
from clipjax.plan.programs import Step

IMAGENET = 50_000  # images of ImageNet's validation set
GIB = 2**30
USABLE = 63 / 64  # of a chip's memory: the compiler has 15.75 of v5e's 16 GiB
Largest = Literal["predict", "search", "none"]


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of one step if one of three were all that counted; the step takes at least the longest."""

    products: float
    memory: float
    network: float

    @property
    def seconds(self) -> float:
        """A lower bound of the step's time."""
        return max(self.products, self.memory, self.network)

    @property
    def bound(self) -> str:
        """Which of the three."""
        return max(("products", "memory", "network"), key=lambda name: getattr(self, name))


def roofline(chip: Chip, flops: float, moved: float, sent: float, dtype: str) -> Roofline:
    """Operations, bytes through memory and bytes sent per chip -> seconds at published peaks.

    A chip sends with half of its network's published figure, which counts both directions.
    """
    peak = chip.float32_tflops if dtype == "float32" else chip.tflops
    network = sent / (chip.network_gb_s * 1e9 / 2) if chip.network_gb_s else 0.0
    return Roofline(flops / (peak * 1e12), moved / (chip.hbm_gb_s * 1e9), network)


def plan(
    topology: Topology, build: Callable[[int], Step], batch: int, dtype: str, *, largest: Largest = "none",
    per: int = 1, guess: int | None = None, note: Callable[[str], None] = lambda _: None,
    early: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Compiles `build(batch)` for a TPU topology and says what it means; predicts or searches the largest batch.

    `guess`: a batch that fitted a comparable case, to begin the search from. `note` receives what is being compiled.
    `early` receives what is known before any other batch is compiled: libtpu 0.0.42 has died of a stack overflow at
    5,632 images of ViT-B/16 a chip, and takes the process with it.
    """

    def compile_at(size: int) -> compiling.Compiled:
        note(f"compiling for {topology}: {size} images a chip")
        return compiling.compiled(build(size))

    step = build(batch)
    record = _analytical(topology, step, dtype)
    known: dict[int, compiling.Compiled] = {}
    available = int(topology.chip.hbm_gb * GIB)
    try:
        known[batch] = compile_at(batch)
        record |= _compiled(topology.chip, step, known[batch], dtype)
    except compiling.DoesNotFit as refusal:
        record["does_not_fit"] = str(refusal)
        available = refusal.available or available
    if largest == "predict":
        early(record)
        size, sizes = search.predict(compile_at, batch, int(available * USABLE), per, known)
        record["predicted"] = {"batch": size, "from": sizes}
    if largest == "search":
        early(record)
        first = guess or (batch if known else search.grid(batch / 2, per))
        record["largest"] = _largest(topology, compile_at, build, known, first, available, per, dtype)
    return record


def estimate(topology: Topology, step: Step, dtype: str) -> dict[str, Any]:
    """For GPUs: what follows from the configuration and published peaks, with the lowering for CUDA as the check.

    Its bytes are not a lower bound: kernels that fuse products (attention) move less, so time is an estimate.
    """
    record = _analytical(topology, step, dtype)
    time = roofline(topology.chip, step.flops, step.moved, 0, dtype)
    return record | _speed(step, time) | {"stablehlo_bytes": len(compiling.lower_for_cuda(step))}


def _analytical(topology: Topology, step: Step, dtype: str) -> dict[str, Any]:
    return {
        "topology": str(topology),
        "chips": topology.size,
        "precision": dtype,
        "batch_per_chip": step.batch,
        "hbm_bytes": int(topology.chip.hbm_gb * GIB),
        "parameter_bytes": step.parameters,
        "trained_bytes": step.trained,
        "state_bytes": step.state,
        "input_bytes": step.inputs,
        "analytical_flops": step.flops,
        "analytical_flops_loops_once": step.flops_once,
        "analytical_bytes": step.moved,
    }


def _compiled(chip: Chip, step: Step, compiled: compiling.Compiled, dtype: str) -> dict[str, Any]:
    loops = step.flops - step.flops_once
    time = roofline(chip, compiled.flops + loops, compiled.hbm_bytes, hlo.sent(compiled.collectives), dtype)
    return {
        "argument_bytes": compiled.arguments,
        "activation_bytes": compiled.temporaries,
        "program_bytes": compiled.code,
        "peak_bytes": compiled.peak,
        "flops": compiled.flops + loops,
        "xla_flops": compiled.flops,
        "flops_ratio": compiled.flops / step.flops_once,
        "xla_bytes": compiled.bytes,
        "memory_bytes": compiled.hbm_bytes,
        "collectives": [dataclasses.asdict(c) for c in compiled.collectives],
        "compile_seconds": round(compiled.seconds, 1),
    } | _speed(step, time)


def _speed(step: Step, time: Roofline) -> dict[str, Any]:
    rate = step.batch * step.chips / time.seconds
    out = {
        "roofline_seconds": time.seconds,
        "roofline_bound": time.bound,
        "roofline": dataclasses.asdict(time),
        "images_per_second": rate,
        "images_per_second_per_chip": rate / step.chips,
    }
    if not step.state:  # a step without moments is an evaluation step
        out["imagenet_seconds"] = -(-IMAGENET // (step.batch * step.chips)) * time.seconds
    return out


def _largest(topology, compile_at, build, known, first, available, per, dtype) -> dict[str, Any]:
    largest = search.largest(compile_at, first, available, per, known)
    out: dict[str, Any] = {"fits": largest.fits, "fails": largest.fails, "tried": list(largest.tried)}
    out["peaks"] = {str(size): one.peak for size, one in sorted(largest.compiled.items())}
    if largest.fits:
        step = build(largest.fits)
        whole = _compiled(topology.chip, step, largest.compiled[largest.fits], dtype)
        names = ("peak_bytes", "roofline_seconds", "roofline_bound", "images_per_second", "imagenet_seconds")
        out |= {name: whole[name] for name in names if name in whole}
    return out


def as_text(record: dict[str, Any], decode: float = 0.0) -> str:
    """The record for people. `decode`: images one core of a host decodes a second, 0 if not measured."""
    lines = [f"{record['model']}, {record['step']}, {record['precision']}, on {record['topology']}"]
    lines[0] += f" ({record['chips']} chips), {record['batch_per_chip']} images a chip"
    frozen = f", of which {_bytes(record['trained_bytes'])} are trained" if record["state_bytes"] else ""
    rows = [("parameters", f"{_bytes(record['parameter_bytes'])} a chip{frozen}")]
    if record["state_bytes"]:
        rows.append(("moments, averages", _bytes(record["state_bytes"])))
    if "does_not_fit" in record:
        rows.append(("does not fit", record["does_not_fit"]))
    if "peak_bytes" in record:
        rows += _memory(record)
    rows += _work(record)
    if "roofline_seconds" in record:
        rows += _time(record, decode)
    if "largest" in record:
        rows.append(("largest batch", largest_as_text(record["largest"])))
    if "stablehlo_bytes" in record:
        rows.append(("CUDA", f"lowers to {_bytes(record['stablehlo_bytes'])} of StableHLO"))
        rows.append(("not known here", "activations and peak memory, collectives: XLA:GPU compiles only beside a GPU"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(lines + [f"  {name:<{width}}  {value}" for name, value in rows])


def _memory(record: dict[str, Any]) -> list[tuple[str, str]]:
    share = record["peak_bytes"] / record["hbm_bytes"]
    return [
        ("inputs", _bytes(record["input_bytes"])),
        ("activations", _bytes(record["activation_bytes"])),
        ("program", _bytes(record["program_bytes"])),
        ("peak memory", f"{_bytes(record['peak_bytes'])} of {_bytes(record['hbm_bytes'])} ({share:.0%})"),
    ]


def _work(record: dict[str, Any]) -> list[tuple[str, str]]:
    by_hand = f"{record['analytical_flops'] / 1e12:.3f} T"
    if "flops" not in record:
        return [
            ("FLOPs", f"{by_hand} a step"),
            ("bytes", f"{_bytes(record['analytical_bytes'])} if every product reads and writes once"),
        ]
    rows = [
        ("FLOPs", f"{record['flops'] / 1e12:.3f} T a step; {by_hand} by hand (XLA / hand {record['flops_ratio']:.4f})"),
        ("bytes", f"{_bytes(record['memory_bytes'])} through memory ({_bytes(record['xla_bytes'])} by XLA's count)"),
    ]
    kinds = [f"{c['count']} {c['kind']} ({_bytes(c['bytes'])})" for c in record["collectives"]]
    return [*rows, ("collectives", ", ".join(kinds) or "none")]


def _time(record: dict[str, Any], decode: float) -> list[tuple[str, str]]:
    each = ", ".join(f"{name} {seconds * 1e3:.2f}" for name, seconds in record["roofline"].items() if seconds)
    rate = record["images_per_second_per_chip"]
    most, least = ("at most", "at least") if "memory_bytes" in record else ("estimate", "about")
    what = "pairs" if record["state_bytes"] else "images"
    rows = [
        ("roofline", f"{record['roofline_seconds'] * 1e3:.2f} ms a step, bound by {record['roofline_bound']} ({each})"),
        (most, f"{record['images_per_second']:,.0f} {what}/s ({rate:,.0f} a chip)"),
    ]
    if "imagenet_seconds" in record:
        rows.append(("ImageNet", f"{IMAGENET:,} images in {least} {record['imagenet_seconds']:.2f} s"))
    if decode:
        rows.append(("decoding", f"{rate / decode:,.1f} cores a chip at {decode:,.0f} images/s a core"))
    return rows


def predicted_as_text(predicted: dict[str, Any]) -> str:
    """The prediction, for people."""
    if not predicted["batch"]:
        return "fewer than two of the sizes tried fit, so none is predicted; --largest=search looks for it"
    a, b = predicted["from"]
    return f"{predicted['batch']} a chip should fit (predicted from {a} and {b}; --largest=search compiles it)"


def largest_as_text(largest: dict[str, Any]) -> str:
    """The result of the search, for people."""
    if not largest["fits"]:
        return f"none fits; {largest['fails']} does not"
    more = f"{largest['fails']} does not" if largest["fails"] else "no larger one was tried"
    return (
        f"{largest['fits']} a chip fit ({_bytes(largest['peak_bytes'])}), {more}; there at most "
        f"{largest['images_per_second']:,.0f}/s"
    )


def _bytes(number: float) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= scale:
            return f"{number / scale:.2f} {unit}"
    return f"{number:.0f} B"
