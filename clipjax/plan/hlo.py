"""What an optimised XLA program says about itself: its collectives, and its traffic with the main memory.

XLA's own `cost_analysis` counts neither: it has no collectives, and its bytes include what stays in a chip's fast
memory. Both count a loop's body once; here a body counts as often as it runs.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all", "collective-broadcast")
# A chip sends its share on to the next one: an all-reduce is a reduce-scatter and an all-gather.
SENT = {"all-reduce": 2}
_BITS = {"pred": 8, "token": 0, "opaque": 0, "bf16": 16, "c64": 64, "c128": 128}
# Names for what is there already: no bytes move.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional", "after-all",
    "partition-id", "replica-id", "opt-barrier", "iota",
}  # fmt: skip
_PARTIAL = {"copy", "copy-start", "slice", "dynamic-slice", "gather", "async-start", "slice-start"}
_LEAF = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program: `type` as printed (a tuple keeps its parentheses), operands by name."""

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    literal: str  # what stands between the parentheses: a constant's value
    rest: str


@dataclasses.dataclass(frozen=True)
class Collective:
    """One kind of collective in one execution of the program: how many, and bytes per chip.

    Bytes are what one chip contributes, or receives from all for an all-gather.
    """

    kind: str
    count: int
    bytes: int


class Program:
    """The text of an optimised HLO module (`compiled.as_text()`), taken apart."""

    def __init__(self, text: str):
        self.computations: dict[str, dict[str, Instruction]] = {}
        self.entry = ""
        current: dict[str, Instruction] = {}
        for line in text.splitlines():
            if line and not line[0].isspace() and line.rstrip().endswith("{") and not line.startswith("HloModule"):
                name = line.removeprefix("ENTRY ").lstrip("%").split(" ")[0].split("(")[0]
                current = self.computations[name] = {}
                if line.startswith("ENTRY"):
                    self.entry = name
            elif instruction := _instruction(line):
                current[instruction.name] = instruction

    def runs(self) -> dict[str, tuple[int, bool]]:
        """Computation -> (how often it runs, whether it is the inside of a fusion)."""
        out: dict[str, tuple[int, bool]] = {}
        queue = [(self.entry, 1, False)]
        while queue:
            name, times, fused = queue.pop()
            before = out.get(name, (0, fused))
            out[name] = (before[0] + times, before[1] and fused)
            for one in self.computations[name].values():
                for called, trips, inside in self._calls(one):
                    if called in self.computations:
                        queue.append((called, times * trips, fused or inside))
        return out

    def _calls(self, one: Instruction) -> Iterator[tuple[str, int, bool]]:
        """(computation, how often per execution, whether it is fused) that an instruction runs."""
        if one.opcode == "while":
            parts = dict(re.findall(r"(body|condition)=%?([\w.\-]+)", one.rest))
            for name in parts.values():
                yield name, self._trips(one, parts["condition"]), False
            return
        for key, name in re.findall(r"(calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)", one.rest):
            if key != "to_apply" or one.opcode == "call":
                yield name, 1, key == "calls"
        if branches := re.search(r"branch_computations=\{([^}]*)\}", one.rest):
            yield from ((name.strip().lstrip("%"), 1, False) for name in branches[1].split(","))

    def _trips(self, loop: Instruction, condition: str) -> int:
        """How often a loop runs: as XLA notes it, or from `counter < constant` (XLA:TPU drops the note).

        The counter is taken to start at 0 and go up by 1, as `lax.scan` and `lax.fori_loop(0, n)` have it.
        """
        if noted := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest):
            return int(noted[1])
        lines = self.computations.get(condition, {})
        for one in lines.values():
            if one.opcode == "compare" and "direction=LT" in one.rest:
                bounds = [lines[n].literal for n in one.operands if n in lines and lines[n].opcode == "constant"]
                if bounds and bounds[0].isdigit():
                    return int(bounds[0])
        return 1

    def collectives(self) -> list[Collective]:
        """By kind, in the order of `COLLECTIVES`; a loop's count as often as the loop runs."""
        kinds: dict[tuple[str, ...], tuple[str, int, int]] = {}
        for computation, (times, _) in self.runs().items():
            lines = self.computations[computation]
            for one in lines.values():
                kind = one.opcode.removesuffix("-start")
                if kind not in COLLECTIVES:
                    continue
                # XLA:TPU spreads one collective over several fusions to overlap it with them: same channel and chain.
                chain = re.search(r'chain_id="(\d+)"', one.rest)
                channel = re.search(r"channel_id=(\d+)", one.rest)
                key = (kind, channel[1], chain[1]) if chain and channel else (computation, one.name)
                size = _payload(kind, one, lines)
                before = kinds.get(key, (kind, 0, 0))
                kinds[key] = (kind, max(times, before[1]), max(size, before[2]))
        out = []
        for kind in COLLECTIVES:
            mine = [(n, size) for k, n, size in kinds.values() if k == kind]
            if mine:
                out.append(Collective(kind, sum(n for n, _ in mine), sum(n * size for n, size in mine)))
        return out

    def hbm_bytes(self) -> int:
        """Bytes that instructions read from and write to the main memory, tiles padded as they lie there.

        What the compiler keeps in a faster memory (a layout with `S(n)`) is not counted, nor what happens inside a
        fusion. An instruction is taken to read each operand once and whole; slices, also inside a fusion, only what
        they keep.
        """
        total = 0
        for computation, (times, fused) in self.runs().items():
            if not fused:
                lines = self.computations[computation]
                total += times * sum(self._traffic(one, lines) for one in lines.values())
        return total

    def _traffic(self, one: Instruction, lines: dict[str, Instruction]) -> int:
        if one.opcode in _FREE or one.opcode.endswith("-done"):
            return 0
        result = one.type
        if one.opcode.endswith("-start"):  # (operand, result, context) or (result, operand, context)
            leaves = [m.group(0) for m in _LEAF.finditer(one.type)]
            result = leaves[0] if one.opcode == "copy-start" else (leaves[1] if len(leaves) > 1 else one.type)
        total = size(result, physical=True, main_memory=True)
        for position, name in enumerate(one.operands):
            if name in lines:
                whole = size(lines[name].type, physical=True, main_memory=True)
                total += int(min(whole, self._needed(one, position, size(result, physical=True))))
        return total

    def _needed(self, one: Instruction, position: int, result: int) -> float:
        """The most that an instruction can read of one operand: slices and copies read what they keep."""
        if one.opcode in _PARTIAL:
            return result
        called = re.search(r"calls=%?([\w.\-]+)", one.rest)
        lines = self.computations.get(called[1], {}) if called else {}
        parameter = next((x for x in lines.values() if x.opcode == "parameter" and x.literal == str(position)), None)
        return math.inf if parameter is None else _sliced(parameter.name, lines)


def sent(collectives: list[Collective]) -> int:
    """Bytes that leave one chip, as if groups were large: (n - 1) / n of them counts as all."""
    return sum(SENT.get(c.kind, 1) * c.bytes for c in collectives)


def size(type_text: str, physical: bool = False, main_memory: bool = False) -> int:
    """Bytes of all arrays in a type; `physical` with padded tiles, `main_memory` only those that lie there."""
    return sum(
        _leaf_bytes(dtype, dims, layout or "", physical)
        for dtype, dims, layout in _LEAF.findall(type_text)
        if not (main_memory and "S(" in (layout or ""))
    )


def _leaf_bytes(dtype: str, dims: str, layout: str, physical: bool) -> int:
    shape = [int(d) for d in dims.split(",") if d]
    tile = re.search(r"T\(([\d,]+)\)", layout)
    if physical and tile and shape:
        order = [int(d) for d in layout.strip("{}").split(":")[0].split(",") if d]
        for axis, t in zip(order, reversed([int(t) for t in tile[1].split(",")]), strict=False):
            shape[axis] = -(-shape[axis] // t) * t
    bits = _BITS.get(dtype) or int((re.search(r"\d+", dtype) or ["0"])[0])
    return math.prod(shape) * bits // 8


def _instruction(line: str) -> Instruction | None:
    head = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = ", line)
    if not head:
        return None
    rest = line[head.end() :]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    call = re.match(r"\s*([\w\-]+)\(", rest[end:])
    if not call:
        return None
    opened = end + call.end() - 1
    closed = _closing(rest, opened)
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[opened : closed + 1]))
    return Instruction(head[1], rest[:end], call[1], operands, rest[opened + 1 : closed], rest[closed + 1 :])


def _closing(text: str, start: int) -> int:
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if not depth:
            return i
    return len(text) - 1


def _payload(kind: str, one: Instruction, lines: dict[str, Instruction]) -> int:
    own = sum(size(lines[name].type) for name in one.operands if name in lines)
    if kind != "all-gather":
        return own
    return size(one.type) - own if one.opcode.endswith("-start") else size(one.type)


def _sliced(name: str, lines: dict[str, Instruction]) -> float:
    """Bytes that slices inside a fusion keep of a value; infinite where anything else reads it."""
    total = 0.0
    for one in lines.values():
        if name in one.operands:
            if one.opcode == "bitcast":
                total += _sliced(one.name, lines)
            elif one.opcode in ("slice", "dynamic-slice") and one.operands[0] == name:
                total += size(one.type, physical=True)
            elif one.opcode not in ("slice", "dynamic-slice"):
                return math.inf
    return total
