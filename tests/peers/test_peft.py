"""LoRA against peft: the adapters that are written, as peft applies and merges them, and peft's own, read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytestmark = pytest.mark.peers
peft_library = pytest.importorskip("peft")
import torch  # noqa: E402
from support.family_models import LENGTH, WORDS  # noqa: E402
from support.small_siglip import as_transformers  # noqa: E402
from transformers import CLIPModel, SiglipModel  # noqa: E402

import clipjax  # noqa: E402
from clipjax import loading  # noqa: E402
from clipjax.models import clip, lora, peft, weights  # noqa: E402
from clipjax.models.layers import Adapter  # noqa: E402
from clipjax.models.lowering import Lowering  # noqa: E402
from clipjax.testing import tiny_model  # noqa: E402

FORM = lora.Lora(4, 8.0, "attention+mlp+projections")
LIMIT = 1e-6  # of unit features in float32: sums in another order; without the adapters they differ by 1e-3


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny_model(folder / "tiny.safetensors")
    loading.convert(folder / "tiny.safetensors", folder / "hf", "huggingface")
    return folder


def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 32, 32, 3)).astype(np.float32), clipjax.tokenize(["a dog", "a cat on a mat"])


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def theirs(model):
    pixels, tokens = inputs()
    given = {
        "pixel_values": torch.from_numpy(pixels.transpose(0, 3, 1, 2)),
        "input_ids": torch.from_numpy(tokens).long(),
    }
    with torch.no_grad():
        out = model(**given)
    return [unit(x.numpy()) for x in (out.image_embeds, out.text_embeds)]


def ours(found):
    pixels, tokens = inputs()
    params = clip.unflatten(dict(found.flat))
    return [unit(np.asarray(x)) for x in (clip.apply_image(found.config, params, pixels),
                                          clip.apply_text(found.config, params, tokens))]  # fmt: skip


def check(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        assert np.abs(a - b).max() < LIMIT, np.abs(a - b).max()


def test_our_adapters_are_applied_and_merged_by_peft(base, tmp_path):
    begin = weights.load(base / "tiny.safetensors")
    rng = np.random.default_rng(1)
    state = {n: rng.normal(size=x.shape).astype(np.float32) * 0.05 for n, x in FORM.start(begin.flat, 0).items()}
    peft.write(tmp_path / "adapter", state, FORM, str(base / "hf"), begin.config)
    model = peft_library.PeftModel.from_pretrained(CLIPModel.from_pretrained(base / "hf"), tmp_path / "adapter").eval()
    found = ours(loading.find_weights(tmp_path / "adapter"))
    check(found, theirs(model))
    check(found, theirs(model.merge_and_unload()))
    assert np.abs(found[0] - ours(begin)[0]).max() > 1e-3


def test_adapters_of_a_siglip_are_applied_by_peft(tmp_path):
    """Its pool has an mlp with adapters and an attention without them, and its text projection is called a head."""
    begin, rng = as_transformers(tmp_path), np.random.default_rng(1)
    form = lora.Lora(4, 8.0, "attention+mlp+projections", 0.1)
    state = {n: rng.normal(size=x.shape).astype(np.float32) * 0.05 for n, x in form.start(begin.flat, 0).items()}
    peft.write(tmp_path / "adapter", state, form, str(tmp_path / "hf"), begin.config)
    model = peft_library.PeftModel.from_pretrained(SiglipModel.from_pretrained(tmp_path / "hf"), tmp_path / "adapter")
    found, tokens = loading.find_weights(tmp_path / "adapter"), rng.integers(3, WORDS, (2, LENGTH))
    params, pixels = clip.unflatten(dict(found.flat)), inputs()[0]
    images, texts = clip.apply_image(found.config, params, pixels), clip.apply_text(found.config, params, tokens)
    given = {"pixel_values": torch.from_numpy(pixels.transpose(0, 3, 1, 2)), "input_ids": torch.from_numpy(tokens)}
    with torch.no_grad():
        out = model.eval()(**{k: v[:2] for k, v in given.items()})
    wanted = [unit(x.numpy()) for x in (out.image_embeds, out.text_embeds)]
    check([unit(np.asarray(images))[:2], unit(np.asarray(texts))], wanted)
    assert len(state) == 2 * (2 * 4 * 2 + 2 + 1)  # two encoders of two blocks, the pool's mlp, the text projection


def test_a_dropped_input_is_pefts():
    """One matrix in training, with the numbers of our dropout in place of torch's."""
    torch.manual_seed(0)
    asked = peft_library.LoraConfig(r=3, lora_alpha=5, target_modules=["0"], lora_dropout=0.4)
    layer = peft_library.get_peft_model(torch.nn.Sequential(torch.nn.Linear(8, 6)), asked).train().base_model.model[0]
    keys, x = jax.random.split(jax.random.key(0), 4), np.random.default_rng(0).normal(size=(4, 5, 8))
    x = x.astype(np.float32)
    one = jnp.eye(8)[None]
    dropped = np.array(Adapter(one, one, 1.0, 0.4, keys)(jnp.asarray(x), range(1), Lowering()))
    assert 0.3 < (dropped == 0).mean() < 0.5
    layer.lora_dropout["default"] = Given(torch.from_numpy(dropped))
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
        wanted = layer(torch.from_numpy(x)).numpy()
    a, b = (jnp.asarray(m["default"].weight.detach().numpy().T)[None] for m in (layer.lora_A, layer.lora_B))
    weight, bias = (p.detach().numpy() for p in layer.base_layer.parameters())
    found = x @ weight.T + bias + Adapter(a, b, asked.lora_alpha / asked.r, 0.4, keys)(x, range(1), Lowering())
    assert np.abs(np.asarray(found) - wanted).max() < LIMIT * np.abs(wanted).max()


class Given(torch.nn.Module):
    """In place of a dropout: what it leaves."""

    def __init__(self, dropped):
        super().__init__()
        self.dropped = dropped

    def forward(self, x):
        return self.dropped.to(x.dtype)


def test_adapters_of_peft_are_read(base, tmp_path):
    asked = peft_library.LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "fc1"], lora_dropout=0.1)
    model = peft_library.get_peft_model(CLIPModel.from_pretrained(base / "hf"), asked).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.05)
    model.save_pretrained(tmp_path / "theirs")
    check(ours(loading.find_weights(tmp_path / "theirs")), theirs(model))
