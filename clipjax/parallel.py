"""Devices and hosts: a 1-D `data` mesh, per-device programs mapped over it, and what hosts tell each other."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax.errors import InputError, one_line

# Parameters that are cut over the devices where one chip cannot hold them all: the first matching path decides,
# the number is the axis to cut. What matches nothing is replicated (norms, biases: next to nothing).
FSDP_RULES: tuple[tuple[str, int], ...] = (
    (r"token_embedding\.weight$", 0),
    (r"(in_proj_weight|c_fc\.weight)$", 1),
    (r"(out_proj|mlp\.c_proj)\.weight$", 0),
    (r"attnpool\.[qkvc]_proj\.weight$", 0),
    (r"conv\d\.weight$|downsample\.0\.weight$", 3),
)


def start_hosts(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None, saves: bool = False
) -> None:
    """Joins the other hosts of this run, before any device is touched; alone, does nothing.

    Cloud TPU pods, Slurm and Kubernetes jobs of several tasks are recognised by what they set in the environment
    and need no arguments; elsewhere all three are given ("host:port", count, index). `saves` leaves SIGTERM to JAX's
    preemption service, for a loop that asks it at which step all hosts save; without, SIGTERM ends the process.
    """
    given = [x is not None for x in (coordinator, processes, process)]
    if any(given) and not all(given):
        raise InputError("--coordinator, --processes and --process go together: give all three or none")
    jax.config.update("jax_enable_preemption_service", saves)
    if all(given):
        jax.distributed.initialize(coordinator, processes, process)
    elif several_hosts(os.environ):
        jax.distributed.initialize()


def several_hosts(environment: Mapping[str, str]) -> bool:
    """Whether a launcher that `jax.distributed` understands has started more than one process."""
    if int(environment.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in environment:
        return True
    if len([h for h in environment.get("TPU_WORKER_HOSTNAMES", "").split(",") if h]) > 1:
        return True
    return "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices of all hosts (or those given) in a row named `data`.

    Axes are Auto: under Explicit, `jax.make_mesh`'s default since 0.9, the gather at the end of text, the
    embedding lookup and the class token's concatenation raise.
    """
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def mapped(program: Callable, mesh: Mesh, params_specs: Any, options: dict[str, Any] | None = None) -> Callable:
    """`program(params, batch) -> rows`, run on every device with the parameters and its share of the rows.

    This is what `jax.pmap` has become: `jit(shard_map(...))`, with the layout spelled out. `options` are the
    compiler's.
    """
    run = jax.shard_map(program, mesh=mesh, in_specs=(params_specs, P("data")), out_specs=P("data"))
    return jax.jit(run, compiler_options=options)


def pmapped(program: Callable, mesh: Mesh, options: dict[str, Any] | None = None) -> Callable:
    """The same per-device program under `jax.pmap` itself, behind the same signature; one host only."""
    if jax.process_count() > 1:
        raise InputError("the pmap adapter serves one host; use the default mapping on several")
    devices = list(mesh.devices.flat)
    over_devices = jax.pmap(program, axis_name="data", in_axes=(None, 0), devices=devices)
    run = jax.jit(lambda params, rows: over_devices(params, rows), compiler_options=options)  # pmap itself takes none

    def call(params: Any, batch: jax.Array) -> np.ndarray:
        split = np.asarray(batch).reshape(len(devices), -1, *batch.shape[1:])
        out = np.asarray(run(params, split))
        return out.reshape(-1, *out.shape[2:])

    return call


def fsdp_specs(flat: Mapping[str, Any], mesh: Mesh, over: str = "data") -> dict[str, P]:
    """A spec per parameter name by FSDP_RULES; an axis that the devices of `over` do not divide stays whole."""
    return {name: _spec(name, np.shape(leaf), mesh.shape[over], over) for name, leaf in flat.items()}


def _spec(name: str, shape: tuple[int, ...], devices: int, over: str) -> P:
    for pattern, axis in FSDP_RULES:
        if re.search(pattern, name):
            return P(*([None] * axis), over) if shape[axis] % devices == 0 else P()
    return P()


def training_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices as (data, fsdp): batches are cut over both axes, parameters and their moments over `fsdp`."""
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise InputError(f"fsdp={fsdp} does not divide {len(devices)} devices")
    shape = (len(devices) // fsdp, fsdp)
    return jax.make_mesh(shape, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2, devices=devices)


def whole(leaf: jax.Array, spec: P) -> jax.Array:
    """Inside a mapped program: the whole parameter from every device's share, at the moment it is needed."""
    axis = next((i for i, name in enumerate(spec) if name == "data"), None)
    return leaf if axis is None else jax.lax.all_gather(leaf, "data", axis=axis, tiled=True)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, P())


def by_rows(mesh: Mesh) -> NamedSharding:
    """The leading axis cut evenly over the devices."""
    return NamedSharding(mesh, P("data"))


def to_devices(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """This host's rows (or its copy of a replicated array) as part of one global array."""
    if jax.process_count() == 1:
        return jax.device_put(array, sharding)
    if not any(sharding.spec):
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
    return jax.make_array_from_process_local_data(sharding, array)


def from_devices(array: Any) -> np.ndarray:
    """This host's rows of a global array, in their order."""
    if isinstance(array, np.ndarray) or jax.process_count() == 1:
        return np.asarray(array)
    shards = sorted(array.addressable_shards, key=lambda s: s.index[0].start or 0)
    return np.concatenate([np.asarray(s.data) for s in shards])


def gather(rows: np.ndarray) -> np.ndarray:
    """Every host's rows, one host after the other; hosts may bring different numbers of rows."""
    if jax.process_count() == 1:
        return rows
    counts = _allgather(np.array([len(rows)], np.int32))
    most = int(counts.max())
    padded = np.zeros((most, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    # bytes: process_allgather would turn int64 into int32 without jax_enable_x64
    raw = np.ascontiguousarray(padded).view(np.uint8).reshape(most, -1) if most else np.zeros((0, 1), np.uint8)
    if not most:
        return rows
    everyone = _allgather(raw).reshape(len(counts), most, -1)
    parts = [np.ascontiguousarray(part[:n]).view(rows.dtype) for part, n in zip(everyone, counts, strict=True)]
    return np.concatenate([p.reshape(n, *rows.shape[1:]) for p, n in zip(parts, counts, strict=True)])


def _allgather(rows: np.ndarray) -> np.ndarray:
    from jax.experimental import multihost_utils

    try:
        return np.asarray(multihost_utils.process_allgather(rows, tiled=True))
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # a ValueError where it fails as it is dispatched
        if not (message := host_lost(error)):
            raise
        raise InputError(message) from error


def host_lost(error: Exception) -> str:
    """What to say where a collective failed because a host is gone; nothing for any other error."""
    signs = ("Gloo", "UNAVAILABLE", "ABORTED", "Connection closed", "Connection reset", "coordination", "Socket closed")
    if jax.process_count() == 1 or not any(sign in str(error) for sign in signs):
        return ""
    return (
        "another host of this run has stopped or cannot be reached; its own last line says why. Start all hosts again: "
        f"the run goes on where it stopped ({one_line(error, 200)})"
    )


def check_same(value: Any, what: str) -> None:
    """InputError on every host when hosts disagree: later they would wait for each other for ever."""
    everyone = gather_json(value)
    odd = [i for i, other in enumerate(everyone) if other != everyone[0]]
    if odd:
        raise InputError(
            f"process {odd[0]} has another {what} than process 0; start all with the same command and data"
        )


def gather_json(value: Any) -> list[Any]:
    """Every host's value, one each, in process order."""
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    if jax.process_count() == 1:
        return [value]
    lengths = gather(np.array([len(text)], np.int64))
    everything = gather(text[:, None])[:, 0].tobytes()
    ends = np.cumsum(lengths)
    return [json.loads(everything[end - n : end]) for n, end in zip(lengths, ends, strict=True)]
