"""Class names as people write them: in one line, or one a line in a file."""

from __future__ import annotations

from pathlib import Path

from clipjax.errors import InputError


def read_classes(text: str) -> list[str]:
    """`a,b,c`, or the lines of the file of that name (blank lines and surrounding spaces dropped)."""
    path = Path(text)
    try:
        is_file = path.is_file()
    except OSError:  # a list too long to be a file name
        is_file = False
    if not is_file:
        if path.suffix == ".txt" and "," not in text:
            raise InputError(f"{text}: no such file of classes")
        return [c.strip() for c in text.split(",")]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{text}: not readable as a text file of classes ({error})") from error
    return [line.strip() for line in lines if line.strip()]
