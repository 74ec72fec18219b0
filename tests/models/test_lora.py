"""Low-rank adapters: what they add to a model, what is refused, and peft's files in and out."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipjax import loading
from clipjax.errors import InputError
from clipjax.models import lora, peft, weights
from clipjax.models.layers import Adapter
from clipjax.models.lowering import Lowering
from clipjax.testing import tiny_model

FORM = lora.Lora(4, 8.0, "attention+mlp+projections")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return weights.load(tiny_model(tmp_path_factory.mktemp("base") / "tiny.safetensors", layers=1))


@pytest.fixture(scope="module")
def adapters(base):
    """As after training: neither A nor B is zero."""
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=x.shape).astype(np.float32) for name, x in FORM.start(base.flat, 0).items()}


def test_adapters_add_nothing_at_the_start_and_a_product_later(base, adapters):
    start = FORM.start(base.flat, 5)
    assert len(start) == 2 * len(FORM.matrices(base.flat)) == 2 * 10
    same = lora.merged(dict(base.flat) | start, FORM.scale)
    assert all(np.array_equal(same[name], array) for name, array in base.flat.items())
    found = lora.merged(dict(base.flat) | adapters, FORM.scale)
    assert found.keys() == base.flat.keys()
    name = "visual.transformer.resblocks.0.attn.in_proj_weight"
    a, b = (adapters[f"lora.{name}.{part}"] for part in "ab")
    for part in range(3):  # queries, keys, values: each in its own columns
        columns = slice(64 * part, 64 * (part + 1))
        wanted = base.flat[name][:, columns] + 2.0 * a[part] @ b[part]
        np.testing.assert_allclose(found[name][:, columns], wanted, rtol=1e-6)
    assert np.array_equal(found["visual.conv1.weight"], base.flat["visual.conv1.weight"])


def test_dropout_is_drawn_for_each_example_and_part_alone():
    """With A and B one, what is added is the input as it is dropped."""
    x, keys, one = jnp.ones((3, 50, 40)), jax.random.split(jax.random.key(0), 3), jnp.stack([jnp.eye(40)] * 2)

    def added(which, keys, parts=range(2)):
        return np.asarray(Adapter(one, one, 2.0, 0.25, keys)(x[which], parts, Lowering()))

    found = added(slice(None), keys)
    np.testing.assert_allclose(np.unique(found), [0, 2 / 0.75], rtol=1e-6)
    assert abs((found == 0).mean() - 0.25) < 0.02  # of 12,000 numbers: five standard deviations
    first, second = found[..., :40], found[..., 40:]
    assert 0.3 < (first == second).mean() < 0.7  # masks of their own: 0.625
    for i in range(3):  # whatever else the batch holds
        assert np.array_equal(added(slice(i, i + 1), keys[i : i + 1])[0], found[i])
    assert np.array_equal(added(slice(None), keys, range(1, 2)), second)
    assert np.array_equal(added(slice(None), None), 2 * np.ones_like(found))  # an evaluation


def test_peft_files_say_the_same(base, adapters, tmp_path):
    folder = tmp_path / "adapter"
    tiny_model(tmp_path / "tiny.safetensors", layers=1)
    peft.write(folder, adapters, FORM, str(tmp_path / "tiny.safetensors"), base.config)
    found, wanted = loading.find_weights(folder).flat, lora.merged(dict(base.flat) | adapters, FORM.scale)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    said = json.loads((folder / "adapter_config.json").read_text())
    assert said["lora_dropout"] == 0.0
    peft.write(
        folder, adapters, dataclasses.replace(FORM, dropout=0.1), str(tmp_path / "tiny.safetensors"), base.config
    )
    assert loading.find_weights(folder).source["lora"] == {"rank": 4, "alpha": 8.0, "dropout": 0.1}
    assert said["target_modules"] == [
        "fc1", "fc2", "k_proj", "out_proj", "q_proj", "text_projection", "v_proj", "visual_projection",
    ]  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(said | {"use_rslora": True}))
    rooted = loading.find_weights(folder).flat["visual.proj"]
    np.testing.assert_allclose(rooted, lora.merged(dict(base.flat) | adapters, 4.0)["visual.proj"], rtol=1e-6)
    (folder / "adapter_config.json").write_text(json.dumps(said | {"use_dora": True}))
    with pytest.raises(InputError, match="use_dora: only plain LoRA is read"):
        loading.find_weights(folder)
    (folder / "adapter_config.json").write_text(json.dumps(said | {"init_lora_weights": "pissa_niter_4"}))
    with pytest.raises(InputError, match="init_lora_weights: only plain LoRA is read"):
        loading.find_weights(folder)
    (folder / "adapter_config.json").write_text(json.dumps(said | {"init_lora_weights": True, "r": 8}))
    with pytest.raises(InputError, match="not of rank 8"):
        loading.find_weights(folder)


def test_an_adapter_of_queries_alone_leaves_keys_and_values(base, adapters, tmp_path):
    folder = tmp_path / "adapter"
    peft.write(folder, adapters, FORM, "unused", base.config)
    with weights.open_tensors(folder / peft.TENSORS) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if "q_proj" in name}  # noqa: SIM118
    weights.save_tensors(folder / peft.TENSORS, tensors, {})
    found = peft.merged(folder, base).flat["transformer.resblocks.0.attn.in_proj_weight"]
    before = base.flat["transformer.resblocks.0.attn.in_proj_weight"]
    assert np.array_equal(found[:, 64:], before[:, 64:])
    assert not np.array_equal(found[:, :64], before[:, :64])
    other = dict(tensors) | {
        "base_model.model.vision_model.encoder.layers.7.self_attn.q_proj.lora_A.weight": np.ones(2)
    }
    weights.save_tensors(folder / peft.TENSORS, other, {})
    with pytest.raises(InputError, match=r"layers.7.self_attn.q_proj.*: not matrices of"):
        peft.merged(folder, base)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "above 0"),
        ({"alpha": 0.0}, "above 0"),
        ({"on": "attention+heads"}, "'heads'; choose attention"),
        ({"dropout": 1.0}, "lora.dropout=1: a share"),
        ({"dropout": -0.1}, "from 0 to below 1"),
    ],
)
def test_adapters_that_cannot_be_meant(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(FORM, **change)


def test_a_word_that_adapts_nothing_is_refused(base):
    without = {name: array for name, array in base.flat.items() if "proj" not in name or "resblocks" in name}
    assert len(dataclasses.replace(FORM, on="mlp").matrices(without)) == 4
    with pytest.raises(InputError, match="no matrices for 'projections'"):
        FORM.matrices(without)
