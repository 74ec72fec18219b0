"""docs/architecture.md names code that exists, in walks of at most 12 steps."""

import importlib
import re

import pytest
from support.docs_blocks import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAME = re.compile(r"`((?:clipjax|checkpoints_convert)(?:\.\w+)+)`")
STEP = re.compile(r"^(\d+)\. (.*)$", re.MULTILINE)


def missing(text: str) -> list[str]:
    """The dotted names of a page that cannot be imported."""
    out = []
    for name in dict.fromkeys(NAME.findall(text)):
        parts, found = name.split("."), None
        for cut in range(len(parts), 0, -1):  # the longest prefix that is a module, then its attributes
            try:
                found = importlib.import_module(".".join(parts[:cut]))
            except ModuleNotFoundError:
                continue
            for part in parts[cut:]:
                found = getattr(found, part, None)
            break
        if found is None:
            out.append(name)
    return out


def test_every_name_exists():
    assert missing(PAGE) == []


def test_a_name_that_does_not_exist_is_noticed():
    text = "`clipjax.load`, `clipjax.runs.config.loads`, `clipjax.run.config`, `clipjax.design.Design.adds`"
    assert missing(text) == ["clipjax.runs.config.loads", "clipjax.run.config", "clipjax.design.Design.adds"]


@pytest.mark.parametrize("heading", ["One image", "One config", "One weights file", "One class design"])
def test_a_walk_has_at_most_12_steps_and_names_a_function_in_each(heading):
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    steps = STEP.findall(section)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert 5 <= len(steps) <= 12
    for number, step in steps:
        assert NAME.match(step), f"{heading}, step {number}: {step}"
