"""Devices and hosts: a 1-D `data` mesh, per-device programs mapped over it, and data exchanged between hosts."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax._src import clusters
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax.errors import InputError, one_line
from clipjax.progress import say

# Parameters that are cut over the devices where one chip cannot hold them all: the first matching path decides,
# the number is the axis to cut. What matches nothing is replicated (norms, biases: next to nothing).
FSDP_RULES: tuple[tuple[str, int], ...] = (
    (r"token_embedding\.weight$", 0),
    (r"(in_proj_weight|(c_fc|c_gate)\.weight)$", 1),
    (r"(out_proj|mlp\.c_proj)\.weight$", 0),
    (r"attnpool\.[qkvc]_proj\.weight$", 0),
    (r"conv\d\.weight$|downsample\.0\.weight$", 3),
)


# Launchers of MPI that JAX itself does not recognise (Open MPI 5, MPICH, Intel MPI, MVAPICH2): processes, this one.
MPI = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
)
ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


def is_main_process() -> bool:
    """Whether this is the process that writes and prints, of all that work on a run."""
    return jax.process_index() == 0


def start_hosts(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None, saves: bool = False
) -> None:
    """Joins the other processes of this run, before any device is touched; alone, does nothing.

    The arguments ("host:port", count, index) come from the command line, all three or none; without them `launched`
    asks the environment. `saves` leaves SIGTERM to JAX's preemption service, for a loop that asks it at which step all
    hosts save; without, SIGTERM ends the process.
    """
    given = [x is not None for x in (coordinator, processes, process)]
    if any(given) and not all(given):
        raise InputError("--coordinator, --processes and --process go together: give all three or none")
    if all(given):
        options: dict[str, Any] | None = _checked(coordinator, processes, process, "--coordinator", "--process")
    else:
        options = launched(os.environ)
    if options is not None:
        jax.config.update("jax_enable_preemption_service", saves)
        jax.distributed.initialize(**options)


def launched(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` takes for this process of several; None where it runs alone.

    Understood, in this order: JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID (JAX_NUM_PROCESSES=1:
    alone, whatever else is set); with the address alone, count and index of the cluster or of MPI; every cluster that
    JAX detects (Cloud TPU, Slurm, Open MPI, Kubernetes where the `kubernetes` package is installed and the job has a
    headless service); MPI's own variables with the package mpi4py. Raises InputError where one of several processes
    cannot find the others: alone, all of them would write to the same folder.
    """
    address, count, index = environment.get(ADDRESS) or None, _number(environment, COUNT), _number(environment, INDEX)
    if count == 1:
        return None
    if None in (address, count, index):
        cluster = _cluster(environment)
        if cluster is not None and (address, count, index) == (None, None, None):
            return {} if cluster[0] > 1 else None
        ranks = cluster or _mpi(environment)
        if ranks is None and (address, count, index) == (None, None, None):
            return None
        if ranks is not None:
            count, index = ranks[0] if count is None else count, ranks[1] if index is None else index
            if count == 1:
                return None
            if address is None and cluster is None and importlib.util.find_spec("mpi4py"):
                return {"cluster_detection_method": "mpi4py"}
    values = {ADDRESS: address, COUNT: count, INDEX: index}
    if missing := [name for name, value in values.items() if value is None]:
        which = f"process {index} of {count}" if None not in (count, index) else "one of several processes"
        raise InputError(
            f"this is {which}, and {' and '.join(missing)} must be set to find the others: {ADDRESS}=HOST:PORT of "
            f"process 0, {COUNT}=N, {INDEX}=0 to N-1; or {COUNT}=1 for a run of its own"
        )
    return _checked(address, count, index, ADDRESS, INDEX)


def _mpi(environment: Mapping[str, str]) -> tuple[int, int] | None:
    for names in MPI:
        count, index = (_number(environment, name) for name in names)
        if count is not None and index is not None:
            return count, index
    return None


def _cluster(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Processes and this one's number in the cluster that JAX detects; None where it detects none.

    JAX's own detection without its start, which would also start for a single process and would wait for the others
    of any indexed Kubernetes job: there only a job whose pods can reach each other is one run.
    """
    kubernetes = "JOB_COMPLETION_INDEX" in environment and importlib.util.find_spec("kubernetes")
    for cluster in clusters.ClusterEnv._cluster_types:
        in_pods = cluster is clusters.K8sCluster
        if cluster.opt_in_only_method or (in_pods and not kubernetes):
            continue
        try:
            if not cluster.is_env_present():
                continue
            if in_pods:
                cluster.get_coordinator_address(None, environment.get("JAX_COORDINATOR_PORT"))
            return cluster.get_process_count(), cluster.get_process_id()
        except Exception as error:  # the Kubernetes client's own, beside JAX's RuntimeError
            if not in_pods:
                raise
            say(f"note: this Kubernetes job is not one run over its pods, each works alone ({one_line(error, 200)})")
    return None


def _checked(address: Any, count: Any, index: Any, named: str, numbered: str) -> dict[str, Any]:
    if not re.fullmatch(r".+:\d+", address):
        raise InputError(f"{named}={address} is not HOST:PORT, the address of process 0; for example 10.0.0.1:1234")
    if not 0 <= index < count:
        raise InputError(f"{numbered}={index}: {count} processes are numbered 0 to {count - 1}")
    return {"coordinator_address": address, "num_processes": count, "process_id": index}


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name)
    if text is None or not text.strip():
        return None
    if not text.strip().isdecimal():
        raise InputError(f"{name}={text} is not a whole number; correct or unset it")
    return int(text)


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
