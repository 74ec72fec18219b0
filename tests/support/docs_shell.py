"""A real bash whose `clipjax` is answered inside the test's own process: starting JAX takes seconds, a page has many.

A small program called `clipjax` lies first on PATH. It hands its arguments, folder and CLIPJAX_* variables over a
socket and prints what comes back, so pipes, redirections, globs and exit statuses are bash's own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clipjax.cli import main as cli
from clipjax.runs import config

CLIENT = """#!{python} -SE
import json, os, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect(os.environ["CLIPJAX_SOCKET"])
variables = {{k: v for k, v in os.environ.items() if k.startswith("CLIPJAX_")}}
link.sendall(json.dumps([sys.argv[1:], os.getcwd(), variables]).encode() + b"\\n")
status, out, err = json.loads(link.makefile("rb").read())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""
# What a page may call that is not here, or takes minutes and is done for real elsewhere (.ci/run installs).
STAND_INS = {
    "pip": '[ "$1" = install ] || exit 2',
    "pytest": "true",
    "python3": """if [ "$1 $2" = "-m venv" ]; then
  mkdir -p "$3/bin"; for name in pip clipjax pytest; do cp "$(dirname "$0")/$name" "$3/bin/"; done
else exec {python} "$@"; fi""",
    "srun": 'while [ "${{1#-}}" != "$1" ]; do shift; done; exec "$@"',
    "sbatch": 'exec bash "${{@: -1}}"',
    "scontrol": "echo host0",
    "gcloud": 'for word in "$@"; do case "$word" in --command=*) bash -c "${{word#--command=}}" || exit;; esac; done',
    "kubectl": "exec {python} -c 'import sys, yaml; list(yaml.safe_load_all(open(sys.argv[-1])))' \"$@\"",
    "docker": "true",
    "tfds": "true",
}


class Shell:
    """Runs bash scripts in a folder. `cli_only` parses and resolves `clipjax` commands instead of running them.

    `demo` is the one run of `clipjax demo` that all tests share: its folder, status, stdout, stderr.
    """

    def __init__(self, demo: tuple[Path, int, str, str]):
        self._demo = demo
        self.statuses: list[int] = []  # of all `clipjax` commands so far
        self._folder = tempfile.TemporaryDirectory(prefix="clipjax-sh-")  # a socket's path has to be short
        programs = Path(self._folder.name)
        self._write(programs / "clipjax", CLIENT.format(python=sys.executable))
        for name, text in STAND_INS.items():
            self._write(programs / name, "#!/bin/bash\n" + text.format(python=sys.executable) + "\n")
        self._socket = str(programs / "socket")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._socket)
        self._listener.listen()
        self._listener.settimeout(0.01)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def close(self) -> None:
        """Ends listening and removes the programs."""
        self._listener.close()
        self._folder.cleanup()

    def run(self, script: str, folder: Path, cli_only: bool = False) -> tuple[int, str, str]:
        """(status, stdout, stderr) of `set -euo pipefail` and the script."""
        env = os.environ | {
            "PATH": f"{self._folder.name}:{os.environ['PATH']}",
            "CLIPJAX_SOCKET": self._socket,
            "TERM": "dumb",
        }
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            bash = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=env, stdout=out, stderr=err,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            while bash.poll() is None:
                with contextlib.suppress(TimeoutError):
                    self._answer(cli_only)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read())
        return bash.returncode, texts[0], texts[1]

    def _answer(self, cli_only: bool) -> None:
        link, _ = self._listener.accept()
        link.settimeout(None)
        with link:
            argv, folder, variables = json.loads(link.makefile("rb").readline())
            if argv == ["demo"]:
                shutil.copytree(self._demo[0] / "clipjax-demo", Path(folder) / "clipjax-demo", dirs_exist_ok=True)
                answer = self._demo[1:]
            else:
                answer = _run(argv, folder, variables, cli_only)
            self.statuses.append(answer[0])
            link.sendall(json.dumps(answer).encode())


def _run(argv: Sequence[str], folder: str, variables: dict[str, str], cli_only: bool) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _inside(folder, variables):
        try:
            status = parse(argv) if cli_only else cli.main(argv)
        except SystemExit as stop:  # argparse
            status = stop.code if isinstance(stop.code, int) else 1
        except Exception as error:  # a page must never show a traceback; the test shows this one
            status = 70
            err.write(f"{type(error).__name__}: {error}\n")
    return status, out.getvalue(), err.getvalue()


@contextlib.contextmanager
def _inside(folder: str, variables: dict[str, str]):
    before, there = dict(os.environ), os.getcwd()
    os.environ.update(variables)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(there)
        os.environ.clear()
        os.environ.update(before)


def parse(argv: Sequence[str]) -> int:
    """Checks a command against the real parser and, where it takes overrides, the real config; runs nothing."""
    verb, *rest = argv
    if verb.startswith("--"):
        return 0 if verb in ("--help", "--version") else 2
    module = importlib.import_module(f"clipjax.cli.{verb}")
    parser = argparse.ArgumentParser(prog=f"clipjax {verb}")
    module.add_arguments(parser)
    if not getattr(module, "TAKES_OVERRIDES", False):
        parser.parse_args(rest)
        return 0
    args, overrides = parser.parse_known_args(rest)
    if verb == "rerun":  # its keys are those of the run
        return 0
    if verb == "shards":
        name = args.what if args.action == "plan" else ""
    else:
        name = args.config if hasattr(args, "config") else args.probe
    if name:
        config.load(name, overrides, config.KINDS.get(verb, "probes"))
    elif overrides:
        raise SystemExit(f"{overrides[0]}: nothing takes it")
    return 0
