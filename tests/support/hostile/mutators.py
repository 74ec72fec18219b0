"""Damaged and hostile inputs made from good ones: bytes, JSON, zip, safetensors, tar and text, all from one seed.

Each takes (random, good input, other good inputs) and gives the bad one. What is checked by a sum in the format (a
zip's CRC, a tar's header, a log's record) is summed again, so that the damage gets past the door.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutator = Callable[[Random, bytes, Sequence[bytes]], bytes]

_NUMBERS = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_LAYOUTS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")
LARGEST = 1 << 20  # bytes of an input: what is larger is tested by name


def some_bytes(draw: Random, data: bytes, others: Sequence[bytes] = (), tokens: Sequence[bytes] = ()) -> bytes:
    """One to eight small damages: a bit, a number that means trouble, a piece lost, doubled or from elsewhere."""
    found = bytearray(data[:LARGEST])
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        at = draw.randrange(len(found) + 1)
        end = min(len(found), at + draw.choice((1, 2, 4, 16, 256)))
        kind = draw.randrange(9)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << draw.randrange(8)
        elif kind == 1 and at < len(found):
            found[at] = draw.randrange(256)
        elif kind == 2:
            layout = draw.choice(_LAYOUTS)
            number = struct.pack(layout, draw.choice(_NUMBERS) & (256 ** struct.calcsize(layout) - 1))
            found[at : at + len(number)] = number
        elif kind == 3:
            del found[at:end]
        elif kind == 4:
            found[at:at] = found[at:end] * draw.choice((1, 1, 3, 50))
        elif kind == 5:
            found[at:at] = draw.randbytes(draw.choice((1, 2, 8)))
        elif kind == 6 and tokens:
            found[at:at] = draw.choice(tokens)
        elif kind == 7 and others:
            other = draw.choice(others)
            start = draw.randrange(len(other) + 1)
            found[at:end] = other[start : start + draw.choice((4, 64, 1024))]
        elif kind == 8 and draw.random() < 0.3:
            del found[at:]
    return bytes(found[:LARGEST])


def with_tokens(*tokens: bytes | str) -> Mutator:
    """`some_bytes` that also knows the format's own words."""
    words = [t.encode() if isinstance(t, str) else t for t in tokens]

    def mutate(draw: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        found = some_bytes(draw, data, others, words)
        for _ in range(draw.choice((0, 1, 1, 3))):
            at = draw.randrange(len(found) + 1)
            found = found[:at] + draw.choice(words) * draw.choice((1, 1, 1, 2, 40)) + found[at:]
        return found[:LARGEST]

    return mutate


class _Raw(str):
    """Text that goes into JSON as it is."""


def _nasty(draw: Random) -> Any:
    return draw.choice([
        None, True, False, 0, 1, -1, 2, 7, 10**9, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, "", "a", "0", "é",
        "\ud800",
        "\0", "../../x", "/etc/passwd", "a\nb", "<script>", "x" * 5000, [], {}, [[]], [None], ["a"], [1, 2], {"a": 1},
        {"": {}},
        [0] * 3000, _Raw("NaN"), _Raw("Infinity"), _Raw("-Infinity"), _Raw("1e999"), _Raw("1" * 5000),
        _Raw("[" * 100_000),
        _Raw("[" * 3000 + "]" * 3000), _Raw('{"a":' * 3000 + "1" + "}" * 3000),
    ])  # fmt: skip


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        found.append((value, key))
        _places(value[key], found)
    return found


def dumped(value: Any) -> str:
    """JSON, with raw text in it as it is."""
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(k))}:{dumped(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dumped, value)) + "]"
    return json.dumps(value)


def damaged_value(draw: Random, value: Any) -> Any:
    """A JSON value with one to four places replaced, removed, renamed or moved."""
    value = json.loads(json.dumps(value))
    for _ in range(draw.choice((1, 1, 2, 4))):
        places = _places(value, [])
        if not places or draw.random() < 0.03:
            value = _nasty(draw)
            continue
        holder, key = draw.choice(places)
        kind = draw.randrange(6)
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[draw.choice((key + "x", "", "__proto__", "name"))] = holder.pop(key)
        elif kind == 2:
            other, place = draw.choice(places)
            holder[key] = json.loads(json.dumps(other.get(place) if isinstance(other, dict) else None, default=str))
        elif kind == 3 and isinstance(holder[key], list):
            holder[key] = holder[key] * draw.choice((0, 2, 20))
        elif kind == 4 and isinstance(holder[key], int | float):
            holder[key] = draw.choice((0, -1, 1, 3, 10**9, 2**63, 0.5, holder[key] + 1, -holder[key], str(holder[key])))
        else:
            holder[key] = _nasty(draw)
    return value


def some_json(draw: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """JSON of another shape; every fifth time damaged as bytes."""
    if draw.random() < 0.2:
        return some_bytes(draw, data, others, (b"[", b"{", b'"', b"\\ud800", b"NaN", b"\xef\xbb\xbf", b"\0"))
    try:
        text = dumped(damaged_value(draw, json.loads(data)))
    except (ValueError, RecursionError):
        return some_bytes(draw, data, others)
    if draw.random() < 0.05:  # a key that comes twice: readers disagree about which one holds
        text = text.replace("{", '{"model":1,"name":2,"width":3,', 1)
    return text.encode("utf-8", "surrogatepass")


def some_zip(inner: Mutator) -> Mutator:
    """A zip with a damaged entry (its CRC made right), another name, or a directory that lies."""

    def mutate(draw: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        if draw.random() < 0.25:
            return some_bytes(draw, data, others)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as file:
                entries = [(info.filename, file.read(info)) for info in file.infolist()]
        except Exception:
            entries = []
        if not entries:
            return some_bytes(draw, data, others)
        at = draw.randrange(len(entries))
        pickles = [i for i, (name, _) in enumerate(entries) if name.endswith(".pkl")]
        if pickles and draw.random() < 0.6:
            at = draw.choice(pickles)
        name, content = entries[at]
        kind = draw.randrange(6)
        if kind == 0:
            del entries[at]
        elif kind == 1:
            entries[at] = (
                draw.choice((name + "x", "../" + name, "/" + name, name.replace("/", "\\"), "a/data.pkl", "é")),
                content,
            )
        elif kind == 2:
            entries.append((name, content))
        else:
            entries[at] = (name, inner(draw, content, ()))
        method = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        out = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name that comes twice
            with zipfile.ZipFile(out, "w", method) as file:
                for name, content in entries:  # by ZipInfo: without the time of day
                    file.writestr(zipfile.ZipInfo(name), content, compress_type=method)
                if entries and draw.random() < 0.3:
                    lie = draw.choice(file.infolist())
                    field = draw.choice(("header_offset", "file_size", "compress_size", "CRC"))
                    setattr(lie, field, draw.choice((0, 1, 30, 2**16, 2**31 - 1, 2**32 - 2)))
        return out.getvalue()

    return mutate


def some_safetensors(draw: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A header that says something else about the same bytes, or a length that does."""
    if draw.random() < 0.2:
        return some_bytes(draw, data, others)
    length = struct.unpack("<Q", data[:8])[0]
    header, rest = data[8 : 8 + length], data[8 + length :]
    kind = draw.randrange(8)
    if kind == 0:
        return struct.pack("<Q", draw.choice((*_NUMBERS, length + 1, length - 1, len(data)))) + data[8:]
    try:
        found = json.loads(header)
    except (ValueError, RecursionError):
        return some_bytes(draw, data, others)
    if kind == 1:
        text = some_json(draw, header)
    elif kind == 2 and found.get("__metadata__"):  # the configuration inside the metadata
        key = draw.choice([*found["__metadata__"]])
        found["__metadata__"][key] = some_json(draw, str(found["__metadata__"][key]).encode()).decode(
            "utf-8", "replace"
        )
        text = dumped(found).encode("utf-8", "surrogatepass")
    elif not found:
        return some_bytes(draw, data, others)
    else:
        name = draw.choice([*found])
        found[name] = damaged_value(draw, found[name])
        if kind == 3 and isinstance(found.get(name), dict):
            found[name] |= draw.choice((
                {"data_offsets": [0, len(rest)]}, {"data_offsets": [len(rest), 2**63]}, {"data_offsets": [8, 0]},
                {"shape": [2**32, 2**32]}, {"shape": [0]}, {"shape": []}, {"dtype": "F8_E4M3"}, {"dtype": "BOOL"},
                {"dtype": "F4"}, {"dtype": "C64"}, {"shape": [1] * 70},
            ))  # fmt: skip
        text = dumped(found).encode("utf-8", "surrogatepass")
        if kind == 4:
            text = text.replace(b"{", b'{"__metadata__":{"format":"clipjax"},', 1)
    text += b" " * draw.choice((0, -len(text) % 8))
    return struct.pack("<Q", len(text)) + text + rest


_TAR_FIELDS = {
    "name": (0, 100), "mode": (100, 8), "size": (124, 12), "mtime": (136, 12), "type": (156, 1), "link": (157, 100),
    "magic": (257, 8), "prefix": (345, 155),
}  # fmt: skip


def some_tar(draw: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A tar header with one field replaced and its sum made right: paths that climb, links, sizes, sparse maps."""
    if draw.random() < 0.25:
        return some_bytes(draw, data, others)
    found = bytearray(data)
    headers = [at for at in range(0, len(found) - 511, 512) if found[at + 257 : at + 262] == b"ustar"]
    for _ in range(draw.choice((1, 1, 2))):
        if not headers:
            return some_bytes(draw, data, others)
        at = draw.choice(headers)
        start, length = _TAR_FIELDS[draw.choice([*_TAR_FIELDS])]
        value = draw.choice((
            b"../../../etc/passwd", b"/etc/passwd", b"00000000000\0", b"77777777777\0", b"\x80" + b"\xff" * 11,
            b"\xff" * 12,
            b"\x80\0\0\0\0\0\0\0\xff\xff\xff\xff", b"0", b"1", b"2", b"3", b"5", b"7", b"L", b"K", b"S", b"x", b"g",
            b"D", b"\0",
            b"a.jpg", b"a.txt", b".hidden", b"", b"\xff\xfe.jpg", draw.randbytes(length),
        ))  # fmt: skip
        found[at + start : at + start + length] = value[:length].ljust(length, b"\0")
        found[at + 148 : at + 156] = b" " * 8
        found[at + 148 : at + 156] = b"%06o\0 " % sum(found[at : at + 512])
    if draw.random() < 0.2:
        del found[draw.randrange(len(found)) :]
    return bytes(found)


def tar_of(**files: bytes) -> bytes:
    """A plain tar; a_jpg=b"..." becomes a.jpg."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def some_log(draw: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A record of a feature log with another header or payload, its CRC made right (`clipjax/cache.py`)."""
    if draw.random() < 0.4 or len(data) < 20:
        return some_bytes(draw, data, others)
    magic, rows, width, extra, _ = struct.unpack_from("<4sIIII", data)
    payload = data[20 : 20 + rows * (8 + 4 * width) + extra]
    kind = draw.randrange(4)
    if kind == 0:
        payload = some_bytes(draw, payload)
    elif kind == 1:
        rows, width, extra = (draw.choice((x, x, 0, 1, 2**31, 2**32 - 1)) for x in (rows, width, extra))
    elif kind == 2:
        text = some_json(draw, payload[len(payload) - extra :] if extra else b"[]")
        payload, extra = payload[: len(payload) - extra] + text, len(text)
    else:
        payload = struct.pack("<q", draw.choice((-1, 2**62, -(2**63), 0))) + payload[8:]
    return struct.pack("<4sIIII", magic, rows, width, extra, zlib.crc32(payload)) + payload + data


def packed(**files: bytes) -> bytes:
    """Several files as one input."""
    head = json.dumps({name: len(content) for name, content in files.items()}).encode()
    return head + b"\n" + b"".join(files.values())


def unpacked(data: bytes) -> dict[str, bytes] | None:
    """What `packed` packed; None where that is damaged."""
    head, _, rest = data.partition(b"\n")
    try:
        lengths = json.loads(head)
        if not isinstance(lengths, dict) or not all(type(n) is int for n in lengths.values()):
            return None
    except (ValueError, RecursionError):
        return None
    out, at = {}, 0
    for name, length in lengths.items():
        out[name] = rest[at : at + length]
        at += length
    return out


def one_of(**inner: Mutator) -> Mutator:
    """Damages one of the packed files, by the mutator of its name with "." written as "_"; others are left alone."""

    def mutate(draw: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        files = unpacked(data)
        if not files:
            return data
        names = [n for n in files if n.replace(".", "_") in inner]
        for _ in range(draw.choice((1, 1, 1, 2)) if names else 0):
            name = draw.choice(names)
            files[name] = inner[name.replace(".", "_")](draw, files[name], ())
        return packed(**files)

    return mutate
