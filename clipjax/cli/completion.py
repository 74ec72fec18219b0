"""Print a completion script for your shell: verbs, flags, config keys, models, designs and data sets.

    clipjax completion bash > ~/.local/share/bash-completion/completions/clipjax
    clipjax completion zsh > ~/.zfunc/_clipjax            # with fpath+=(~/.zfunc) before compinit
    clipjax completion fish > ~/.config/fish/completions/clipjax.fish

The script is of this version: print it again after an update. Completion itself starts no Python.
"""

# Written by hand, because values follow an equals sign here (--config.design=NAME): the bash script of shtab 1.13
# offers none there. argcomplete starts Python at every TAB, and reading all parsers and configs takes 3 s.

from __future__ import annotations

import argparse
import dataclasses
import importlib
import shlex
from collections.abc import Sequence
from typing import Any

SHELLS = ("bash", "zsh", "fish")


@dataclasses.dataclass(frozen=True)
class Flag:
    """`--name`, whether a value follows it, and what that may be; without a list it is a file or free text."""

    name: str
    takes_value: bool
    values: tuple[str, ...] = ()
    help: str = ""


@dataclasses.dataclass(frozen=True)
class Verb:
    """A verb with its flags, and what its positional arguments may be."""

    name: str
    summary: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...]  # values of positional arguments; files where there are none


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax completion`."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that the script is for")


def run(args: argparse.Namespace) -> None:
    """Prints the script, made from every verb's own parser and every shipped config."""
    print({"bash": bash, "zsh": zsh, "fish": fish}[args.shell](known()), end="")


def known() -> list[Verb]:
    """Every verb with its flags, from the parsers themselves."""
    from clipjax.cli.main import verbs
    from clipjax.data import catalog
    from clipjax.runs import config

    words: dict[str, tuple[str, ...]] = {"completion": SHELLS, "datasets": tuple(catalog.names())}
    found = []
    for name in verbs():
        module = importlib.import_module(f"clipjax.cli.{name}")
        parser = argparse.ArgumentParser(prog=f"clipjax {name}")
        module.add_arguments(parser)
        flags = [flag for action in parser._actions for flag in _flags(action)]
        if getattr(module, "TAKES_OVERRIDES", False):
            kind = config.KINDS.get(name, "probes")
            flags += _keys(kind)
            if any(action.dest == "config" for action in parser._actions):
                words[name] = tuple(config.shipped(kind))
        summary = (module.__doc__ or "").strip().splitlines()[0]
        found.append(Verb(name, summary, tuple(flags), words.get(name, ())))
    return found


def _flags(action: argparse.Action) -> list[Flag]:
    takes = action.nargs != 0
    values = tuple(str(c) for c in action.choices or ()) or _values(action.dest)
    return [Flag(o, takes, values, action.help or "") for o in action.option_strings if o.startswith("--")]


def _keys(kind: str) -> list[Flag]:
    """`--config.key=` of every key that any shipped config of the kind has."""
    from ml_collections import ConfigDict

    from clipjax.runs import config

    found: dict[str, Flag] = {}

    def walk(part: Any, prefix: str) -> None:
        for key, value in part.items():
            if isinstance(value, ConfigDict) and len(value):
                walk(value, f"{prefix}{key}.")
            elif key not in ("probe", "verb"):
                values = ("True", "False") if isinstance(value, bool) else _values(key)
                found.setdefault(f"{prefix}{key}", Flag(f"{prefix}{key}", True, values))

    for name in config.shipped(kind):
        walk(config.load(name, [], kind), "--config.")
    return list(found.values())


def _values(name: str) -> tuple[str, ...]:
    """What a flag or key of this name takes, where that is a list."""
    from clipjax import design
    from clipjax.models import catalog

    if name == "model":
        return (*catalog.names(), "emoji-clip")
    return tuple(design.shipped()) if name == "design" else ()


def bash(verbs: Sequence[Verb]) -> str:
    """For bash 4 and newer. Values hold its word breaks (: @ =), so the line is read instead of COMP_WORDS."""
    cases = "\n".join(
        f"    {v.name}) flags={shlex.quote(' '.join(f.name + '=' * f.takes_value for f in v.flags))}"
        f" words={shlex.quote(' '.join(v.words))};;"
        for v in verbs
    )
    values = "\n".join(
        f"      {verb}:{flag.name}) values={shlex.quote(' '.join(flag.values))};;" for verb, flag in _with_values(verbs)
    )
    return f"""\
# bash completion for clipjax; made by `clipjax completion bash`
_clipjax() {{
  local line=${{COMP_LINE:0:COMP_POINT}} flags="" words="" values="" verb cur flag head
  read -r _ verb _ <<< "$line"
  cur=${{line##*[[:space:]]}}
  COMPREPLY=()
  if [[ $line != *[[:space:]]*[[:space:]]* ]]; then
    COMPREPLY=($(compgen -W {shlex.quote(" ".join(v.name for v in verbs))} -- "$cur"))
    return
  fi
  case $verb in
{cases}
  esac
  if [[ $cur == --*=* ]]; then
    flag=${{cur%%=*}} cur=${{cur#*=}}
    case $verb:$flag in
{values}
    esac
    head=${{cur%"${{cur##*[:@]}}"}}
    if [[ $values ]]; then COMPREPLY=($(compgen -W "$values" -- "$cur")); else
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
    COMPREPLY=("${{COMPREPLY[@]#"$head"}}")
  elif [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    [[ ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace 2>/dev/null
  elif [[ $words ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  else
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  fi
}}
complete -F _clipjax clipjax
"""


def zsh(verbs: Sequence[Verb]) -> str:
    """For zsh with compinit."""
    names = "\n".join(f"    {shlex.quote(f'{v.name}:{v.summary}')}" for v in verbs)
    cases = "\n".join(
        f"    {v.name}) plain=({' '.join(f.name for f in v.flags if not f.takes_value)})"
        f" valued=({' '.join(f.name + '=' for f in v.flags if f.takes_value)}) words_=({' '.join(v.words)});;"
        for v in verbs
    )
    values = "\n".join(
        f"      {verb}:{flag.name}) compadd -- {' '.join(flag.values)};;" for verb, flag in _with_values(verbs)
    )
    return f"""\
#compdef clipjax
# made by `clipjax completion zsh`
_clipjax() {{
  local verb=$words[2] flag
  local -a verbs plain valued words_
  verbs=(
{names}
  )
  if (( CURRENT == 2 )); then _describe verb verbs; return; fi
  case $verb in
{cases}
  esac
  if [[ $PREFIX == --*=* ]]; then
    flag=${{PREFIX%%=*}}
    compset -P '*='
    case $verb:$flag in
{values}
      *) _files;;
    esac
  elif [[ $PREFIX == -* ]]; then
    compadd -- $plain
    compadd -S '' -- $valued
  elif (( $#words_ )); then
    compadd -- $words_
  else
    _files
  fi
}}
if [[ $funcstack[1] == _clipjax ]]; then _clipjax "$@"; else compdef _clipjax clipjax; fi
"""


def fish(verbs: Sequence[Verb]) -> str:
    """For fish 3 and newer."""
    lines = ["# made by `clipjax completion fish`"]
    for verb in verbs:
        lines.append(f"complete -c clipjax -n __fish_use_subcommand -f -a {verb.name} -d {_fish(verb.summary)}")
        when = f"-n '__fish_seen_subcommand_from {verb.name}'"
        if verb.words:
            lines.append(f"complete -c clipjax {when} -f -a {_fish(' '.join(verb.words))}")
        for flag in verb.flags:
            value = f" -x -a {_fish(' '.join(flag.values))}" if flag.values else " -r -F" if flag.takes_value else ""
            description = f" -d {_fish(flag.help)}" if flag.help else ""
            lines.append(f"complete -c clipjax {when} -l {flag.name.removeprefix('--')}{value}{description}")
    return "\n".join(lines) + "\n"


def _with_values(verbs: Sequence[Verb]) -> list[tuple[str, Flag]]:
    return [(verb.name, flag) for verb in verbs for flag in verb.flags if flag.values]


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
