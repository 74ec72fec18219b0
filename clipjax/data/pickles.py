"""CIFAR's pickles: a dict of byte strings, lists and one numpy array, as Python 2 wrote them (clipjax/pickles.py).

numpy's own `__setstate__` crashes over states that numpy did not write, so what stands for its types here is Python.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data.annotations import read_bytes
from clipjax.errors import InputError, brief, one_line
from clipjax.pickles import BYTE_STRINGS, OPERATIONS, Global, Machine


@dataclass(slots=True)
class _Dtype:
    """numpy.dtype(code, align, copy) of numbers, then (version, byte order, ...)."""

    code: str
    order: str = "|"


@dataclass(slots=True)
class _Array:
    """_reconstruct(ndarray, shape, code), then (version, shape, dtype, whether in Fortran's order, bytes)."""

    value: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))


class _CifarMachine(Machine):
    max_bytes = 256 << 20  # CIFAR-100's training images take 148 MiB
    max_protocol = 3
    operations = OPERATIONS | BYTE_STRINGS
    kind, remedy = "a CIFAR batch", "fetch it again from the data set's own page"

    def named(self, found: Global) -> None:
        # Under the module names of numpy 1 (CIFAR's own) and 2.
        module, name = found.module.replace("numpy._core", "numpy.core"), found.name
        known = (("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"))
        if (module, name) not in known:
            raise InputError(f"it names {found}, which CIFAR's files do not")

    def call(self, function: Global, args: tuple) -> Any:
        if function.name != "dtype":
            return _Array()
        code = _text(args[0] if args else "")
        if not re.fullmatch(r"b1|[iuf][1248]", code):
            raise InputError(f"it holds an array of {brief(code)}, which CIFAR's files do not")
        return _Dtype(code)

    def set_state(self, target: Any, state: Any) -> None:
        match target, state:
            case _Dtype(), (_, order, *_):
                target.order = _text(order)
                if target.order not in ("|", "<", ">", "="):
                    raise InputError(f"it holds an array in the byte order {brief(target.order)}")
            case _Array(), (_, tuple() as shape, _Dtype() as dtype, bool() as fortran, bytes() as content) if all(
                type(size) is int for size in shape
            ):
                try:
                    flat = np.frombuffer(content, f"{dtype.order}{dtype.code}")
                    target.value = flat.reshape(shape, order="F" if fortran else "C")
                except (ValueError, OverflowError) as error:  # of another size than its bytes
                    raise InputError(f"its array is damaged ({one_line(error)})") from error
            case _:
                super().set_state(target, state)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def load(path: Path) -> dict[bytes, Any]:
    """The dict in a CIFAR pickle; its keys and strings are bytes, as Python 2 wrote them.

    InputError where the file is missing, damaged, or would run anything: only arrays of numbers are allowed.
    """
    data = read_bytes(path)
    try:
        found = _CifarMachine(data).run()
    except InputError as error:
        raise InputError(f"{path} is not a CIFAR batch: {error}; {_CifarMachine.remedy}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is not a CIFAR batch (it holds {type(found).__name__}); fetch or unpack it again")
    return {key: value.value if isinstance(value, _Array) else value for key, value in found.items()}


def entry(batch: dict[bytes, Any], path: Path, key: str, of: type) -> Any:
    """A value of the dict: an array, or a list of `of`. InputError names the file and the key that is not there."""
    if key.encode() not in batch:
        raise InputError(f'{path} is not a CIFAR batch ("{key}" is missing); fetch or unpack it again')
    value = batch[key.encode()]
    whole = isinstance(value, np.ndarray) if of is np.ndarray else isinstance(value, list)
    if not whole or (of is not np.ndarray and not all(isinstance(one, of) for one in value)):
        raise InputError(f'{path}: "{key}" holds {brief(value)}, as no CIFAR batch does; fetch or unpack it again')
    return value
