"""Texts, class designs and tables of text: seeds, readers and the words that mean trouble in them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipjax.errors import InputError
from support.hostile import mutators as m
from support.hostile.image_files import ROWS, picture
from support.hostile.target import put, refusal


def token_seeds() -> list[bytes]:
    texts = (
        "a photo of a cat",
        "Ünïcödé &amp;lt; <|endoftext|> 🙂👩‍👩‍👧",
        "it's 10\u0345 ſs don't",
        "\u0301" * 50,
        "日本語のテキスト " * 8,
    )
    return [text.encode() for text in texts]


def _tokens(folder: Path, data: bytes) -> None:
    from clipjax.text import tokenize

    text = data.decode("utf-8", "surrogatepass" if data[:1] < b"\x80" else "replace")
    ids = tokenize([text, text[::-1]], truncate=True)
    assert ids.shape == (2, 77)
    assert ids.min() >= 0
    assert ids.max() == 49407


def tokens_of_any(folder: Path, data: bytes) -> None:
    try:
        _tokens(folder, data)
    except UnicodeDecodeError:
        raise InputError("no text") from None


DESIGN = b"""name: fairface-default
note: words
templates: ["a photo of a {}.", "{}"]
classes:
  - {name: "Black man", sets: [person], race: Black, gender: Male}
  - {name: thief, prompt: "a thief", sets: [crime]}
  - {name: cat, texts: [cat, kitten]}
  - orangutan
"""


def design(folder: Path, data: bytes) -> None:
    from clipjax import design

    found = design.read_design(str(put(folder, "x.yaml", data)))
    assert design.Design.from_manifest(json.loads(json.dumps(found.manifest()))) == found
    assert dataclasses.replace(design.parse(found.yaml()), source=found.source) == found
    found.prompts()
    _ = found.sha256, found.sets


def form_seeds() -> list[bytes]:
    from clipjax import design as designs
    from clipjax.explore import form

    return [json.dumps(form.write(designs.read_design(name))).encode() for name in ("people-roles", "fairface-default")]


def form(folder: Path, data: bytes) -> None:
    """What the explorer's page sends."""
    from clipjax import design as designs
    from clipjax.explore import form

    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise InputError("no JSON") from None
    made = form.read(found)
    made.prompts()
    assert form.read(form.write(made)) == made
    assert designs.parse(made.yaml()) == made


DESIGN_WORDS = (
    "extends: fairface-default\n", "extends: x\n", "add: [child]\n", "drop: [animal]\n", "&a ", "*a",
    "!!python/object/apply:os.system ",
    "!!python/name:os.system ", "!!binary ", "!!set {a, b}", "!!timestamp ", "2001-99-99", "[", "]", "{", "}", "? ",
    ": ", "- ", "|\n", ">\n",
    "<<: ", "---\n", "...\n", "%YAML 9.9\n", "yes", "null", "~", "1e999", "0x", "1_000", ".nan", "\t", "\0", "\x85",
    "{}", "name: ", "sets: ",
    "[" * 500, "- " * 500, '"\\ud800"', "'", '"', "#", "1:1:1", "=", "!", "! ", "\u2028",
)  # fmt: skip

# --- tables ----------------------------------------------------------------------------------------------------


def table(suffix: str) -> Callable[[Path, bytes], None]:
    def attempt(folder: Path, data: bytes) -> None:
        from clipjax.data import table
        from clipjax.data.kinds.shared import Columns

        pictures = folder / "pictures"
        pictures.mkdir()
        (pictures / "a.png").write_bytes(picture("png"))
        (pictures / "b.png").write_bytes(b"")
        path = put(folder, f"x.{suffix}", data)
        found = table.open_table(path, Columns("file", "label", ("caption",), ("age", "race")), pictures)
        for row in range(min(len(found), 3)):
            refusal(found.image, row)

    return attempt


def csv_seeds() -> list[bytes]:
    lines = [
        ",".join(f'"{value}"' if "," in value else value for value in row) for row in zip(*ROWS.values(), strict=True)
    ]
    plain = "\n".join([",".join(ROWS), *lines]) + "\n"
    return [plain.encode(), plain.encode("utf-8-sig"), plain.replace("\n", "\r\n").encode(), plain.encode("utf-16")]


CSV_WORDS = (
    '"', '""', ",", ",,,,", "\n", "\r", "\r\n", "\0", "\xef\xbb\xbf", "\xff", "x" * 5000, "../../etc/passwd",
    "/etc/passwd", "gs://a/b",
    "http://a/b", "9-Mar", "file", "NaN", "1e999", "9" * 400, "-0", "a.png", "\t", "=cmd()", "😀",
)  # fmt: skip


def jsonl_seeds() -> list[bytes]:
    rows = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
    rows[0]["caption"] = ["one", "two"]
    return ["".join(json.dumps(row) + "\n" for row in rows).encode()]


def some_lines(draw: Any, data: bytes, others: Any = ()) -> bytes:
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    lines[at] = m.some_json(draw, lines[at]) if lines[at] else b"null"
    return b"\n".join(lines) if draw.random() < 0.7 else m.some_bytes(draw, b"\n".join(lines))
