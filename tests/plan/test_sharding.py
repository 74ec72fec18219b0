"""Where every parameter lies, per model and topology, as the snapshot has it; and that programs really lay it so.

A changed rule shows here as a diff of names: look at it, then `python tests/golden/make_sharding.py`.
"""

import importlib.util
import json
from pathlib import Path

import jax
import pytest
from jax.sharding import AbstractMesh, AxisType

from clipjax.models import catalog, clip
from clipjax.plan import programs
from clipjax.train import optimiser, step

GOLDEN = Path(__file__).parents[1] / "golden"
_spec = importlib.util.spec_from_file_location("make_sharding", GOLDEN / "make_sharding.py")
make_sharding = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_sharding)
SNAPSHOT = json.loads((GOLDEN / "sharding.json").read_text())


@pytest.mark.parametrize("name", catalog.names())
def test_every_parameter_lies_where_the_snapshot_says(name):
    assert make_sharding.snapshot(name) == SNAPSHOT[name]


@pytest.mark.parametrize("name", catalog.names())
def test_the_snapshot_speaks_of_every_parameter(name):
    """Counted through the patterns: one whole tree per topology."""
    total = len(clip.shapes(catalog.get(name).config))
    for row in SNAPSHOT[name]:
        if row["where"][0].startswith("training"):
            labels = [label for labels in row["specs"].values() for label in labels]
            assert sum(int(x.split("(")[1][:-1]) if "(" in x else 1 for x in labels) == total


@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_a_training_state_lies_as_its_parameters(name):
    """2 x 4 devices: parameters and both moments under the specs of a mesh with four chips to a copy."""
    config = catalog.get(name).config
    mesh = AbstractMesh((2, 4), ("data", "fsdp"), (AxisType.Auto,) * 2)
    recipe = optimiser.Options(steps=10, learning_rate=1e-5)
    state = programs.abstract_state(config, step.Options(), recipe, mesh)
    want = make_sharding.layouts(name)["training v5e:4x4"]
    laid = {k: make_sharding.written(v.sharding.spec) for k, v in (state["params"] | state["fixed"]).items()}
    assert laid == want
    moments = [x for x in jax.tree_util.tree_leaves_with_path(state["optimizer"]) if x[1].ndim]
    assert len(moments) == 2 * len(state["params"]) - 2  # logit_scale's are scalars
    for path, leaf in moments:
        assert make_sharding.written(leaf.sharding.spec) == want[path[-1].key]


@pytest.mark.parametrize("name", catalog.names())
def test_what_is_cut_is_most_of_the_model(name):
    """fsdp would be pointless otherwise: with 16 chips to a copy each holds less than a tenth."""
    shapes = clip.flatten(clip.abstract(catalog.get(name).config))
    cut = make_sharding.layouts(name)["training v5e:16x16"]
    held = sum(x.size / (16 if cut[k] else 1) for k, x in shapes.items())
    assert held < 0.1 * sum(x.size for x in shapes.values())
