"""The pickle inside a torch file, read by a machine that can only build data.

`pickle.Unpickler` with an allow-list in `find_class` would keep foreign code out, yet not bound the work: one
LONG_BINPUT makes it allocate gigabytes for its memo, and a tuple nested deep enough overflows the C stack when
it is hashed as a key. So the few opcodes that torch's two writers emit (Python's pickler at protocol 2, and the
C++ one behind `torch.jit.save`) are interpreted here. A name from the file becomes a `Global` record and is
never imported; REDUCE looks that record up in a table of builders below, and there is nothing else to call: any
other object (a trainer's `np.float64`, `Namespace`, `set`) becomes an `Opaque` record of its class's name.

Opcodes: CPython's `Lib/pickletools.py`. Names that torch writes: `torch/_utils.py`, `torch/serialization.py`
and `torch/csrc/jit/serialization/pickler.cpp`.
"""

import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipjax.errors import InputError

# ViT-L/14 with its Adam state takes under 1 MB and 200,000 operations. An operation leaves at most one small
# object behind, so a hostile pickle costs some hundred MB at worst.
MAX_PICKLE_BYTES = 32 << 20
MAX_OPERATIONS = 2_000_000


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the file asks for; never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


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


@dataclass(frozen=True, slots=True)
class Opaque:
    """An object that is not weights, as the name of what would have made it: its state is dropped unread."""

    what: str

    def __str__(self) -> str:
        return self.what


@dataclass(eq=False, slots=True)
class Module:
    """An object of a TorchScript class (`__torch__.*`), as nothing but its attributes."""

    type_name: str
    state: dict[Any, Any] | None = None


def shown(text: str) -> str:
    """Text from a file, fit for one line of a message."""
    printable = repr(text)[1:-1]
    return printable if len(printable) <= 80 else printable[:77] + "..."


def loads(data: bytes) -> Any:
    """The data in a torch pickle: dicts, lists, tuples, scalars and the records above; executes nothing."""
    return _Machine(data).run()


def _is_int64(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _integers(value: Any) -> tuple[int, ...]:
    # numpy stops at 64 axes; counting first also keeps one long tuple from being walked for every tensor.
    if not isinstance(value, tuple) or len(value) > 32 or not all(map(_is_int64, value)):
        raise InputError("its pickle gives a tensor a shape that is no short tuple of integers")
    return value


def _tensor(args: tuple) -> Tensor | Unsupported:
    """`_rebuild_tensor(storage, offset, size, stride)`; `_v2` appends requires_grad, hooks and metadata."""
    if not 4 <= len(args) <= 7 or not isinstance(args[0], Storage) or not _is_int64(args[1]):
        raise InputError("its pickle rebuilds a tensor from something that is no storage")
    if len(args) == 7 and args[6]:  # conjugate and negative views: a flag beside the bytes, for complex numbers
        return Unsupported("a lazily conjugated or negated tensor")
    return Tensor(args[0], args[1], _integers(args[2]), _integers(args[3]))


def _tensor_with_dtype(args: tuple) -> Tensor | Unsupported:
    """`_rebuild_tensor_v3`: an untyped storage (lengths in bytes), the dtype beside it."""
    if not 7 <= len(args) <= 8 or not isinstance(args[0], Storage) or not _is_int64(args[1]):
        raise InputError("its pickle rebuilds a tensor from something that is no storage")
    if not isinstance(args[6], Global):
        raise InputError("its pickle rebuilds a tensor whose dtype is no dtype")
    if len(args) == 8 and args[7]:
        return Unsupported("a lazily conjugated or negated tensor")
    return Tensor(args[0], args[1], _integers(args[2]), _integers(args[3]), dtype=args[6].name)


def _parameter(args: tuple) -> Tensor | Unsupported:
    if not args or not isinstance(args[0], Tensor | Unsupported):
        raise InputError("its pickle rebuilds a parameter from something that is no tensor")
    return args[0]


def _tensor_with_attributes(args: tuple) -> Tensor | Unsupported:
    """`_rebuild_from_type_v2(builder, class, args, attributes)`: tensors that carry Python attributes."""
    if len(args) != 4 or not isinstance(args[0], Global) or not isinstance(args[2], tuple):
        raise InputError("its pickle rebuilds a tensor from something that is no tensor")
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


# What no training script keeps beside its weights. Opaque like all else, and yet worth a word.
_COMMANDS = frozenset("os posix nt subprocess sys shutil socket pty runpy importlib ctypes webbrowser".split())
_CALLS = frozenset("eval exec execfile compile open input __import__ getattr setattr delattr globals".split())


def is_command(name: Global) -> bool:
    """Whether a pickle that asks for this would run a program if it were allowed to."""
    return name.module.split(".")[0] in _COMMANDS or (
        name.module in ("builtins", "__builtin__") and name.name in _CALLS
    )


def _opcode_name(code: bytes) -> str:
    names = (name for name in pickle.__all__ if name.isupper() and getattr(pickle, name) == code)
    return next(names, code.hex())


class _Machine:
    """A stack, a memo, and one method per opcode family. Marks are heights of the stack."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_PICKLE_BYTES:
            raise InputError(f"its pickle is larger than {MAX_PICKLE_BYTES >> 20} MiB: not a weights file")
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_OPERATIONS):
            code = self.take(1)
            if code == pickle.STOP:
                return self.pop()
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise InputError(
                    f"its pickle uses the operation {_opcode_name(code)}, which torch does not write;"
                    " nothing was executed; re-save it with torch.save(model.state_dict(), ...)"
                )
            operation(self)
        raise InputError(f"its pickle has more than {MAX_OPERATIONS:,} operations: not a weights file")

    def take(self, count: int) -> bytes:
        chunk = self.data[self.position : self.position + count]
        if len(chunk) != count:
            raise InputError("its pickle is cut short; download or save it again")
        self.position += count
        return chunk

    def line(self) -> str:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise InputError("its pickle is cut short; download or save it again")
        text = self.data[self.position : end].decode("utf-8", "backslashreplace")
        self.position = end + 1
        return text

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise InputError("its pickle is damaged: a value is missing")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise InputError("its pickle is damaged: a mark is missing")
        height = self.marks.pop()
        items = self.stack[height:]
        del self.stack[height:]
        return items

    def top(self, kind: Any) -> Any:
        value = self.pop()
        if not isinstance(value, kind):
            raise InputError(f"its pickle is damaged: it fills a {type(value).__name__}")
        self.stack.append(value)
        return value

    # Values.

    def protocol(self) -> None:
        if self.take(1)[0] > 2:
            raise InputError(
                "its pickle has a protocol above 2, which torch does not write by itself;"
                " re-save it with torch.save(model.state_dict(), ...)"
            )

    def long(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.take(1)[0]), "little", signed=True))

    def text(self) -> None:
        encoded = self.take(int.from_bytes(self.take(4), "little"))
        try:
            self.stack.append(encoded.decode())
        except UnicodeDecodeError:
            raise InputError("its pickle is damaged: text that is not UTF-8") from None

    def global_name(self) -> None:
        module, name = self.line(), self.line()
        found = Global(module, name)
        if is_command(found):
            raise InputError(
                f"asks for {found}, which would run a program; nothing was executed; get it from a source you trust"
            )
        self.stack.append(found)

    # Memo.

    def put(self, width: int) -> None:
        value = self.pop()
        self.stack.append(value)
        self.memo[int.from_bytes(self.take(width), "little")] = value

    def get(self, width: int) -> None:
        index = int.from_bytes(self.take(width), "little")
        if index not in self.memo:
            raise InputError("its pickle is damaged: it refers to a value that is not there")
        self.stack.append(self.memo[index])

    # Containers.

    def tuple_of(self, count: int) -> None:
        self.stack.append(tuple(reversed([self.pop() for _ in range(count)])))

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict | Opaque)
        if len(items) % 2:
            raise InputError("its pickle is damaged: a key without a value")
        if isinstance(target, Opaque):  # a class of somebody's own that is a dict
            return
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Only keys whose hash is a bounded piece of work; a nested tuple's is not, and no weights have such a name.
            if key is None or isinstance(key, str | int | float):
                target[key] = value

    # Records in place of objects.

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        if not isinstance(function, Global | Opaque) or not isinstance(args, tuple):
            raise InputError(f"its pickle is damaged: a call of {type(function).__name__}")
        builder = _BUILDERS.get((function.module, function.name)) if isinstance(function, Global) else None
        self.stack.append(Opaque(str(function)) if builder is None else builder(args))

    def new_object(self) -> None:
        args, cls = self.pop(), self.pop()
        if not isinstance(cls, Global):
            raise InputError(f"its pickle is damaged: an object of {type(cls).__name__}")
        scripted = cls.module.split(".")[0] == "__torch__" and args == ()
        self.stack.append(Module(str(cls)) if scripted else Opaque(str(cls)))

    def build(self) -> None:
        state, target = self.pop(), self.pop()
        self.stack.append(target)
        if isinstance(target, Module):
            if not isinstance(state, dict):
                raise InputError(f"{target.type_name} keeps its state in a format of its own; save a state dict")
            target.state = state
        elif not isinstance(target, dict | Opaque):  # a dict's attributes are `_metadata`: versions of layers
            raise InputError(f"its pickle is damaged: it sets the state of {type(target).__name__}")

    def persistent(self) -> None:
        match self.pop():
            case ("storage", Global() as kind, str() as key, str(), int() as length) if 0 <= length < 2**63:
                self.stack.append(Storage(kind.name, key, length))
            case _:
                raise InputError("its pickle refers to something beside it that is no storage; nothing was read")


def _push(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


def _push_new(kind: type) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(kind())


def _push_number(layout: str) -> Callable[[_Machine], None]:
    size = struct.calcsize(layout)
    return lambda machine: machine.stack.append(struct.unpack(layout, machine.take(size))[0])


def _append(machine: _Machine, items: list[Any]) -> None:
    target = machine.top(list | Opaque)
    if isinstance(target, list):
        target.extend(items)


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


_OPERATIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: _Machine.protocol,
    pickle.NONE: _push(None),
    pickle.NEWTRUE: _push(True),
    pickle.NEWFALSE: _push(False),
    pickle.BININT: _push_number("<i"),
    pickle.BININT1: _push_number("<B"),
    pickle.BININT2: _push_number("<H"),
    pickle.BINFLOAT: _push_number(">d"),
    pickle.LONG1: _Machine.long,
    pickle.BINUNICODE: _Machine.text,
    pickle.GLOBAL: _Machine.global_name,
    pickle.BINPUT: lambda machine: machine.put(1),
    pickle.LONG_BINPUT: lambda machine: machine.put(4),
    pickle.BINGET: lambda machine: machine.get(1),
    pickle.LONG_BINGET: lambda machine: machine.get(4),
    pickle.MARK: lambda machine: machine.marks.append(len(machine.stack)),
    pickle.EMPTY_TUPLE: _push(()),
    pickle.TUPLE1: lambda machine: machine.tuple_of(1),
    pickle.TUPLE2: lambda machine: machine.tuple_of(2),
    pickle.TUPLE3: lambda machine: machine.tuple_of(3),
    pickle.TUPLE: lambda machine: machine.stack.append(tuple(machine.pop_to_mark())),
    pickle.EMPTY_LIST: _push_new(list),
    pickle.APPEND: lambda machine: _append(machine, [machine.pop()]),
    pickle.APPENDS: lambda machine: _append(machine, machine.pop_to_mark()),
    pickle.EMPTY_DICT: _push_new(dict),
    pickle.SETITEM: _set_item,
    pickle.SETITEMS: lambda machine: machine.set_items(machine.pop_to_mark()),
    pickle.REDUCE: _Machine.reduce,
    pickle.NEWOBJ: _Machine.new_object,
    pickle.BUILD: _Machine.build,
    pickle.BINPERSID: _Machine.persistent,
}
