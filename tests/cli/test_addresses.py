"""A bucket's address given to any option is read as such, or refused before any work: never a folder called `gs:`."""

import argparse
import importlib
import re

import pytest

from clipjax.cli.main import main, verbs
from clipjax.errors import InputError
from clipjax.files import ADDRESSES, TEXTS, check_address, local_path
from clipjax.testing import pictures, tiny_model

ADDRESS = "gs://bucket/x"
# What a verb needs beside the option that is tried.
NEEDED = {
    "classify": ["x.png", "--classes=a,b"],
    "compare": ["a", "b"],
    "convert": ["a", "b"],
    "embed": ["--model=emoji-clip", "--out=x.npz"],
    "explore": ["a"],
    "finetune": ["lit", "--out=x"],
    "ingest": ["--predictions=x.csv", "--design=people-roles", "--out=x"],
    "interpolate": ["a", "b", "c"],
    "new": ["study", "x"],
    "panel": ["people", "--out=x"],
    "plan": ["--model=ViT-B/32", "--topology=h100:8"],
    "prepare": ["zeroshot", "--out=x"],
    "probe": ["zeroshot", "--out=x"],
    "report": ["a"],
    "rerun": ["a"],
    "shards": ["plan", "zeroshot", "--out=x"],
}
KEYS = ("cache_dir", "classes", "design", "data.split", "name", "augment.background")


def actions(verb: str) -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"clipjax.cli.{verb}").add_arguments(parser)
    takes_texts = [a for a in parser._actions if a.nargs != 0 and not a.choices and a.type is None]
    reads = {a.dest: ADDRESSES.get(f"{verb}.{a.dest}", ADDRESSES.get(a.dest, ())) for a in takes_texts}
    return [a for a in takes_texts if a.dest not in TEXTS and "gs" not in reads[a.dest]]


def positionals(verb: str) -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"clipjax.cli.{verb}").add_arguments(parser)
    return [a.dest for a in parser._actions if not a.option_strings]


def cases() -> list[tuple[str, ...]]:
    out: list[tuple[str, ...]] = []
    for verb in verbs():
        needed = NEEDED.get(verb, [])
        found = actions(verb)
        positional = positionals(verb)
        for action in found:
            if action.option_strings:
                out.append((verb, *needed, f"{action.option_strings[-1]}={ADDRESS}"))
            elif action.dest != "config":
                words, at = list(needed), positional.index(action.dest)
                out.append((verb, *words[:at], ADDRESS, *words[at + 1 :]))
        if getattr(importlib.import_module(f"clipjax.cli.{verb}"), "TAKES_OVERRIDES", False):
            out += [(verb, *needed, f"--config.{key}={ADDRESS}") for key in KEYS]
            out.append((verb, *needed, "--config.cache_dir", ADDRESS))
    return out


@pytest.mark.parametrize("words", cases(), ids=" ".join)
def test_every_option_of_every_verb_refuses_a_bucket_before_any_work(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "gs://bucket/x: gs:// addresses are not read or written here; give a local path" in err
    assert list(tmp_path.iterdir()) == []


def test_the_walk_sees_the_options_that_write():
    found = {(words[0], words[-1].partition("=")[0]) for words in cases()}
    assert {(v, "--out") for v in ("probe", "finetune", "report", "compare", "prepare", "demo")} <= found
    assert not {("shards", "--out"), ("embed", "--out")} & found, "these write to buckets"
    assert ("convert", ADDRESS) in {(words[0], words[2]) for words in cases() if len(words) > 2}


@pytest.mark.parametrize("option", ["--config.data.path", "--config.data.csv", "--config.model"])
def test_what_reads_buckets_is_asked_itself(option, tmp_path, monkeypatch, capsys):
    """data.* read buckets (here the driver is missing, or the bucket); a model's address is the hub's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    address = "hf://org/name" if option == "--config.model" else "xx://bucket/x"
    tiny_model(tmp_path / "tiny.safetensors")
    pictures(tmp_path / "photos", {"a": 1, "b": 1})
    assert main(["probe", "zeroshot", "--out=x", "--config.data.path=photos", f"{option}={address}"]) == 1
    assert not (tmp_path / "xx:").exists()
    assert not (tmp_path / "hf:").exists()


@pytest.mark.parametrize("name", ["CLIPJAX_CACHE", "CLIPJAX_COMPILATION_CACHE"])
def test_the_caches_of_the_environment_refuse_them_too(name, monkeypatch):
    from clipjax import compilation, download

    monkeypatch.setenv(name, ADDRESS)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    with pytest.raises(InputError, match=f"{name}=gs://bucket/x"):
        download.cache_dir() if name == "CLIPJAX_CACHE" else compilation.keep_programs()


def test_what_is_an_address_and_what_is_a_path(tmp_path):
    for text in (
        "s3://b/x",
        "GS://b/x",
        "gs:/b/x",
        "hf://org/name",
        "https://x.org/a.png",
        "abfs://c@a/x",
        "file:///x",
    ):
        with pytest.raises(InputError, match="addresses are not"):
            check_address(text, "--out")
    for text in ("C:/x", r"C:\x", "a:b", "py:/x/model.py:arg", "runs/gs:", "./gs://x", "-", ""):
        assert str(local_path(text, "--out")) == str(type(tmp_path)(text))
    for name in ("model", "src", "before", "after", "file"):
        check_address("hf://org/name", name, ADDRESSES[name])
    with pytest.raises(InputError, match="give a local path or hf://"):
        check_address("s3://b/x", "--model", ADDRESSES["model"])


def test_a_file_address_is_refused_with_the_path_that_works(tmp_path):
    with pytest.raises(InputError) as error:
        check_address(f"file://{tmp_path}", "--out")
    found = re.search(r"--out=(\S+)$", str(error.value))
    assert found
    assert local_path(found[1], "--out") == tmp_path
