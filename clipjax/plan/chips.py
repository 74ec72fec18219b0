"""Chips and topologies as rows of data: published peaks, and the grammar of `--topology`."""

from __future__ import annotations

import dataclasses
import math
import re

from clipjax.errors import InputError, nearest


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator's published peaks; products in bfloat16, `float32` where float32 products run slower.

    Units: 10^12 operations/s, 10^9 bytes, 10^9 bytes/s. `network` is what one chip can send and receive to its
    neighbours, both directions together; 0 where this package does not compile for the chip and counts no collectives.
    `axes` is how many numbers a topology of it has; `slices` are the shapes on offer, smallest first.
    """

    name: str
    kind: str  # "tpu" or "gpu"
    tflops: float
    float32_tflops: float
    hbm_gb: float
    hbm_gb_s: float
    network_gb_s: float
    axes: int
    slices: tuple[str, ...]
    most: int
    host: tuple[int, ...] = ()  # chips of one host: what slices are multiples of
    config: str = ""  # the compiler's name for "both cores of a chip are one device", where that is not its default


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBE = ("1x1x1", "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16")

# TPUs: Google Cloud's "key chip specifications" (docs.cloud.google.com/tpu/docs/v5e, v5p, v6e; v4 as quoted by
# others, its page was not at hand), November 2026. The v5e and v6e pages exist with 819 and 1,640 and with 800 and
# 1,600 GB/s. At JAX's default precision the matrix units take float32 operands in one bfloat16 pass, so float32 has no
# other peak there.
# GPUs: the H100 and H200 SXM5, the A100 80GB SXM and the L4 as NVIDIA publishes them, by secondary pages, dense (half
# of what is printed "with sparsity"); JAX's default precision for float32 products there is TF32.
CHIPS = (
    Chip("v4", "tpu", 275, 275, 32, 1228, 300, 3, _CUBE, 4096, (2, 2, 1), "megacore"),
    Chip("v5e", "tpu", 197, 197, 16, 819, 400, 2, _FLAT, 256, (2, 2)),
    Chip("v5p", "tpu", 459, 459, 95, 2765, 1200, 3, _CUBE, 8960, (2, 2, 1)),
    Chip("v6e", "tpu", 918, 918, 32, 1640, 800, 2, _FLAT, 256, (2, 2)),
    Chip("h100", "gpu", 989.4, 494.7, 80, 3350, 0, 1, ("1", "2", "4", "8"), 16384),
    Chip("h200", "gpu", 989.4, 494.7, 141, 4800, 0, 1, ("1", "2", "4", "8"), 16384),
    Chip("a100", "gpu", 312, 156, 80, 2039, 0, 1, ("1", "2", "4", "8", "16"), 16384),
    Chip("l4", "gpu", 121, 60, 24, 300, 0, 1, ("1", "2", "4", "8"), 16384),
)


@dataclasses.dataclass(frozen=True)
class Topology:
    """A named number of chips: `v5e:4x4`, `v5p:2x2x4`, `h100:8`."""

    chip: Chip
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many chips."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"


def topology(text: str) -> Topology:
    """`CHIP:SHAPE` -> Topology. TPU shapes are those of Google Cloud's slices; a GPU's is a number of GPUs."""
    name, colon, shape = text.strip().lower().partition(":")
    known = {chip.name: chip for chip in CHIPS}
    if name not in known:
        raise InputError(f"unknown chip {name!r} in {text!r}{nearest(name, known)}; chips: {', '.join(known)}")
    chip = known[name]
    example = f"{name}:{chip.slices[3]}"
    if not colon or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
        raise InputError(f"topology {text!r}: write chip and shape, as in {example}")
    axes = tuple(map(int, shape.split("x")))
    if len(axes) != chip.axes:
        what = {1: "a number of GPUs", 2: "two numbers", 3: "three numbers"}[chip.axes]
        raise InputError(f"topology {text!r}: a shape of {name} is {what}, as in {example}{_nearest(chip, axes)}")
    chosen = Topology(chip, axes)
    if chosen.size > chip.most:
        raise InputError(f"topology {text!r}: {name} comes in at most {chip.most} chips{_nearest(chip, axes)}")
    # Every slice but a single chip is made of whole hosts.
    if chosen.size > 1 and any(n % h for n, h in zip(axes, chip.host, strict=False)):
        host = "x".join(map(str, chip.host))
        raise InputError(f"topology {text!r}: {name} comes in hosts of {host} chips{_nearest(chip, axes)}")
    return chosen


def _nearest(chip: Chip, axes: tuple[int, ...]) -> str:
    """The slice on offer whose number of chips is nearest, by ratio."""
    wanted = math.log(math.prod(axes))
    best = min(chip.slices, key=lambda s: abs(math.log(math.prod(map(int, s.split("x")))) - wanted))
    return f"; the nearest is {chip.name}:{best}"
