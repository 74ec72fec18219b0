"""The inference loop: the same features however rows are spread, nothing dropped, one program per shape."""

import functools
import gc
import weakref

import jax
import numpy as np
import pytest

from clipjax import cpu, image, parallel
from clipjax import encoder as encoder_module
from clipjax.encoder import Encoder
from clipjax.errors import InputError
from clipjax.models import catalog, clip

CONFIG = catalog.openai(32, catalog.vit(32, 8, 64, 2), catalog.text(64, layers=2, context_length=32, vocab_size=96))
RESNET = catalog.openai(32, catalog.resnet(64, 16, (1, 1, 1, 1)), CONFIG.text)


@pytest.fixture(scope="module")
def params():
    return clip.init(CONFIG, jax.random.key(0))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).normal(size=(37, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(1)
    out = np.zeros((37, 32), np.int32)
    for row, n in zip(out, rng.integers(2, 33, len(out)), strict=True):
        row[:n] = [94, *rng.integers(0, 94, n - 2), 95]
    return out


@pytest.fixture(scope="module")
def features(params, pixels):
    """The pure function on all images at once."""
    return np.asarray(clip.apply_image(CONFIG, params, pixels))


@pytest.fixture(scope="module")
def text_features(params, tokens):
    """The pure function over all 32 positions."""
    return np.asarray(clip.apply_text(CONFIG, params, tokens))


@pytest.fixture(scope="module")
def encoder(params):
    """encoder(devices, **options): each is made once."""

    @functools.cache
    def made(devices, batch_size=4, **options):
        mesh = parallel.data_mesh(jax.devices()[:devices])
        return Encoder(CONFIG, params, mesh=mesh, batch_size=batch_size, **options)

    return made


@pytest.mark.parametrize(
    ("devices", "options"),
    [(4, {}), (4, {"mapping": "pmap"}), (4, {"placement": "fsdp"}), (1, {"placement": "fsdp"})],
)
def test_features_do_not_depend_on_devices_mapping_or_placement(encoder, pixels, tokens, devices, options):
    one = encoder(1, full_batches=True)
    other = encoder(devices, full_batches=True, **options)
    # the same program on the same number of rows: not a bit may differ
    np.testing.assert_array_equal(one.images(pixels), other.images(pixels))
    short = tokens[tokens.argmax(1) < 16]  # each length in use is a program
    np.testing.assert_array_equal(one.texts(short), other.texts(short))


def test_fsdp_really_cuts_the_parameters(encoder, pixels):
    cut = encoder(4, placement="fsdp", full_batches=True)
    cut.images(pixels[:1])
    leaf = cut._visual["visual.transformer.resblocks.0.mlp.c_fc.weight"]
    assert sorted(leaf.addressable_shards[0].data.shape) == [256 // 4, 64]  # transposed or not
    whole = sum(leaf.addressable_shards[0].data.size for leaf in cut._visual.values())
    assert whole < 0.4 * sum(leaf.size for leaf in cut._visual.values())


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 37])
def test_every_row_comes_back_whatever_the_batch(encoder, pixels, features, n):
    """Batches of four images on each of four devices; float32 sums in another order."""
    got = encoder(4).images(pixels[:n])
    assert got.shape == (n, 32)
    np.testing.assert_allclose(got, features[:n], rtol=0, atol=2e-6)


def test_cutting_texts_at_their_longest_is_exact(encoder, tokens, text_features):
    """Masked positions add exact zeros."""
    want = text_features
    np.testing.assert_allclose(
        encoder(1).texts(tokens), want, rtol=0, atol=4e-6
    )  # float32 sums in another order: 2.1e-6 with jaxlib 0.12
    short = tokens[(tokens.argmax(1) < 8)]
    assert 0 < len(short) < len(tokens)
    np.testing.assert_allclose(encoder(1).texts(short), want[tokens.argmax(1) < 8], rtol=0, atol=2e-6)


@pytest.mark.parametrize("end", [7, 8, 9, 15, 16, 31])
def test_the_end_of_text_is_never_cut_off(params, encoder, end):
    """Also where it is the first position of the next multiple of eight."""
    text = np.full((1, 32), 3, np.int32)
    text[0, end:] = [95, *[0] * (31 - end)]
    want = np.asarray(clip.apply_text(CONFIG, params, text))
    np.testing.assert_allclose(encoder(1).texts(text), want, rtol=0, atol=2e-6)


def test_one_program_per_shape(encoder, pixels):
    full = encoder(4, full_batches=True)
    full.images(pixels)
    compiled = full._image_program("proj")._cache_size()
    for n in (5, 1):
        full.images(pixels[:n])
    assert full._image_program("proj")._cache_size() == compiled


def test_programs_have_few_sizes_and_little_padding():
    sizes = {n: encoder_module._grid(n) for n in range(200)}
    assert [sizes[n] for n in (0, 1, 2, 3, 5, 8, 9, 10, 11, 16, 17, 33, 100)] == [
        1,
        1,
        2,
        4,
        8,
        8,
        10,
        10,
        12,
        16,
        20,
        40,
        112,
    ]
    assert all(n <= size <= max(1.25 * n, 8) for n, size in sizes.items())
    assert len(set(sizes.values())) == 4 + 4 * 5 - 1


def test_models_of_one_configuration_share_their_programs_and_nothing_else(encoder, pixels, tokens):
    """Parameters are arguments of a program: a second checkpoint of an architecture compiles nothing."""
    one, other = encoder(1), Encoder(CONFIG, clip.init(CONFIG, jax.random.key(7)), mesh=encoder(1).mesh, batch_size=4)
    found = [(e.images(pixels), e.texts(tokens), e._image_program("proj"), e._text_program) for e in (one, other)]
    assert found[0][2:] == found[1][2:]
    for mine, theirs in zip(found[0][:2], found[1][:2], strict=True):
        assert np.abs(mine - theirs).max() > 0.1
    want = np.asarray(clip.apply_image(CONFIG, other.params, pixels))
    np.testing.assert_allclose(found[1][0], want, rtol=0, atol=2e-6)  # float32 sums in another order


@pytest.mark.parametrize(
    ("devices", "options"),
    [(4, {}), (1, {"mapping": "pmap"}), (1, {"placement": "fsdp"}), (1, {"dtype": "bfloat16"}),
     (1, {"batch_size": 512, "full_batches": True})],
)  # fmt: skip
def test_what_a_program_depends_on_makes_another(encoder, devices, options):
    other = encoder(devices, **options)
    assert other._image_program("proj") != encoder(1)._image_program("proj") != encoder(1)._image_program("pre_proj")
    assert other._text_program != encoder(1)._text_program


def test_pre_proj_is_what_the_projection_reads(params, encoder, pixels):
    enc = encoder(4)
    np.testing.assert_allclose(
        enc.images(pixels, "pre_proj") @ np.asarray(params["visual"]["proj"]), enc.images(pixels), rtol=0, atol=2e-6
    )
    resnet = clip.init(RESNET, jax.random.key(1))
    enc = Encoder(RESNET, resnet, batch_size=4)
    x = np.random.default_rng(0).normal(size=(3, 64, 64, 3)).astype(np.float32)
    out = resnet["visual"]["attnpool"]["c_proj"]
    assert enc.images(x, "pre_proj").shape == (3, enc.width("pre_proj")) == (3, 512)
    np.testing.assert_allclose(
        enc.images(x, "pre_proj") @ np.asarray(out["weight"]) + np.asarray(out["bias"]),
        enc.images(x),
        rtol=0,
        atol=2e-6,
    )


def test_bfloat16_is_near_and_comes_back_in_float32(encoder, pixels):
    got, want = encoder(1, dtype="bfloat16").images(pixels), encoder(1).images(pixels)
    assert got.dtype == np.float32
    cosine = (got * want).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(want, axis=1)
    assert 0.999 < cosine.min() < 1 - 1e-9  # 8 bits of mantissa: near, and not secretly float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda e: e.images(np.zeros((1, 3, 32, 32), np.float32)), "takes \\[B, 32, 32, 3\\]"),
        (lambda e: e.images(np.zeros((1, 32, 32, 3), np.int32)), "int32"),
        (lambda e: e.images(np.zeros((1, 32, 32, 3), np.float32), "middle"), "unknown feature"),
        (lambda e: e.texts(np.zeros((1, 40), np.int32)), "ints \\[B, 32\\]"),
        (lambda e: e.texts(np.zeros((1, 8), np.float32)), "float32"),
        (lambda e: e.texts(np.full((1, 8), 96, np.int32)), "outside this model's vocabulary of 96"),
    ],
)
def test_wrong_inputs_are_named(encoder, call, words):
    with pytest.raises(InputError, match=words):
        call(encoder(1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float64"}, "compute dtype"),
        ({"mapping": "vmap"}, "mapping"),
        ({"placement": "far away"}, "placement"),
        ({"mapping": "pmap", "placement": "fsdp"}, "needs shard_map"),
    ],
)
def test_wrong_options_are_named(encoder, options, words):
    with pytest.raises(InputError, match=words):
        encoder(1, **options)


def test_parameters_of_another_configuration_are_refused(params):
    with pytest.raises(InputError, match="its tensors are not those of its configuration"):
        Encoder(RESNET, params)


def test_uint8_crops_are_normalised_on_the_device_as_on_the_host(encoder):
    crops = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)
    one = encoder(1, full_batches=True)
    got, want = one.images(crops), one.images(image.normalise(crops, image.Preprocess(32, **vars(CONFIG.pixels))))
    # the same three float32 operations, but a compiler may contract two of them: the last bit of a pixel
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_work_that_was_started_comes_back_in_any_order(encoder, pixels):
    one = encoder(1, full_batches=True)
    first, second = one.start(pixels[:20]), one.start(pixels[20:])
    later, earlier = second(), first()
    np.testing.assert_array_equal(np.concatenate([earlier, later]), one.images(pixels))
    np.testing.assert_array_equal(first(), earlier)  # asking again is harmless


def test_many_texts_are_sorted_by_length_and_encoded_once_each(encoder, tokens, monkeypatch):
    one = encoder(1)
    alone = np.concatenate([one.texts(row[None]) for row in tokens])
    widths = []
    run = Encoder._run
    monkeypatch.setattr(
        Encoder, "_run", lambda self, f, p, rows, w: widths.append(rows.shape) or run(self, f, p, rows, w)
    )
    np.testing.assert_allclose(one.texts(np.concatenate([tokens, tokens[::-1]])), np.concatenate([alone, alone[::-1]]),
                               rtol=0, atol=1e-5)  # float32 sums in another order, features of size 3  # fmt: skip
    ends = tokens.argmax(1) + 1
    assert [w for _, w in widths] == sorted({int(-(-e // 8) * 8) for e in ends})
    assert sum(n for n, _ in widths) == len(np.unique(tokens, axis=0))


@pytest.mark.parametrize("placement", ["replicated", "fsdp"])
def test_matrices_are_transposed_for_few_rows_and_nothing_else_changes(encoder, pixels, placement):
    """On a CPU: all blocks but the last, where products have one row a picture (clipjax/cpu.py)."""
    few, many = encoder(1, placement=placement), encoder(1, batch_size=512, full_batches=True)
    names = few._transposed(few._visual_params)
    assert names == {
        f"visual.transformer.resblocks.{i}.{name}"
        for i in range(CONFIG.image.layers - 1)
        for name in ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    }
    assert not many._transposed(many._visual_params)
    leaf = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    np.testing.assert_array_equal(np.asarray(few._visual[leaf]).T, np.asarray(many._visual[leaf]))
    np.testing.assert_allclose(few.images(pixels), many.images(pixels), rtol=0, atol=1e-5)  # sums in another order


def test_an_encoder_goes_when_nobody_holds_it(params, pixels):
    """Programs outlive it, its parameters do not: nine models one after the other are not nine in memory."""
    one = Encoder(CONFIG, params, batch_size=4)
    one.images(pixels[:1])
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("shape", [(), (3,), (130, 257), (5, 2, 2, 3)])
def test_parameters_lie_where_xla_reads_them_without_another_copy(dtype, shape):
    array = np.random.default_rng(0).normal(size=shape).astype(dtype)
    for transpose in {False, array.ndim >= 2}:
        out = cpu.placed(array, transpose)
        np.testing.assert_array_equal(out, (array.T if transpose else array).astype(np.float32), strict=True)
        on_device = parallel.to_devices(out, parallel.replicated(parallel.data_mesh(jax.devices()[:1])))
        assert on_device.addressable_data(0).unsafe_buffer_pointer() == out.ctypes.data
