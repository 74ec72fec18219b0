"""Operations of the products in a traced program, read off its jaxpr: the other way to `counts`.

It needs no rule of its own for parameters that are frozen: what has no gradient is not in the program.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jax.extend import core


def products(jaxpr: Any, repeat: bool = True, wanted: Sequence[bool] | None = None) -> int:
    """Two operations per multiply-add of every dot and convolution, on all devices together; loops as often as they run
    (or once).

    What nobody reads (`wanted`: which results are) is left out, as every compiler does.
    """
    live = {v for v, yes in zip(jaxpr.outvars, wanted or [True] * len(jaxpr.outvars), strict=True) if yes}
    total = 0
    for equation in reversed(jaxpr.eqns):
        read = [v in live for v in equation.outvars]
        if not any(read) and not equation.effects:
            continue
        live |= {v for v in equation.invars if not isinstance(v, core.Literal)}
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            (left, _), _ = parameters["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shape[i] for i in left)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        else:
            trips = parameters["length"] if name == "scan" and repeat else 1
            trips *= parameters["mesh"].size if name == "shard_map" else 1  # of which it is one device's program
            one_to_one = name in ("jit", "pjit", "shard_map", "remat2", "checkpoint")
            total += trips * sum(products(x, repeat, read if one_to_one else None) for x in _inner(parameters))
    return total


def _convolution(equation: Any) -> int:
    """Neither padding nor the zeros that a dilation puts between numbers are multiplied, so they are not counted."""
    numbers, p = equation.params["dimension_numbers"], equation.params
    image, kernel = (v.aval.shape for v in equation.invars)
    out = equation.outvars[0].aval.shape
    overlaps = 1
    for axis in range(2):
        overlaps *= _along(
            image[numbers.lhs_spec[2 + axis]], kernel[numbers.rhs_spec[2 + axis]], out[numbers.out_spec[2 + axis]],
            p["window_strides"][axis], p["padding"][axis][0], p["lhs_dilation"][axis], p["rhs_dilation"][axis],
        )  # fmt: skip
    return 2 * out[numbers.out_spec[0]] * out[numbers.out_spec[1]] * kernel[numbers.rhs_spec[1]] * overlaps


def _along(image: int, kernel: int, out: int, stride: int, low: int, between: int, apart: int) -> int:
    places = ((o * stride + k * apart - low) for o in range(out) for k in range(kernel))
    return sum(place % between == 0 and 0 <= place // between < image for place in places)


def _inner(parameters: Mapping[str, Any]) -> Iterator[Any]:
    for value in parameters.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, core.ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, core.Jaxpr):
                yield one
