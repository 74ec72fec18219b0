"""Completion in the shells themselves: what a user has typed, and what is offered."""

import shutil
import subprocess

import pytest

from clipjax.cli import completion
from clipjax.cli.main import main, verbs

ASK = {
    "bash": """
source {script}
COMP_LINE={line!r} COMP_POINT=${{#COMP_LINE}} COMP_WORDS=({line}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_clipjax
printf '%s\\n' "${{COMPREPLY[@]}}"
""",
    "fish": "source {script}; complete -C {line!r}",
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    found = completion.known()
    for shell in completion.SHELLS:
        (folder / shell).write_text(getattr(completion, shell)(found))
    return folder


def offered(scripts, shell: str, line: str) -> set[str]:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    command = ASK[shell].format(script=scripts / shell, line=line)
    done = subprocess.run([shell, "-c", command], capture_output=True, text=True, cwd=scripts, check=True)
    return {text.split("\t")[0].rpartition("=")[2] or text.split("\t")[0] for text in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_what_is_offered(scripts, shell):
    assert set(verbs()) <= offered(scripts, shell, "clipjax ")
    assert offered(scripts, shell, "clipjax cl") == {"classify"}
    assert {"fairface", "rates", "zeroshot"} <= offered(scripts, shell, "clipjax probe ")
    assert offered(scripts, shell, "clipjax convert a b --to=") == {"clipjax", "openai", "huggingface", "open_clip"}
    assert {"ViT-B/32", "emoji-clip"} <= offered(scripts, shell, "clipjax classify --model=")
    assert "fairface-child" in offered(scripts, shell, "clipjax probe rates --config.design=fair")
    assert "food101" in offered(scripts, shell, "clipjax datasets foo")
    assert {"bash", "zsh", "fish"} == offered(scripts, shell, "clipjax report ")  # files: the scripts


def test_flags_of_bash_take_their_equals_sign(scripts):
    assert "--config.data.group_columns=" in offered_whole(scripts, "clipjax probe rates --config.data.g")
    assert offered_whole(scripts, "clipjax classify --js") == ["--json"]
    assert offered_whole(scripts, "clipjax classify --model=ViT-L/14@") == ["336px"]  # @ breaks words


def offered_whole(scripts, line: str) -> list[str]:
    command = ASK["bash"].format(script=scripts / "bash", line=line)
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_scripts_are_valid(scripts, shell, capsys):
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == (scripts / shell).read_text()
    if shutil.which(shell):
        flag = "--no-execute" if shell == "fish" else "-n"
        subprocess.run([shell, flag, scripts / shell], check=True)
