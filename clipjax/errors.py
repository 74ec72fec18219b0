"""The one exception that means "the input is at fault, not the program", and how others become it."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence

LONGEST = 2000  # characters of a message: two screens of paths, and no file's megabyte


class InputError(ValueError):
    """Bad input: the message is one line that names the file or value and the remedy.

    The command line prints the message alone and exits with status 1; any other exception is a defect of
    clipjax and keeps its traceback. What a file says of itself may be in it: control characters are escaped, and a
    long message is cut.
    """

    def __init__(self, message: object = ""):
        super().__init__(brief(str(message), LONGEST))


@contextlib.contextmanager
def located(where: object) -> Iterator[None]:
    """Puts "WHERE: " in front of the message of an InputError that does not begin with it already."""
    try:
        yield
    except InputError as error:
        if str(error).startswith(f"{where}: "):
            raise
        raise InputError(f"{where}: {error}") from error


@contextlib.contextmanager
def converted(problem: str, remedy: str, *kinds: type[Exception]) -> Iterator[None]:
    """What a library raises about its input (`kinds`) as one line: "PROBLEM (what the library says); REMEDY".

    The boundary of a reader: what is called inside is the library, not our own code. InputErrors pass as they are.
    """
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        reason = (isinstance(error, OSError) and error.strerror) or one_line(error)
        raise InputError(f"{problem} ({reason}); {remedy}") from error


def require(name: object, known: Iterable[object], where: object, what: str, remedy: str = "") -> None:
    """InputError where `name` is not among `known`: 'WHERE has no WHAT "NAME"; nearest: ...; it has: ...'."""
    name, known = str(name), list(map(str, known))
    if name not in known:
        there = some([brief(one) for one in known], 12) or "none"
        near = "" if name.replace(".", "").isdigit() else nearest(name, known)
        raise InputError(f'{where} has no {what} "{name}"{near}; it has: {there}{remedy}')


class Breach(Exception):
    """A condition of `--fail-if` held: the run is complete, and the answer is no. One line per breach."""


class Stopped(BaseException):
    """A signal ended a command early, after everything was saved: the same command goes on. Exit status 143.

    Like KeyboardInterrupt not an Exception: code that reads an image at that moment would call it damaged.
    """


def some(names: Sequence[str], most: int = 6) -> str:
    """The first few of many names, for a message of one line: "a, b and 7 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """'; nearest: "x"' where one of the known words is near, else ''."""
    close = difflib.get_close_matches(str(word), list(map(str, known)), 1, 0.5)
    return f'; nearest: "{close[0]}"' if close else ""


def brief(value: object, most: int = 60) -> str:
    """Somebody else's value, fit for one line of a message: escaped, and cut where it is long."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError):  # nested without end; a whole number of thousands of digits
        text = type(value).__name__
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return text if len(text) <= most else text[:most] + "..."


def one_line(error: object, most: int = 300) -> str:
    """What a library says of an error, as one line of bounded length."""
    return brief(" ".join(str(error).split()), most) or type(error).__name__
