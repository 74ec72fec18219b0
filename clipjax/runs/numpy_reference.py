"""A function written in JAX, computed operation by operation with NumPy: without XLA, its programs and its devices.

JAX traces the function, which compiles nothing, and each operation of the trace is one call of NumPy. That takes a
tenth of the time of the same operations one by one in JAX, which compiles each. Operations that `OPERATIONS` lacks are
left to JAX, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

CALLS = ("jit", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint", "closed_call")  # of a function within


def evaluate(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` with NumPy arrays for results. Arguments are trees of arrays; those of floats count as
    float32, whatever they are stored as, and are converted one at a time."""
    leaves, _ = jax.tree.flatten(arguments)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), _dtype(x)), arguments)
    traced, out = jax.make_jaxpr(function, return_shape=True)(*shapes)
    with np.errstate(all="ignore"):  # exp overflows on its way to a sigmoid of 0
        results = _run(traced.jaxpr, traced.consts, leaves)
    return jax.tree.unflatten(jax.tree.structure(out), results)


def _dtype(x: Any) -> np.dtype:
    kept = np.asarray(x).dtype
    return kept if kept.kind in "iub" else np.dtype(np.float32)


def _run(jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any]) -> list[np.ndarray]:
    """The results of a trace. A value is dropped after its last use: few are in memory at once."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if not hasattr(v, "val")}
    last |= dict.fromkeys((v for v in jaxpr.outvars if not hasattr(v, "val")), len(jaxpr.eqns))

    def read(variable: Any) -> np.ndarray:
        value = variable.val if hasattr(variable, "val") else values[variable]
        return np.asarray(value).astype(variable.aval.dtype, copy=False)

    for i, eqn in enumerate(jaxpr.eqns):
        outs = _operation(eqn, [read(v) for v in eqn.invars])
        values |= zip(eqn.outvars, outs, strict=True)
        for variable in {v for v in eqn.invars if not hasattr(v, "val")}:
            if last[variable] == i:
                del values[variable]
    return [read(v) for v in jaxpr.outvars]


def _operation(eqn: Any, inputs: list[np.ndarray]) -> Sequence[Any]:
    name = eqn.primitive.name
    if name in CALLS:
        inner = eqn.params["call_jaxpr" if "call_jaxpr" in eqn.params else "jaxpr"]
        return _run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
    if name in UFUNCS:
        return (UFUNCS[name](*inputs),)
    if name in OPERATIONS and (out := OPERATIONS[name](*inputs, eqn)) is not None:
        return (out,)
    out = eqn.primitive.bind(*map(jax.numpy.asarray, inputs), **eqn.params)
    return out if eqn.primitive.multiple_results else (out,)


def _broadcast(x: np.ndarray, eqn: Any) -> np.ndarray:
    shape = [1] * len(eqn.params["shape"])
    for axis, size in zip(eqn.params["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(shape), eqn.params["shape"])


def _slice(x: np.ndarray, eqn: Any) -> np.ndarray:
    p = eqn.params
    steps = p["strides"] or [1] * x.ndim
    return x[tuple(map(slice, p["start_indices"], p["limit_indices"], steps))]


def _iota(eqn: Any) -> np.ndarray:
    shape, axis = eqn.params["shape"], eqn.params["dimension"]
    return np.broadcast_to(np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)


def _dot(a: np.ndarray, b: np.ndarray, eqn: Any) -> np.ndarray:
    (sum_a, sum_b), (batch_a, batch_b) = eqn.params["dimension_numbers"]
    rows = [i for i in range(a.ndim) if i not in (*sum_a, *batch_a)]
    columns = [i for i in range(b.ndim) if i not in (*sum_b, *batch_b)]
    dtype = eqn.outvars[0].aval.dtype
    left = _merged(a.astype(dtype, copy=False), batch_a, rows, sum_a)
    right = _merged(b.astype(dtype, copy=False), batch_b, sum_b, columns)
    return (left @ right).reshape(eqn.outvars[0].aval.shape)


def _merged(x: np.ndarray, batch: Sequence[int], first: Sequence[int], second: Sequence[int]) -> np.ndarray:
    """x with each of three groups of axes as one axis."""
    shape = [int(np.prod([x.shape[i] for i in axes])) for axes in (batch, first, second)]
    return x.transpose(*batch, *first, *second).reshape(shape)


def _convolution(x: np.ndarray, kernel: np.ndarray, eqn: Any) -> np.ndarray | None:
    """Patches [P, K] of the padded images times the kernel [K, O]; None for one that is dilated or in groups."""
    p = eqn.params
    if (
        p["feature_group_count"] != 1
        or p["batch_group_count"] != 1
        or set(p["lhs_dilation"] + p["rhs_dilation"]) != {1}
    ):
        return None
    spec = p["dimension_numbers"]
    x = x.transpose(spec.lhs_spec[0], *spec.lhs_spec[2:], spec.lhs_spec[1])  # [B, H, W, I]
    kernel = kernel.transpose(*spec.rhs_spec[2:], spec.rhs_spec[1], spec.rhs_spec[0])  # [h, w, I, O]
    x = np.pad(x, [(0, 0), *p["padding"], (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))  # [B, H, W, I, h, w]
    windows = windows[:, :: p["window_strides"][0], :: p["window_strides"][1]].transpose(0, 1, 2, 4, 5, 3)
    out = windows.reshape(-1, kernel[..., 0].size) @ kernel.reshape(-1, kernel.shape[-1])
    out = out.reshape(*windows.shape[:3], -1)
    return out.transpose(np.argsort([spec.out_spec[0], *spec.out_spec[2:], spec.out_spec[1]]))


def _gather(x: np.ndarray, places: np.ndarray, eqn: Any) -> np.ndarray | None:
    """Whole rows of one axis; None for any other gather."""
    numbers, sizes = eqn.params["dimension_numbers"], list(eqn.params["slice_sizes"])
    if len(axes := numbers.start_index_map) != 1 or numbers.collapsed_slice_dims != axes:
        return None
    if sizes != [1 if i == axes[0] else size for i, size in enumerate(x.shape)] or numbers.operand_batching_dims:
        return None
    taken = np.take(x, places[..., 0], axes[0])
    batch = [i for i in range(taken.ndim) if i not in numbers.offset_dims]
    return np.moveaxis(taken, [axes[0] + i for i in range(len(batch))], batch)


UFUNCS: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative, "max": np.maximum, "min": np.minimum,
    "exp": np.exp, "tanh": np.tanh, "square": np.square, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "logistic": lambda x: 1 / (1 + np.exp(-x)), "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
OPERATIONS: dict[str, Callable[..., np.ndarray | None]] = {
    "argmax": lambda x, eqn: x.argmax(*eqn.params["axes"]),
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda *xs: np.concatenate(xs[:-1], xs[-1].params["dimension"]),
    "conv_general_dilated": _convolution,
    "convert_element_type": lambda x, eqn: x.astype(eqn.params["new_dtype"]),
    "copy": lambda x, eqn: x,
    "div": lambda a, b, eqn: a / b if a.dtype.kind == "f" else None,
    "dot_general": _dot,
    "gather": _gather,
    "integer_pow": lambda x, eqn: x ** eqn.params["y"],
    "iota": _iota,
    "reduce_max": lambda x, eqn: x.max(eqn.params["axes"]),
    "reduce_sum": lambda x, eqn: x.sum(eqn.params["axes"]),
    "reshape": lambda x, eqn: x.reshape(eqn.params["new_sizes"]),
    "select_n": lambda which, *cases: np.where(which, cases[1], cases[0]) if which.dtype == bool else None,
    "slice": _slice,
    "squeeze": lambda x, eqn: x.squeeze(eqn.params["dimensions"]),
    "stop_gradient": lambda x, eqn: x,
    "transpose": lambda x, eqn: x.transpose(eqn.params["permutation"]),
}
