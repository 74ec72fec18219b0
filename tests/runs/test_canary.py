"""The canary: a program, a device or a memory that computes something else stops the run before a number is written."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from support.probe_processes import argv

from clipjax import encoder
from clipjax.cli.main import main
from clipjax.models import clip
from clipjax.runs import canary, numpy_reference

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))


def wrong(monkeypatch, **changed):
    """The encoder's programs are built from another `clip` than the canary's reference, and kept for no other test."""
    same = {k: v for k, v in vars(clip).items() if not k.startswith("__")}
    monkeypatch.setattr(encoder, "clip", SimpleNamespace(**same | changed))
    monkeypatch.setattr(encoder, "program", encoder.program.__wrapped__)


def stops(world, tmp_path, capsys, *words):
    assert main(argv(world, tmp_path / "run")) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(word in error for word in words), error
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("factor", [0.99, -1.0])
def test_a_program_that_computes_something_else_stops_the_run(world, tmp_path, capsys, monkeypatch, factor):
    wrong(monkeypatch, apply_image=lambda *a, **k: clip.apply_image(*a, **k) * factor)
    stops(world, tmp_path, capsys, "chelsea.jpg", "operation by operation", "no number was written")


def test_so_does_a_text_encoder(world, tmp_path, capsys, monkeypatch):
    wrong(monkeypatch, apply_text=lambda *a, **k: clip.apply_text(*a, **k)[:, ::-1])
    stops(world, tmp_path, capsys, "a text that every run computes")


def test_one_device_that_is_a_bit_off_is_named(world, tmp_path, capsys, monkeypatch):
    def apply_image(*args, **kwargs):
        out = clip.apply_image(*args, **kwargs)
        return out + (jax.lax.axis_index("data") == 3) * 1e-6 * abs(out).max()

    wrong(monkeypatch, apply_image=apply_image)
    stops(world, tmp_path, capsys, "local device 3 gives other features than device 0")


def test_weights_that_changed_on_their_way_to_the_devices_stop_the_run(world, tmp_path, capsys, monkeypatch):
    place = encoder.Encoder._on_devices

    def flipped(self, flat):
        name = next(k for k in flat if k.endswith("attn.in_proj_weight"))
        return place(self, flat | {name: np.roll(flat[name], 1, axis=0)})

    monkeypatch.setattr(encoder.Encoder, "_on_devices", flipped)
    stops(world, tmp_path, capsys, "operation by operation")


@pytest.mark.parametrize(
    "more", [(), pytest.param(("--config.batch_size=1",), marks=pytest.mark.exhaustive), ("--config.mapping=pmap",)]
)
def test_the_reference_is_computed_once_per_weights_and_costs_no_picture(world, tmp_path, monkeypatch, more):
    made = []
    real = numpy_reference.evaluate
    monkeypatch.setattr(numpy_reference, "evaluate", lambda *a: made.append(1) or real(*a))
    assert main([*argv(world, tmp_path / "a"), *more]) == 0
    assert len(made) == 2  # a picture and a text
    assert main([*argv(world, tmp_path / "b"), *more, "--config.data.limit=30", "--config.seed=1"]) == 0
    assert main([*argv(world, tmp_path / "c"), *more, "--config.precision=bfloat16"]) == 0
    assert len(made) == 2


@pytest.mark.exhaustive  # `clipjax demo` holds the same against 1e-4
def test_the_embedded_answers_are_what_the_embedded_weights_give():
    """Up to float32's rounding on another CPU; programs on one are at most 3e-6 away (`canary.FLOAT32`)."""
    made = runpy.run_path(str(ROOT / "experiments" / "emoji_clip" / "make_canary.py"))["computed"]()
    shipped = canary.embedded()
    assert made.keys() == shipped.keys()
    assert len(made) == 4  # two features, two texts
    for key, value in made.items():
        assert np.linalg.norm(value - shipped[key]) <= 1e-5 * np.linalg.norm(value)
