"""CIFAR's pickles, read with an unpickler that knows arrays of numbers and nothing else.

A pickle is a program: an ordinary `pickle.load` of a downloaded file runs whatever its author wrote. CIFAR's files
are Python 2 pickles of a dict of byte strings, lists and one array. What keeps foreign names out does not bound the
work, so the operations are looked through first; and numpy's own `__setstate__` crashes over states that numpy did not
write, so what stands for its types here is Python.
"""

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data.annotations import raw
from clipjax.errors import InputError, brief, one_line

_TUPLES = 10_000  # one within the other overflow the C stack when they are hashed as a key


class _Dtype:
    """numpy.dtype(code, align, copy) of numbers, then (version, byte order, ...)."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, align: Any = None, copy: Any = None):
        name = code.decode("latin-1") if isinstance(code, bytes) else str(code)
        if not re.fullmatch(r"b1|[iuf][1248]", name):
            raise InputError(f"it holds an array of {brief(name)}, which CIFAR's files do not")
        self.code, self.order = name, "|"

    def __setstate__(self, state: tuple) -> None:
        order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ("|", "<", ">", "="):
            raise InputError(f"it holds an array in the byte order {brief(str(order))}")
        self.order = order


class _Array:
    """_reconstruct(ndarray, shape, code), then (version, shape, dtype, whether in Fortran's order, bytes)."""

    __slots__ = ("value",)

    def __init__(self, kind: Any = None, shape: Any = None, code: Any = None):
        self.value = np.zeros(0, np.uint8)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        flat = np.frombuffer(content, np.dtype(f"{dtype.order}{dtype.code}"))
        self.value = flat.reshape(shape, order="F" if fortran else "C")


# Under the module names of numpy 1 (CIFAR's own) and 2.
_ALLOWED = {(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")} | {
    ("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype,
}  # fmt: skip


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise InputError(f"it names {brief(f'{module}.{name}')}, which CIFAR's files do not")
        return _ALLOWED[module, name]


def load(path: Path) -> dict[bytes, Any]:
    """The dict in a CIFAR pickle; its keys and strings are bytes, as Python 2 wrote them.

    InputError where the file is missing, damaged, or would run anything: only arrays of numbers are allowed.
    """
    data = raw(path)
    try:
        _check_operations(data)
        found = _Arrays(io.BytesIO(data), encoding="bytes").load()
    except InputError as error:
        raise InputError(f"{path} is refused: {error}; fetch it again from the data set's own page") from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(f"{path} is no CIFAR batch ({one_line(error)}); fetch or unpack it again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is no CIFAR batch (it holds {type(found).__name__}); fetch or unpack it again")
    return {key: value.value if isinstance(value, _Array) else value for key, value in found.items()}


def _check_operations(data: bytes) -> None:
    """Raises for a place in the memo far beyond the file's size (the memo is an array) and for endless tuples."""
    tuples = 0
    for operation, value, _ in pickletools.genops(data):
        tuples += "TUPLE" in operation.name
        far = "PUT" in operation.name and not 0 <= int(value or 0) <= len(data)
        if operation.proto > 3 or far or tuples > _TUPLES:
            raise InputError(f"it uses {operation.name} as CIFAR's files do not")


def entry(found: dict[bytes, Any], path: Path, key: str, of: type) -> Any:
    """A value of the dict: an array, or a list of `of`. InputError names the file and the key that is not there."""
    if key.encode() not in found:
        raise InputError(f'{path} is no CIFAR batch ("{key}" is missing); fetch or unpack it again')
    value = found[key.encode()]
    whole = isinstance(value, np.ndarray) if of is np.ndarray else isinstance(value, list)
    if not whole or (of is not np.ndarray and not all(isinstance(one, of) for one in value)):
        raise InputError(f'{path}: "{key}" holds {brief(value)}, as no CIFAR batch does; fetch or unpack it again')
    return value
