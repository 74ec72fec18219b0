"""Compiled programs kept between processes, so that the second start of a command is short.

JAX can keep every program it compiles in a folder and load it from there (its persistent compilation cache). The
command line turns that on; `import clipjax` never does, as it would change JAX for everything else in the process. A
script of one's own calls `clipjax.compilation.keep_programs()` first, or sets JAX_COMPILATION_CACHE_DIR itself.

Entries are machine code that JAX runs as it finds them. So the folder is the user's own and nobody else can write to
it: it is never below CLIPJAX_CACHE, which people share. CLIPJAX_COMPILATION_CACHE names another folder, or "none".
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
import sys
import tempfile
import warnings
from pathlib import Path

import platformdirs

from clipjax.files import local_path
from clipjax.progress import say

VARIABLE = "CLIPJAX_COMPILATION_CACHE"
SECONDS = 0.1  # a program that took less to compile is not kept: JAX's own bound of 1 s would drop small text encoders
LARGEST = 1 << 30  # bytes; beyond it the oldest entries go. JAX's own bound leaves a folder that a kill can spoil


def keep_programs() -> Path | None:
    """Turns the cache on for this process and returns its folder; None where there is none.

    Off by CLIPJAX_COMPILATION_CACHE=none. Whoever has set JAX_COMPILATION_CACHE_DIR is left alone. A folder that
    cannot be made or written, or that others can write to, is not used: starts are slower and nothing else. Several
    processes may share it.
    """
    chosen = os.environ.get(VARIABLE, "").strip()
    if chosen.lower() in ("none", "off", "no", "0", "false") or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    base = platformdirs.user_cache_path("clipjax", appauthor=False) / "programs"
    if chosen:
        base = local_path(chosen, VARIABLE).expanduser()
    # XLA compiles for the processor it runs on, and a home folder may be on many: an entry of another one could stop
    # this one with an illegal instruction.
    folder = base / _processor()
    if not _is_private(base) or not _is_private(folder):
        return None
    _drop_oldest(folder)
    _configure(folder)
    # A full disk, or an entry cut short by a kill, costs a compilation, and the user can do nothing about it.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    return folder


def _configure(folder: Path) -> None:
    """By environment where JAX is not imported yet: whoever calls this should not have to wait for it."""
    values = {"compilation_cache_dir": str(folder), "persistent_cache_min_compile_time_secs": SECONDS}
    if (jax := sys.modules.get("jax")) is not None:
        for name, value in values.items():
            jax.config.update(f"jax_{name}", value)
    else:
        os.environ.update({f"JAX_{name.upper()}": str(value) for name, value in values.items()})


def _is_private(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return False
    foreign = hasattr(os, "getuid") and state.st_uid != os.getuid()
    if foreign or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        say(
            f"note: others can write to {folder}, so no compiled programs are kept there; chmod 700, or {VARIABLE}=none"
        )
        return False
    return True


def _processor() -> str:
    """A short name for this processor's kind: what it can execute."""
    text = f"{platform.machine()} {platform.processor()}"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        text += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _drop_oldest(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another process may be at it
        entries = [(entry.stat(), entry.path) for entry in os.scandir(folder) if entry.is_file()]
        excess = sum(state.st_size for state, _ in entries) - LARGEST
        for state, path in sorted(entries, key=lambda e: e[0].st_mtime):
            if excess <= 0:
                break
            os.unlink(path)
            excess -= state.st_size
