"""The update: the same on every layout, frozen where it should be, and each optax piece where it belongs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from clipjax import parallel
from clipjax.errors import InputError
from clipjax.models import catalog, clip, lora
from clipjax.train import losses, optimiser, step

RECIPE = optimiser.Options(steps=10, learning_rate=1e-3, warmup=2)


START, END = 510, 511  # token ids


def configuration(kind):
    """One block an encoder: the compiler takes as long as there are blocks. `deep` has two, `resnet` one a stage."""
    image = catalog.resnet(64, 8, (1, 1, 1, 1)) if kind == "resnet" else catalog.vit(32, 8, 64, 1 + (kind == "deep"))
    return catalog.openai(32, image, catalog.text(64, layers=1 + (kind == "deep"), vocab_size=END + 1))


@functools.cache
def model(kind="vit"):
    return clip.init(configuration(kind), jax.random.key(0))


def batch(kind="vit", n=16, seed=0):
    rng = np.random.default_rng(seed)
    size = configuration(kind).image.image_size
    tokens = np.zeros((n, 8), np.int32)
    tokens[:, 0], tokens[:, 1:4], tokens[:, 4] = START, rng.integers(1, START, (n, 3)), END
    pixels = rng.integers(0, 256, (n, size, size, 3)).astype(np.uint8)
    return {"pixels": pixels, "tokens": tokens, "ids": np.arange(n, dtype=np.int32) // 2}


def runs(options=None, recipe=RECIPE, *, kind="vit", devices=1, fsdp=1, updates=2, n=16):
    """State and metrics after each update, of one program."""
    options = options or step.Options()
    mesh = parallel.training_mesh(fsdp, jax.devices()[:devices])
    state = step.start(model(kind), options, recipe, mesh)
    update = step.make(configuration(kind), options, recipe, state, mesh)
    for i in range(updates):
        state, metrics = update(state, batch(kind, n, i))
        yield jax.device_get(state), jax.device_get(metrics)


def run(*args, **options):
    """State and metrics at the end."""
    return list(runs(*args, **options))[-1]


@functools.cache
def alone(options=None, kind="vit"):
    return run(options, kind=kind)


def check_equal(found, wanted, atol=1e-6):
    """Adam divides by the root of squares: rounding of 1e-7 in a small gradient moves a parameter by up to 1e-6."""
    np.testing.assert_allclose(found[1]["loss"], wanted[1]["loss"], rtol=1e-5)
    for part in ("params", "ema"):
        for name, value in wanted[0][part].items():
            np.testing.assert_allclose(found[0][part][name], value, rtol=0, atol=atol, err_msg=name)


REPEATED = ("softmax", "sigmoid", "ring_softmax")  # tests/train/test_losses has every loss on a mesh


@pytest.mark.parametrize(
    "loss", [pytest.param(loss, marks=[pytest.mark.exhaustive] * (loss in REPEATED)) for loss in step.LOSSES]
)
def test_the_same_update_on_a_mesh_in_parts_and_rematerialised(loss):
    wanted = alone(step.Options(loss.removeprefix("ring_"), ema=0.9, soft_targets=True))
    options = step.Options(loss, accumulation_steps=2, ema=0.9, soft_targets=True, remat="full")
    check_equal(run(options, devices=4, fsdp=2), wanted, 2e-5)


def test_resnets_keep_their_statistics():
    state, _ = alone(kind="resnet")
    statistics = set(state["fixed"])
    assert statistics == {n for n in clip.flatten(model("resnet")) if "running_" in n}
    assert len(statistics) > 10
    moved = [n for n, x in state["params"].items() if not np.array_equal(x, clip.flatten(model("resnet"))[n])]
    assert "visual.layer1.0.bn3.weight" in moved  # gains learn; a new block is the identity up to this one


@pytest.mark.exhaustive  # tests/models/test_lowering.py has the gradient of each
@pytest.mark.parametrize("remat", ["dots", "full"])
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_rematerialisation_changes_memory_and_not_values(kind, remat):
    check_equal(run(step.Options(remat=remat), kind=kind), alone(kind=kind), 2e-5)


@pytest.mark.exhaustive
def test_one_block_for_all_layers_gives_the_same_values():
    check_equal(run(step.Options(scan=True, remat="full"), kind="deep"), alone(kind="deep"), 2e-5)


def test_locked_image_encoder():
    """LiT (Zhai et al. 2022): neither gradient, nor decay, nor moments touch what is frozen."""
    state, _ = run(recipe=optimiser.Options(steps=10, learning_rate=1e-2, freeze=(r"^visual\.",)))
    before = clip.flatten(model())
    assert all(np.array_equal(state["fixed"][n], before[n]) for n in before if n.startswith("visual."))
    assert not any("visual" in jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state["optimizer"]))
    assert not np.array_equal(state["params"]["text_projection"], before["text_projection"])


def test_tuning_few_parameters_leaves_all_others():
    flat = clip.flatten(model("deep"))
    for tune, some, count in (
        ("projections", "visual.proj", 2), ("biases", "ln_final.bias", 27), ("norms", "visual.ln_pre.weight", 22),
        ("last_blocks:1", "transformer.resblocks.1.mlp.c_fc.bias", 30),
    ):  # fmt: skip
        which = optimiser.trainable(flat, tune=tune)
        trained = [name for name, yes in which.items() if yes and name != "logit_scale"]
        assert some in trained
        assert which["logit_scale"]
        assert not which["token_embedding.weight"]
        assert not which["visual.transformer.resblocks.0.mlp.c_fc.weight"]
        assert len(trained) == count, (tune, len(trained))
    for tune in ("lorra", "last_blocks:", "last_blocks:0", "biases:2"):
        with pytest.raises(InputError, match="choose full"):
            optimiser.trainable(flat, tune=tune)
    with pytest.raises(InputError, match="leaves nothing to train with tune=projections"):
        optimiser.trainable(flat, ("proj",), "projections")


@pytest.mark.exhaustive
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_adapters_are_trained_alike_on_a_mesh_in_parts_and_nothing_else_is(dropout):
    form = lora.Lora(2, 4.0, "attention+mlp+projections", dropout)
    params = clip.unflatten(clip.flatten(model("deep")) | form.start(clip.flatten(model("deep")), 0))
    recipe = dataclasses.replace(RECIPE, tune="lora", warmup=0)

    def trained(devices, **more):
        options = step.Options(adapters=form, **{"seed": 3} | more)
        mesh = parallel.training_mesh(devices // 2 or 1, jax.devices()[:devices])
        state = step.start(params, options, recipe, mesh)
        update = step.make(configuration("deep"), options, recipe, state, mesh)
        for i in range(2):
            state, metrics = update(state, batch("deep", 16, i))
        measure = step.measure(configuration("deep"), options, state, mesh, False)
        return jax.device_get(state), metrics, float(measure(state, batch("deep", 16, 9)))

    found, wanted = trained(4, accumulation_steps=2, remat="full", scan=True), trained(1)
    np.testing.assert_allclose(found[2], wanted[2], rtol=1e-5)
    merged = lora.merged(wanted[0]["params"] | wanted[0]["fixed"], form.scale)
    tokens, pixels = batch("deep", 16, 9)["tokens"], batch("deep", 16, 9)["pixels"]
    spec = configuration("deep").pixels
    pixels = ((pixels / np.float32(255) - np.float32(spec.mean)) / np.float32(spec.std)).astype(np.float32)
    image, text = (
        clip.normalise(clip.apply_image(configuration("deep"), clip.unflatten(merged), pixels)),
        clip.normalise(clip.apply_text(configuration("deep"), clip.unflatten(merged), tokens)),
    )  # nothing is dropped in an evaluation, which sees the matrices that are exported
    np.testing.assert_allclose(losses.softmax(image, text, jnp.exp(merged["logit_scale"])), wanted[2], rtol=1e-5)
    assert (trained(1, seed=4)[1]["loss"] != wanted[1]["loss"]) == bool(dropout)
    assert {n for n in wanted[0]["params"] if not n.startswith("lora.")} == {"logit_scale"}
    assert all(np.abs(x).max() > 0 for n, x in wanted[0]["params"].items() if n.endswith(".b"))
    np.testing.assert_allclose(found[1]["loss"], wanted[1]["loss"], rtol=1e-5)
    for name, value in wanted[0]["params"].items():
        np.testing.assert_allclose(found[0]["params"][name], value, rtol=0, atol=2e-5, err_msg=name)


def test_average_and_metrics():
    (first, metrics), (second, later) = runs(step.Options(ema=0.9))
    before = clip.flatten(model())
    name = "text_projection"
    assert metrics["learning_rate"] == 0  # the warm-up starts there, so only the second update moves anything
    np.testing.assert_array_equal(first["params"][name], before[name])
    assert later["learning_rate"] == pytest.approx(RECIPE.learning_rate / 2)
    assert later["gradient_norm"] > 0
    assert int(second["step"]) == 2
    assert np.abs(second["params"][name] - before[name]).max() > 1e-4
    np.testing.assert_allclose(second["ema"][name], 0.9 * before[name] + 0.1 * second["params"][name], atol=1e-7)


def test_a_moving_average_that_starts_slowly():
    (first, _), (second, _) = runs(step.Options(ema=0.9, ema_warmup=True))
    name, before = "text_projection", clip.flatten(model())
    average = before[name]
    for t, state in enumerate((first, second)):
        decay = min(0.9, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * state["params"][name]
        np.testing.assert_allclose(state["ema"][name], average, atol=1e-7)


@pytest.mark.exhaustive
def test_batch_statistics_are_those_of_the_whole_batch_on_any_devices():
    """Normalised by the batch, whose statistics the running ones follow; a batch in parts is refused."""
    options = step.Options(batch_statistics=True)
    found, wanted = run(options, kind="resnet", devices=4), run(options, kind="resnet")
    check_equal(found, wanted, 2e-5)
    before = clip.flatten(model("resnet"))
    for name, value in wanted[0]["fixed"].items():
        assert not np.array_equal(value, before[name]), name
        np.testing.assert_allclose(found[0]["fixed"][name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    with pytest.raises(InputError, match="parts=1 and remat=none"):
        step.Options(batch_statistics=True, accumulation_steps=2)


def test_bfloat16_encoders_keep_float32_parameters():
    state, metrics = run(step.Options(dtype="bfloat16"))
    assert {x.dtype for x in state["params"].values()} == {np.dtype(np.float32)}
    assert metrics["loss"] == pytest.approx(alone()[1]["loss"], rel=0.02)


def test_runs_of_one_recipe_share_their_program_and_others_do_not():
    def made(seed=0, devices=1, options=None, **changed):
        options, recipe = options or step.Options(), dataclasses.replace(RECIPE, **changed)
        mesh = parallel.training_mesh(1, jax.devices()[:devices])
        state = step.start(clip.init(configuration("vit"), jax.random.key(seed)), options, recipe, mesh)
        return step.make(configuration("vit"), options, recipe, state, mesh)

    assert made() is made(seed=1)
    others = (made(devices=2), made(options=step.Options(ema=0.5)), made(freeze=("^visual",)), made(learning_rate=1.0))
    assert len({made(), *others}) == 5


def test_parameters_and_moments_are_cut_alike():
    mesh = parallel.training_mesh(4)
    state = step.start(model(), step.Options(ema=0.5), RECIPE, mesh)
    name = "transformer.resblocks.0.mlp.c_fc.weight"
    moments = next(part for part in state["optimizer"] if hasattr(part, "mu"))
    for leaf in (state["params"][name], state["ema"][name], moments.mu[name], moments.nu[name]):
        assert leaf.sharding.spec == jax.sharding.PartitionSpec(None, "fsdp")
        assert leaf.addressable_shards[0].data.shape[1] == leaf.shape[1] // 4


def test_clamped_scale():
    recipe = optimiser.Options(steps=10, learning_rate=10.0)
    _, metrics = run(recipe=recipe, updates=3)
    assert metrics["logit_scale"] <= 100.0001


def test_conventions_of_warm_up_decay_and_scale():
    first = optimiser.schedule(dataclasses.replace(RECIPE, warmup=4, warmup_from="first"))
    zero = optimiser.schedule(dataclasses.replace(RECIPE, warmup=4))
    np.testing.assert_allclose([first(t) for t in range(4)], [2.5e-4, 5e-4, 7.5e-4, 1e-3], rtol=1e-6)
    np.testing.assert_allclose([zero(t) for t in range(4)], [0, 2.5e-4, 5e-4, 7.5e-4], rtol=1e-6)
    assert [float(first(t)) for t in (4, 7, 10)] == [float(zero(t)) for t in (4, 7, 10)]
    names = ["positional_embedding", "visual.class_embedding", "visual.proj", "ln_final.weight", "logit_scale"]
    assert list(optimiser.decayed(names).values()) == [False, False, True, False, False]
    assert list(optimiser.decayed(names, optimiser.MATRICES).values()) == [True, False, True, False, False]
    assert losses.clamp(jnp.float32(-1.0), 1.0) == 0
    assert losses.clamp(jnp.float32(-1.0)) == -1
    with pytest.raises(InputError, match="zero or first"):
        optimiser.schedule(dataclasses.replace(RECIPE, warmup_from="one"))


def test_schedules_by_name():
    def rates(name, **more):
        found = optimiser.schedule(optimiser.Options(10, 1.0, warmup=2, schedule=name, **more))
        return [float(found(t)) for t in (0, 1, 2, 6, 10)]

    np.testing.assert_allclose(rates("linear", final=0.2), [0, 0.5, 1, 0.6, 0.2], rtol=1e-6)
    np.testing.assert_allclose(rates("constant"), [0, 0.5, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(rates("cosine"), [0, 0.5, 1, 0.5, 0], atol=1e-6)
    with pytest.raises(InputError, match="choose cosine, linear, constant"):
        rates("step")
    with pytest.raises(InputError, match='nearest: "adamw"'):
        optimiser.make(model(), dataclasses.replace(RECIPE, name="adam"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", optimiser.OPTIMIZERS)
def test_every_optimizer_learns_alike_on_a_mesh_and_its_moments_are_of_its_kind(name):
    recipe = dataclasses.replace(RECIPE, name=name, warmup=0)
    wanted, found = run(recipe=recipe, updates=3), run(recipe=recipe, devices=4, fsdp=2, updates=3)
    np.testing.assert_allclose(found[1]["loss"], wanted[1]["loss"], rtol=1e-4)
    # Signs and norms make whole steps of a gradient that is only rounding, which all of it is for the bias of keys.
    compared = [n for n in wanted[0]["params"] if not n.endswith("in_proj_bias")]
    apart = [np.abs(found[0]["params"][n] - wanted[0]["params"][n]).reshape(-1) > 5e-5 for n in compared]
    assert np.concatenate(apart).mean() < 1e-3
    before, name_of = clip.flatten(model()), "transformer.resblocks.0.mlp.c_fc.weight"
    step_of = np.abs(wanted[0]["params"][name_of] - before[name_of])
    assert 0 < step_of.max() < 5e-3  # three updates of a rate of 1e-3, and decay
    moments = {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(wanted[0]["optimizer"])}
    squares = any(".nu" in path and name_of in path for path in moments)
    assert squares == (name == "adamw")  # Lion has none, Adafactor rows and columns, Muon none for hidden matrices


def test_learning_rate_factors():
    params = model("deep")
    names = clip.flatten(params)
    options = optimiser.Options(
        steps=10, learning_rate=1.0, layer_decay=0.5, multipliers=((r"^visual\.proj$", 3.0), (r"^visual\.", 0.1))
    )
    found = optimiser.factors(params, options)
    assert found["visual.proj"] == 3.0
    assert found["visual.transformer.resblocks.1.ln_1.bias"] == pytest.approx(0.1 * 0.5)
    assert found["visual.transformer.resblocks.0.ln_1.bias"] == pytest.approx(0.1 * 0.25)
    assert found["visual.conv1.weight"] == pytest.approx(0.1 * 0.125)
    assert found["token_embedding.weight"] == pytest.approx(0.125)
    assert found["logit_scale"] == 1
    assert found.keys() == names.keys()


def test_factors_decay_and_clipping_reach_the_update():
    """Against AdamW written out for one parameter."""
    recipe = optimiser.Options(
        steps=10, learning_rate=0.1, weight_decay=0.3, clip_norm=1.0, multipliers=(("^text_projection$", 0.5),)
    )
    params = model()
    flat = clip.flatten(params)
    optimizer = optimiser.make(params, recipe)
    gradient = {n: jnp.full_like(x, 0.01) for n, x in flat.items()}
    updates, _ = jax.jit(lambda *given: optimizer.update(given[0], optimizer.init(given[1]), given[1]))(gradient, flat)
    norm = np.sqrt(sum(0.01**2 * x.size for x in flat.values()))
    g = 0.01 / norm
    direction = g / (g + recipe.eps)  # the first step of Adam, bias-corrected
    wanted = -0.1 * 0.5 * (direction + 0.3 * flat["text_projection"])
    np.testing.assert_allclose(updates["text_projection"], wanted, rtol=1e-4)
    np.testing.assert_allclose(updates["ln_final.bias"], -0.1 * direction, rtol=1e-4)  # no decay on biases


@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_every_parameter_of_the_released_models_has_a_rule(name):
    from clipjax.models import catalog

    names = [n for n in clip.shapes(catalog.find(name).config) if "running_" not in n]
    found = optimiser.decayed(names)
    assert found["visual.conv1.weight"]
    assert found["token_embedding.weight"]
    norms = [n for n in names if n.endswith((".bias", "in_proj_bias")) or ".ln_" in n or ".bn" in n]
    assert not any(found[n] for n in [*norms, "logit_scale", "positional_embedding"])
    with pytest.raises(InputError, match="no rule covers"):
        optimiser.decayed(["adapter.gate"])


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (optimiser.Options(10, 1.0, freeze=("vsual",)), "matches no parameter"),
        (optimiser.Options(10, 1.0, freeze=(".",)), "leaves nothing to train"),
        (optimiser.Options(10, 1.0, multipliers=(("(", 2.0),)), "not a regular expression"),
        (optimiser.Options(10, 1.0, warmup=10), "it has to end before"),
    ],
)
def test_recipes_that_cannot_be_meant(recipe, message):
    with pytest.raises(InputError, match=message):
        optimiser.make(model(), recipe)


@pytest.mark.parametrize(
    "number",
    [
        {"clip_norm": -1.0}, {"learning_rate": -1e-3}, {"b2": 1.0}, {"layer_decay": 0.0}, {"logit_scale_min": 101.0},
        {"multipliers": (("visual", -1.0),)}, {"weight_decay": float("nan")},
    ],
)  # fmt: skip
def test_numbers_that_would_climb_the_loss_or_be_nothing(number):
    with pytest.raises(InputError, match=rf"optimizer\.{next(iter(number))}"):
        dataclasses.replace(RECIPE, **number)


def test_options_that_cannot_be_meant():
    with pytest.raises(InputError, match="unknown loss"):
        step.Options("hinge")
    with pytest.raises(InputError, match="not a decay"):
        step.Options(ema=1.0)
    with pytest.raises(InputError, match="unknown rematerialisation"):
        run(step.Options(remat="some"))
    with pytest.raises(InputError, match="fsdp=3"):
        parallel.training_mesh(3)


def test_it_learns():
    """Twelve updates on one batch bring the loss well below chance, ln 16."""
    mesh = parallel.training_mesh(1, jax.devices()[:1])
    recipe = optimiser.Options(steps=20, learning_rate=2e-3)
    state = step.start(model(), step.Options(), recipe, mesh)
    update = step.make(configuration("vit"), step.Options(), recipe, state, mesh)
    for _ in range(12):
        state, metrics = update(state, batch())
    assert metrics["loss"] < np.log(16) / 2


def test_optax_is_what_is_used():
    assert isinstance(optimiser.make(model(), RECIPE), optax.GradientTransformation)
