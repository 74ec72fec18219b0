"""Devices: a 1-D `data` mesh, and per-device programs mapped over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices (or those given) in a row named `data`.

    Axes are Auto: under Explicit, `jax.make_mesh`'s default since 0.9, the gather at the end of text, the
    embedding lookup and the class token's concatenation raise.
    """
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def mapped(program: Callable, mesh: Mesh) -> Callable:
    """`program(params, batch) -> rows`, run on every device with all parameters and its share of the rows.

    This is what `jax.pmap` has become: `jit(shard_map(...))`, with the layout spelled out.
    """
    return jax.jit(jax.shard_map(program, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data")))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, P())


def by_rows(mesh: Mesh) -> NamedSharding:
    """The leading axis cut evenly over the devices."""
    return NamedSharding(mesh, P("data"))
