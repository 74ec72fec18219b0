"""`clipjax VERB --help` as a manual page: what it does, examples that the parsers take, every argument explained."""

import argparse
import importlib
import re
import shlex

import pytest
from support.docs_shell import parse

from clipjax.cli.main import main, verbs


def document(verb: str) -> str:
    return importlib.import_module(f"clipjax.cli.{verb}").__doc__


def examples(text: str) -> list[str]:
    """The indented commands of a help text; a line that ends in a backslash goes on, a # begins a comment."""
    joined = re.sub(r"\\\n\s+", " ", text)
    lines = re.findall(r"^    (clipjax .*)$", joined, re.MULTILINE)
    return [part.strip() for line in lines for part in re.split(r"\s#\s|&&", line)[:1]]


@pytest.mark.parametrize("verb", verbs())
def test_examples_are_commands(verb):
    found = examples(document(verb))
    assert any(example.startswith(f"clipjax {verb}") for example in found)
    for example in found:
        words = shlex.split(example)
        end = words.index(">") if ">" in words else len(words)
        assert parse(words[1:end]) == 0, example


@pytest.mark.parametrize("verb", verbs())
def test_every_argument_is_explained(verb):
    parser = argparse.ArgumentParser()
    importlib.import_module(f"clipjax.cli.{verb}").add_arguments(parser)
    assert [a.option_strings or a.metavar for a in parser._actions if not a.help] == []


@pytest.mark.parametrize("verb", verbs())
def test_the_first_line_says_what_it_does_and_the_last_how_it_ends(verb, capsys):
    first, *rest = document(verb).splitlines()
    assert first[0].isupper()
    assert len(first) < 121
    assert not rest[0]
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "exit status: 0 done; 1 failed" in said
    assert said.endswith("docs/reference/cli.md")
