"""The commands of experiments/evaluating_clip are commands: every config resolves and every flag is known."""

import runpy
import shlex
from pathlib import Path

import pytest

from clipjax.cli import compare, report
from clipjax.runs import config

README = Path(__file__).parents[2] / "experiments" / "evaluating_clip" / "README.md"


def commands():
    inside, found = False, []
    for line in README.read_text().splitlines():
        if line.startswith("```"):
            inside = line == "```bash"
        elif inside:
            found.append(line)
    return found


@pytest.mark.parametrize("line", commands())
def test_command(line):
    import argparse

    words = shlex.split(line)
    if words[0] == "python":
        runpy.run_path(str(README.parents[2] / words[1]))["arguments"]().parse_args(words[2:])
        return
    assert words[0] == "clipjax"
    if words[1] == "probe":
        overrides = [w for w in words[3:] if not w.startswith("--out=")]
        resolved = config.load(words[2], overrides)
        assert config.probe_module(resolved.probe)
        assert len(overrides) == len(words) - 4
    else:
        parser = argparse.ArgumentParser()
        {"report": report, "compare": compare}[words[1]].add_arguments(parser)
        parser.parse_args(words[2:])


def test_every_table_and_figure_has_a_command():
    text = README.read_text()
    for what in ("Table 1", "Table 2", "Table 3", "Figure 1", "The model card"):
        assert f"## {what}" in text or f" {what}" in text
    assert len(commands()) >= 22
    for file in README.parent.glob("*.py"):
        assert f"python experiments/evaluating_clip/{file.name} " in text
