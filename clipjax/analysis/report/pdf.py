"""A page as PDF, printed by a browser of this machine: its print style is the page's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from clipjax.errors import InputError, one_line
from clipjax.files import write_atomically

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
SECONDS = 300


def browser() -> str:
    """A Chromium or Chrome on PATH; InputError where there is none."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise InputError(
        "--format=pdf: no Chromium or Chrome on PATH to print with; install one, or open report.html in a browser and "
        "print it there"
    )


def write(page: Path, path: Path, program: str) -> None:
    """Prints the page into a PDF; the network is not asked, since the page forbids it."""

    def printed(temporary: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="clipjax-print-") as profile:
            command = [
                program, "--headless=new", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
                f"--user-data-dir={profile}", "--no-pdf-header-footer", f"--print-to-pdf={temporary}",
                *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []), page.absolute().as_uri(),
            ]  # fmt: skip
            try:
                done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise InputError(
                    f"{program}: cannot print {page} ({one_line(error)}); print it in a browser"
                ) from error
        if done.returncode or not temporary.stat().st_size:
            raise InputError(f"{program}: cannot print {page} ({one_line(done.stderr[-300:])}); print it in a browser")

    write_atomically(path, printed)
