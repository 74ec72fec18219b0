"""Every code block of README, CONTRIBUTING and the pages does what it says: it is run, or checked as the file it is."""

import contextlib
import io
import itertools
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from support.docs_blocks import RUN, SHOWN, Block, blocks, pages
from support.docs_files import copy
from support.docs_shell import parse

from clipjax import design

PAGES = [page for page in pages() if blocks(page)]
LONG = ("paper", "finetune", "panel")  # half the time of all pages: CI runs them, elsewhere their commands are checked


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.exhaustive] * (page.stem in LONG)) for page in PAGES],
    ids=lambda page: page.stem,
)
def test_the_blocks_of(page, tmp_path, monkeypatch, staged, shell, offline):
    copy(staged, tmp_path)
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        if block.language not in (*RUN, *SHOWN):
            pytest.fail(f"{block}: {block.language or 'no language'} is none of {', '.join((*RUN, *SHOWN))}")
        if block.title == "output":
            compare(block, printed)
        elif block.title:
            write(block, shell)
        elif block.language == "python":
            printed = execute(block, namespace)
        elif block.language in ("bash", "console"):
            printed = in_bash(block, shell)


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem in LONG], ids=lambda page: page.stem)
def test_the_commands_of_a_long_page_are_understood(page, tmp_path, monkeypatch, staged, shell, offline):
    """By the real parsers and configs; nothing is run."""
    copy(staged, tmp_path)
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if block.title and block.title != "output":
            write(block, shell)
        elif block.language == "bash":
            _, out, err = shell.run(f"set +e\n{block.text}", os.getcwd(), cli_only=True)  # what follows may read a run
            assert not any(shell.statuses), f"{block}: {out}{err}"
    assert len(shell.statuses) > 5


def execute(block: Block, namespace: dict) -> str:
    """The block's lines keep their numbers in the page, for a traceback that points there."""
    out = io.StringIO()
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    with contextlib.redirect_stdout(out):
        exec(code, namespace)
    return out.getvalue()


def in_bash(block: Block, shell) -> str:
    text = re.sub(r"^\$ ", "", block.text, flags=re.MULTILINE) if block.language == "console" else block.text
    status, out, err = shell.run(text, os.getcwd(), cli_only=block.language == "console")
    if status:
        pytest.fail(f"{block}: exit status {status}\n{out[-1500:]}\n{err[-1500:]}", pytrace=False)
    return out


def write(block: Block, shell) -> None:
    """A titled block is the file of that name; what kind of file decides how it is checked."""
    path = Path(block.title)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")
    if path.suffix in (".yaml", ".yml"):
        documents = list(yaml.safe_load_all(block.text))
        if any("kind" in d for d in documents):
            for command in commands(documents):
                parse(command)
        elif "jobs" not in documents[0]:
            assert design.read_design(block.title).classes, str(block)
    elif path.suffix in (".sh", ".sbatch"):
        checked = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
        assert not checked.returncode, f"{block}: {checked.stderr}"
    elif path.suffix == ".py":
        compile(block.text, block.title, "exec")


def commands(found) -> list[list[str]]:
    """Arguments of every `clipjax` command in a Kubernetes manifest."""
    if isinstance(found, dict):
        words = [*found.get("command", []), *found.get("args", [])] if "image" in found else []
        own = [words[1:]] if words[:1] == ["clipjax"] else []
        return own + [c for value in found.values() for c in commands(value)]
    return [c for value in found for c in commands(value)] if isinstance(found, list) else []


def compare(block: Block, printed: str) -> None:
    """Line by line, digits aside (another processor rounds otherwise); ... stands for any number of lines."""
    wanted = "\n".join(
        "(?s:.*)" if line.strip() == "..." else pattern(line) for line in block.text.rstrip().splitlines()
    )
    flat = "\n".join(re.sub(r" +", " ", line) for line in printed.rstrip().splitlines())
    if not re.fullmatch(wanted, flat):
        pytest.fail(f"{block}: shown\n{block.text}\nbut printed\n{printed}", pytrace=False)


def pattern(line: str) -> str:
    escaped = re.escape(re.sub(r" +", " ", line)).replace(r"\ ", " *")
    return re.sub(r"\d+", r"\\d+", escaped)


def test_files_named_in_console_blocks_are_on_the_page():
    for page, block in itertools.chain.from_iterable(((p, b) for b in blocks(p)) for p in PAGES):
        if block.language == "console":
            named = re.findall(r"(?:sbatch|kubectl apply -f) (\S+)", block.text)
            assert set(named) <= {b.title for b in blocks(page)}, str(block)
