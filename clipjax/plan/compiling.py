"""XLA:TPU for a pod that you do not have, and the lowering for CUDA."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import time
from typing import Any

import jax

from clipjax.errors import InputError, one_line
from clipjax.plan import hlo
from clipjax.plan.chips import Topology
from clipjax.plan.programs import Step


class DoesNotFit(Exception):
    """The compiler ran out of the chip's memory; `available` is what it had, in bytes (0: it did not say)."""

    def __init__(self, message: str):
        super().__init__(message)
        memory = re.search(r"(?:available HBM \(|of )([\d.]+)([GM])", message)
        self.available = int(float(memory[1]) * 2 ** {"G": 30, "M": 20}[memory[2]]) if memory else 0


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of one step, per chip; bytes, operations, seconds.

    `peak` is everything that lies in the memory at once: arguments, results that are not written over arguments,
    temporaries, and the program itself. `flops` and `bytes` are XLA's (loops once); `hbm_bytes` is `hlo.Program`'s.
    """

    arguments: int
    results: int
    temporaries: int
    code: int
    peak: int
    flops: float
    bytes: float
    hbm_bytes: int
    collectives: list[hlo.Collective]
    seconds: float


def tpu_devices(topology: Topology) -> list[Any]:
    """The topology's chips as devices that one can only compile for. Needs libtpu, but no TPU."""
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(f"compiling for {topology} needs the TPU compiler: pip install 'clipjax[tpu]'")
    # No TPU is used: neither its metadata server nor the lock that keeps two processes off one chip.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    # What it would otherwise ask that server for: this host's place in a pod. There is no pod.
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    from jax.experimental import topologies

    given: dict[str, Any] = {}
    if topology.size == 1:
        given["chips_per_host_bounds"] = (1, 1, 1)  # part of a host
    if topology.chip.config:
        given["chip_config_name"] = topology.chip.config
    try:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=str(topology), **given).devices
    except jax.errors.JaxRuntimeError as error:
        raise InputError(f"topology {topology}: the TPU compiler refuses it ({one_line(error)})") from error
    if len(devices) != topology.size:
        raise InputError(f"topology {topology}: the TPU compiler has {len(devices)} devices for {topology.size} chips")
    return list(devices)


def compiled(step: Step) -> Compiled:
    """Compiles; raises `DoesNotFit` where the chip's memory is too small."""
    begin = time.perf_counter()
    try:
        program = step.program.lower(*step.arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error) and "hbm" in str(error).lower():
            raise DoesNotFit(one_line(error)) from error
        raise
    seconds = time.perf_counter() - begin
    memory: Any = program.memory_analysis()
    cost: Any = program.cost_analysis()
    text = hlo.Program(program.as_text() or "")
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    parts = (memory.argument_size_in_bytes, results, memory.temp_size_in_bytes, memory.generated_code_size_in_bytes)
    return Compiled(
        *parts, sum(parts), cost["flops"], cost["bytes accessed"], text.hbm_bytes(), text.collectives(), seconds
    )


def lower_for_cuda(step: Step) -> str:
    """The step as StableHLO for CUDA. That JAX can express it there is all this shows: XLA:GPU does not run."""
    from jax import export

    return export.export(step.program, platforms=["cuda"])(*step.arguments).mlir_module()
