"""Class names, and other lists of texts, as people write them: in one line, or one a line in a file."""

from __future__ import annotations

from pathlib import Path

from clipjax.errors import InputError
from clipjax.files import lines


def read_classes(text: str) -> list[str]:
    """`a,b,c`, or the lines of the file of that name."""
    if (found := lines_of_file(text, "classes")) is not None:
        return found
    if Path(text).suffix == ".txt" and "," not in text:
        raise InputError(f"{text}: no such file of classes")
    return [c.strip() for c in text.split(",")]


def lines_of_file(text: str, what: str) -> list[str] | None:
    """The lines of the file called `text`, without blank ones and surrounding spaces; None where there is no such file.

    Raises InputError for a file that is no text in UTF-8; `what` says of what.
    """
    path = Path(text)
    try:
        if not path.is_file():
            return None
    except (OSError, ValueError):  # too long to be a file name, or a zero in it
        return None
    try:
        found = lines(path.read_bytes().decode("utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{text}: not readable as a text file of {what} ({error})") from error
    return [line.strip() for line in found if line.strip()]
