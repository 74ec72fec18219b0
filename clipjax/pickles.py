"""Pickles read by a machine that can only build data: torch's and CIFAR's, without `pickle.load`.

A pickle is a program. `pickle.Unpickler` with an allow-list in `find_class` would keep foreign code out, yet not bound
the work: one LONG_BINPUT makes it allocate gigabytes for its memo, and a tuple nested deep enough overflows the C stack
when it is hashed as a key. So the few opcodes that such files consist of are interpreted here. A name from the file
becomes a `Global` record and is never imported; what a file's own writer builds from it is a method of a subclass, and
there is nothing else to call.

Opcodes: CPython's `Lib/pickletools.py`.
"""

import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from clipjax.errors import InputError


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the file asks for; never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


@dataclass(frozen=True, slots=True)
class Opaque:
    """An object that is not data, as the name of what would have made it: its state is dropped unread."""

    what: str

    def __str__(self) -> str:
        return self.what


def shown(text: str) -> str:
    """Text from a file, fit for one line of a message."""
    printable = repr(text)[1:-1]
    return printable if len(printable) <= 80 else printable[:77] + "..."


# What no script keeps beside its data. Opaque like all else, and yet worth a word.
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


class Machine:
    """A stack, a memo, and one method per opcode family. Marks are heights of the stack.

    A subclass says what one kind of file may build. An operation leaves at most one small object behind, so a hostile
    pickle costs some hundred MB beside the file's own bytes.
    """

    max_bytes: ClassVar[int]
    max_operations: ClassVar[int] = 2_000_000
    max_protocol: ClassVar[int] = 2
    operations: ClassVar[Mapping[bytes, Callable[[Any], None]]]
    kind: ClassVar[str]  # what the file is, e.g. "a weights file"
    remedy: ClassVar[str]

    def __init__(self, data: bytes) -> None:
        if len(data) > self.max_bytes:
            raise InputError(f"its pickle is larger than {self.max_bytes >> 20} MiB: not {self.kind}")
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The data in the pickle; executes nothing. InputError for anything but the data that `kind` consists of."""
        for _ in range(self.max_operations):
            code = self.take(1)
            if code == pickle.STOP:
                return self.pop()
            operation = self.operations.get(code)
            if operation is None:
                raise InputError(
                    f"its pickle uses the operation {_opcode_name(code)}, which {self.kind} does not need;"
                    f" nothing was executed; {self.remedy}"
                )
            operation(self)
        raise InputError(f"its pickle has more than {self.max_operations:,} operations: not {self.kind}")

    # What a subclass says.

    def named(self, found: Global) -> None:
        """InputError for a name that no such file asks for, as soon as it is read."""
        if is_command(found):
            raise InputError(
                f"asks for {found}, which would run a program; nothing was executed; get it from a source you trust"
            )

    def call(self, function: Global, args: tuple) -> Any:
        """The data in place of `function(*args)`, be it a function or a class."""
        return Opaque(str(function))

    def set_state(self, target: Any, state: Any) -> None:
        """What `target.__setstate__(state)` would do."""
        raise InputError(f"its pickle is damaged: it sets the state of {type(target).__name__}")

    def persistent(self, reference: Any) -> Any:
        """The data in place of something that lies beside the pickle."""
        raise InputError("its pickle refers to something beside it; nothing was read")

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
        if self.take(1)[0] > self.max_protocol:
            raise InputError(f"its pickle has a protocol above {self.max_protocol}; {self.remedy}")

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
        self.named(found)
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
            # Only keys whose hash is a bounded piece of work; a nested tuple's is not, and no data has such a name.
            if key is None or isinstance(key, str | bytes | int | float):
                target[key] = value

    # Records in place of objects.

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        if not isinstance(function, Global | Opaque) or not isinstance(args, tuple):
            raise InputError(f"its pickle is damaged: a call of {type(function).__name__}")
        self.stack.append(function if isinstance(function, Opaque) else self.call(function, args))

    def build(self) -> None:
        state, target = self.pop(), self.pop()
        self.stack.append(target)
        self.set_state(target, state)


def _push(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


def _push_new(kind: type) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(kind())


def _push_bytes(width: int) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(machine.take(int.from_bytes(machine.take(width), "little")))


def _push_number(layout: str) -> Callable[[Machine], None]:
    size = struct.calcsize(layout)
    return lambda machine: machine.stack.append(struct.unpack(layout, machine.take(size))[0])


def _append(machine: Machine, items: list[Any]) -> None:
    target = machine.top(list | Opaque)
    if isinstance(target, list):
        target.extend(items)


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


OPERATIONS: dict[bytes, Callable[[Machine], None]] = {
    pickle.PROTO: Machine.protocol,
    pickle.NONE: _push(None),
    pickle.NEWTRUE: _push(True),
    pickle.NEWFALSE: _push(False),
    pickle.BININT: _push_number("<i"),
    pickle.BININT1: _push_number("<B"),
    pickle.BININT2: _push_number("<H"),
    pickle.BINFLOAT: _push_number(">d"),
    pickle.LONG1: Machine.long,
    pickle.BINUNICODE: Machine.text,
    pickle.GLOBAL: Machine.global_name,
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
    pickle.REDUCE: Machine.reduce,
    pickle.NEWOBJ: Machine.reduce,
    pickle.BUILD: Machine.build,
    pickle.BINPERSID: lambda machine: machine.stack.append(machine.persistent(machine.pop())),
}
# Strings of Python 2, and bytes of Python 3.
BYTE_STRINGS: dict[bytes, Callable[[Machine], None]] = {
    pickle.SHORT_BINSTRING: _push_bytes(1),
    pickle.BINSTRING: _push_bytes(4),
    pickle.SHORT_BINBYTES: _push_bytes(1),
    pickle.BINBYTES: _push_bytes(4),
}
