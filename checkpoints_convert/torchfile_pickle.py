"""The pickle inside a torch file: what its names build (clipjax/pickles.py reads it and executes nothing).

torch has two writers: Python's pickler at protocol 2, and the C++ one behind `torch.jit.save`. Their names are looked
up in the table of builders below; any other object (a trainer's `np.float64`, `Namespace`, `set`) becomes an `Opaque`
record of its class's name.

Names that torch writes: `torch/_utils.py`, `torch/serialization.py` and `torch/csrc/jit/serialization/pickler.cpp`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipjax.errors import InputError
from clipjax.pickles import OPERATIONS, Global, Machine, Opaque

MAX_PICKLE_BYTES = 32 << 20  # ViT-L/14 with its Adam state takes under 1 MB and 200,000 operations


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of bytes beside the pickle: `data/<key>`, `length` elements of the type that `kind` names."""

    kind: str
    key: str
    length: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage; offset and stride count elements. `dtype` is set only where the storage is untyped."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A tensor of a kind that weights never need; an error only where its values are asked for."""

    what: str


@dataclass(eq=False, slots=True)
class Module:
    """An object of a TorchScript class (`__torch__.*`), as nothing but its attributes."""

    type_name: str
    state: dict[Any, Any] | None = None


def loads(data: bytes) -> Any:
    """The data in a torch pickle: dicts, lists, tuples, scalars and the records above; executes nothing."""
    return TorchMachine(data).run()


class TorchMachine(Machine):
    """What torch files are made of."""

    max_bytes = MAX_PICKLE_BYTES
    operations = OPERATIONS
    kind, remedy = "a weights file", "re-save it with torch.save(model.state_dict(), ...)"

    def call(self, function: Global, args: tuple) -> Any:
        if function.module.split(".")[0] == "__torch__" and not args:
            return Module(str(function))
        builder = _BUILDERS.get((function.module, function.name))
        return builder(args) if builder else Opaque(str(function))

    def set_state(self, target: Any, state: Any) -> None:
        if isinstance(target, Module):
            if not isinstance(state, dict):
                raise InputError(f"{target.type_name} keeps its state in a format of its own; save a state dict")
            target.state = state
        elif not isinstance(target, dict | Opaque):  # a dict's attributes are `_metadata`: versions of layers
            super().set_state(target, state)

    def persistent(self, reference: Any) -> Storage:
        match reference:
            case ("storage", Global() as kind, str() as key, str(), int() as length) if 0 <= length < 2**63:
                return Storage(kind.name, key, length)
        raise InputError("its pickle refers to something beside it that is not a storage; nothing was read")


def _is_int64(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _integers(value: Any) -> tuple[int, ...]:
    # numpy stops at 64 axes; counting first also keeps one long tuple from being walked for every tensor.
    if not isinstance(value, tuple) or len(value) > 32 or not all(map(_is_int64, value)):
        raise InputError("its pickle gives a tensor a shape that is not a short tuple of integers")
    return value


def _tensor(args: tuple) -> Tensor | Unsupported:
    """`_rebuild_tensor(storage, offset, size, stride)`; `_v2` appends requires_grad, hooks and metadata."""
    if not 4 <= len(args) <= 7 or not isinstance(args[0], Storage) or not _is_int64(args[1]):
        raise InputError("its pickle rebuilds a tensor from something that is not a storage")
    if len(args) == 7 and args[6]:  # conjugate and negative views: a flag beside the bytes, for complex numbers
        return Unsupported("a lazily conjugated or negated tensor")
    return Tensor(args[0], args[1], _integers(args[2]), _integers(args[3]))


def _tensor_with_dtype(args: tuple) -> Tensor | Unsupported:
    """`_rebuild_tensor_v3`: an untyped storage (lengths in bytes), the dtype beside it."""
    if not 7 <= len(args) <= 8 or not isinstance(args[0], Storage) or not _is_int64(args[1]):
        raise InputError("its pickle rebuilds a tensor from something that is not a storage")
    if not isinstance(args[6], Global):
        raise InputError("its pickle rebuilds a tensor whose dtype is not a dtype")
    if len(args) == 8 and args[7]:
        return Unsupported("a lazily conjugated or negated tensor")
    return Tensor(args[0], args[1], _integers(args[2]), _integers(args[3]), dtype=args[6].name)


def _parameter(args: tuple) -> Tensor | Unsupported:
    if not args or not isinstance(args[0], Tensor | Unsupported):
        raise InputError("its pickle rebuilds a parameter from something that is not a tensor")
    return args[0]


def _tensor_with_attributes(args: tuple) -> Tensor | Unsupported:
    """`_rebuild_from_type_v2(builder, class, args, attributes)`: tensors that carry Python attributes."""
    if len(args) != 4 or not isinstance(args[0], Global) or not isinstance(args[2], tuple):
        raise InputError("its pickle rebuilds a tensor from something that is not a tensor")
    builder = _TENSOR_BUILDERS.get((args[0].module, args[0].name))
    if builder is None:
        return Unsupported(f"an object of {args[0]}")
    return builder(args[2])


def _first(kind: type) -> Callable[[tuple], Any]:
    def build(args: tuple) -> Any:
        if not args or not isinstance(args[0], kind):
            raise InputError(f"its pickle builds a value from something that is no {kind.__name__}")
        return args[0]

    return build


def _ordered_dict(args: tuple) -> dict:
    if args:
        raise InputError("its pickle fills an OrderedDict in a way that torch does not")
    return {}


def _unsupported(what: str) -> Callable[[tuple], Unsupported]:
    return lambda args: Unsupported(what)


_TENSOR_BUILDERS: dict[tuple[str, str], Callable[[tuple], Tensor | Unsupported]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_with_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._utils", "_rebuild_qtensor"): _unsupported("a quantised tensor"),
    ("torch._utils", "_rebuild_sparse_tensor"): _unsupported("a sparse tensor"),
    ("torch._utils", "_rebuild_sparse_csr_tensor"): _unsupported("a sparse tensor"),
    ("torch._utils", "_rebuild_nested_tensor"): _unsupported("a nested tensor"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _unsupported("a tensor on the meta device (no values)"),
}
_BUILDERS: dict[tuple[str, str], Callable[[tuple], Any]] = {
    **_TENSOR_BUILDERS,
    ("torch._tensor", "_rebuild_from_type_v2"): _tensor_with_attributes,
    ("collections", "OrderedDict"): _ordered_dict,
    ("collections", "defaultdict"): lambda args: {},  # its factory is never called
    ("torch", "Size"): _first(tuple),
    ("torch.jit._pickle", "build_intlist"): _first(list),
    ("torch.jit._pickle", "build_doublelist"): _first(list),
    ("torch.jit._pickle", "build_boollist"): _first(list),
    ("torch.jit._pickle", "build_tensorlist"): _first(list),
    ("torch.jit._pickle", "restore_type_tag"): _first(object),
}
