"""The `clipjax` command. Each file in this folder is a verb: its name is the verb, its docstring is the help."""

from __future__ import annotations

import argparse
import atexit
import errno
import gc
import importlib
import os
import pkgutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any

import clipjax
from clipjax import compilation
from clipjax.errors import Breach, InputError, Stopped, nearest
from clipjax.files import check_option

DONE, FAILED, WRONG_USE, BREACHED = 0, 1, 2, 3
# These verbs do not run a model.
WITHOUT_PROGRAMS = ("compare", "completion", "convert", "datasets", "ingest", "models", "new", "plan", "report")
EPILOG = """\
exit status: 0 done; 1 failed: the last line of stderr says why, and the remedy; 2 wrong use; 3 a --fail-if condition
held, or a rerun gives other numbers. Results go to stdout, everything else to stderr. docs/reference/cli.md"""
GRACE = 5.0  # seconds
# A full disk, a missing permission, a failing disk, an impossible file name: not errors of the program.
MACHINE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE,
    errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip
STOP = "stopped; no partial file is left behind, and the same command continues or starts again"
STOPPED = 128 + 15  # as if SIGTERM had ended the process, which is what schedulers look for


def verbs() -> list[str]:
    """All verbs: the modules beside this one."""
    return sorted(
        m.name for m in pkgutil.iter_modules(importlib.import_module("clipjax.cli").__path__) if m.name != "main"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb. Exit status: 0 done, 1 failed with one line on stderr, 2 wrong use, 3 a --fail-if held."""
    own_process = argv is None
    if own_process:
        _collect_seldom()
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return DONE if argv else WRONG_USE
    if argv[0] == "--version":
        print(f"clipjax {clipjax.__version__}")
        return DONE
    verb = argv[0]
    if verb not in verbs():
        hint = nearest(verb, verbs()) or f"; verbs: {', '.join(verbs())}"
        print(f"clipjax: unknown verb {verb!r}{hint}", file=sys.stderr)
        return WRONG_USE
    module = importlib.import_module(f"clipjax.cli.{verb}")
    parser = argparse.ArgumentParser(
        prog=f"clipjax {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    module.add_arguments(parser)
    if own_process:
        signal.signal(signal.SIGTERM, _stop)
        sys.unraisablehook = _dropped
    try:
        status = _run(verb, module, parser, argv[1:], keeps=own_process and verb not in WITHOUT_PROGRAMS)
    except Exception as error:
        if own_process and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # _stop was called during an import,
            print(f"clipjax {verb}: {STOP}", file=sys.stderr)  # which reports it as ImportError
            return STOPPED
        if not own_process or not _is_one_of_several():
            raise
        message = importlib.import_module("clipjax.parallel").host_lost(error)
        print(f"clipjax {verb}: {message}" if message else traceback.format_exc(), file=sys.stderr)
        status = FAILED
    if own_process and status != DONE and _is_one_of_several():
        _leave(status, together=status == STOPPED and getattr(module, "STOPS_TOGETHER", False))
    return status


def _run(verb: str, module: Any, parser: argparse.ArgumentParser, words: Sequence[str], keeps: bool) -> int:
    try:
        if keeps:  # if called from Python, the caller chooses JAX's settings
            compilation.keep_programs()
        if getattr(module, "TAKES_OVERRIDES", False):
            args, overrides = parser.parse_known_args(words)
            _check_addresses(parser, args, overrides)
            module.run(args, overrides)
        else:
            args = parser.parse_args(words)
            _check_addresses(parser, args)
            module.run(args)
    except InputError as error:
        print(f"clipjax {verb}: {error}", file=sys.stderr)
        return FAILED
    except Breach as breach:
        print(f"clipjax {verb}: {breach}", file=sys.stderr)
        return BREACHED
    except Stopped as stopped:
        print(f"clipjax {verb}: {stopped}", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader of stdout (head, less) has ended
        sys.stderr.close()
        return DONE
    except OSError as error:
        if error.errno not in MACHINE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"clipjax {verb}: {where}{error.strerror}; fix this and rerun the same command", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"clipjax {verb}: interrupted; no partial file is left behind", file=sys.stderr)
        return 130
    return DONE


def _collect_seldom() -> None:
    """Python looks for cycles after every 700 new objects, and imports and tracing make millions that stay; at the end
    it looks at all of them once more. Without both a short command takes a tenth less of the processor's time."""
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)


def _check_addresses(parser: argparse.ArgumentParser, args: argparse.Namespace, overrides: Sequence[str] = ()) -> None:
    """InputError, before any work, where an option or a config key is given an address that it does not read."""
    names = {a.dest: a.option_strings[-1] if a.option_strings else str(a.metavar or a.dest) for a in parser._actions}
    for key, given in vars(args).items():
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, str):
                check_option(key, value, names.get(key, f"--{key}"), parser.prog.rpartition(" ")[2])
    for i, word in enumerate(overrides):
        name, equals, value = word.partition("=")
        key = name.removeprefix("--config.")
        if not equals:
            value = next(iter(overrides[i + 1 : i + 2]), "")
        if name.startswith("--config."):
            check_option(key, value, name)


def _leave(status: int, together: bool) -> None:
    """Ends one of several hosts without JAX's exit, which waits for hosts that may be waiting for this one.

    If all hosts stop together, JAX's exit is correct. JAX's service runs on the first host and aborts the others when
    it ends, so the first host waits: another host that has the same error can still print it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if together:
        return
    if status != STOPPED and sys.modules["jax"].process_index() == 0:
        time.sleep(GRACE)
    os._exit(status)


def _is_one_of_several() -> bool:
    """Whether this process has joined others."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def _stop(number: int, frame: object) -> None:
    """SIGTERM ends a command as Ctrl-C does: temporary files and locks are removed. A second one ends it at once."""
    signal.signal(number, signal.SIG_DFL)
    raise Stopped(STOP)


def _dropped(what: Any) -> None:
    """Handles exceptions that no code can catch: those in callbacks and in threads of libraries."""
    # An exception of `_stop` inside a callback of the garbage collector (JAX has one) is lost: sends SIGTERM again.
    if isinstance(what.exc_value, Stopped):
        signal.signal(signal.SIGTERM, _stop)
        again = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM))
        again.daemon = True
        again.start()
        return
    # A checkpoint could not be written, which is reported elsewhere; then TensorStore's threads find a closed event
    # loop for every array that was not yet written.
    if isinstance(what.exc_value, RuntimeError) and str(what.exc_value) == "Event loop is closed":
        return
    sys.__unraisablehook__(what)


def _overview() -> str:
    lines = ["usage: clipjax VERB [options]      (clipjax VERB --help explains one)", ""]
    for verb in verbs():
        summary = (importlib.import_module(f"clipjax.cli.{verb}").__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {verb:<10} {summary}")
    return "\n".join([*lines, "", "Results go to stdout, everything else to stderr. Start with: clipjax demo"])


if __name__ == "__main__":
    sys.exit(main())
