"""The engine of a run: one model is loaded, hashed and compiled once, and two are never held."""

import dataclasses
import gc
import os
import weakref
from collections import Counter

import pytest
from support.probe_processes import argv

from clipjax import encoder, loading, parallel
from clipjax.cli.main import main
from clipjax.runs import cache_keys, config, engine, runner
from clipjax.testing import pictures, tiny_config, tiny_model


@pytest.fixture
def counted(monkeypatch):
    """How often a model was read, its parameters hashed, and a program made."""
    found = Counter()
    encoder.program.cache_clear()  # of other tests

    def count(module, name):
        real = getattr(module, name)

        def wrapped(*args, **kwargs):
            found[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, wrapped)

    for module, name in ((loading, "load"), (engine, "weights_sha256"), (parallel, "mapped")):
        count(module, name)
    return found


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A model and two folders of other images, as two data sets of one command."""
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    tiny_model(tmp_path / "tiny.safetensors")
    for seed, kind in enumerate(("folder", "imagefolder")):
        pictures(tmp_path / "photos" / kind, {"cat": 3, "dog": 3}, seed=seed)
    return tmp_path


def probe(world, kind, *more):
    own = [f"model={world}/tiny.safetensors", f"data.path={world}/photos/{kind}", "batch_size=2", *more]
    return config.load("zeroshot", [f"--config.{one}" for one in own])


ONCE = {"load": 1, "weights_sha256": 1, "mapped": 2}  # a program for images, one for texts


def test_all_data_sets_of_a_command_share_the_model(world, counted):
    assert main([*argv(world, world / "run"), "--config.data.source=folder,imagefolder"]) == 0
    assert counted == ONCE
    assert len(list((world / "run").glob("*/manifest.json"))) == 2


def test_runs_share_the_model_while_everything_about_it_is_the_same(world, counted):
    engines = engine.Engines()
    for n, kind in enumerate(("folder", "imagefolder")):
        runner.run(probe(world, kind), world / str(n), engines)
    assert counted == ONCE
    runner.run(probe(world, "folder", "batch_size=1"), world / "other-batch", engines)
    assert counted["load"] == 2
    tiny_model(world / "new.safetensors", seed=1)
    os.replace(world / "new.safetensors", world / "tiny.safetensors")
    runner.run(probe(world, "folder", "batch_size=1"), world / "other-file", engines)
    assert counted["load"] == 3
    assert counted["mapped"] == 2  # neither a batch size nor other parameters are another program


def test_text_features_are_kept_by_the_configuration_too():
    """The same parameters, read with another activation, give other features."""
    one = tiny_config()
    other = dataclasses.replace(one, text=dataclasses.replace(one.text, activation="gelu"))
    keys = {cache_keys.text_key("w", config, ["a"], "float32", "cpu") for config in (one, other)}
    assert len(keys) == 2


def test_a_model_is_let_go_before_the_next_is_loaded(world, monkeypatch):
    engines = engine.Engines()
    first = weakref.ref(engines.get(probe(world, "folder")).model)
    tiny_model(world / "other.safetensors", seed=1)
    load, held = loading.load, []

    def watched(*args, **kwargs):
        gc.collect()
        held.append(first())
        return load(*args, **kwargs)

    monkeypatch.setattr(loading, "load", watched)
    engines.get(probe(world, "folder", f"model={world}/other.safetensors"))
    assert held == [None]
