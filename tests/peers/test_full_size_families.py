"""One model of each family at full size with random weights, from the folder that open_clip saves, beside open_clip.

    python -m pytest tests/peers/test_full_size_families.py -m "peers and heavy" -s
    (half an hour on one core; 20 GB for ViT-H-14-worldwide, 6 GB for the others)

Prints a line per model: parameters, largest relative error of the raw features and of any layer, smallest cosines.
"""

import gc

import jax
import numpy as np
import open_clip
import pytest
import torch
from open_clip.push_to_hf_hub import save_for_hf
from support import peer_layers, peer_models, peer_registry

import clipjax
from clipjax.models import clip

pytestmark = [pytest.mark.peers, pytest.mark.heavy]
LAYER_BAR, COSINE_BAR = 1e-5, 1 - 1e-6  # as of OpenAI's models: float32, another order of sums, up to 32 blocks
# The smallest of each family in the registry: architecture -> tag.
MODELS = {
    "ViT-B-16-SigLIP": "webli", "ViT-B-16-SigLIP2": "webli", "PE-Core-B-16": "meta", "EVA02-B-16": "merged2b_s8b_b131k",
    "MobileCLIP-B": "datacompdr", "MobileCLIP2-B": "dfndr2b", "coca_ViT-B-32": "laion2b_s13b_b90k",
    "ViT-L-14-CLIPA": "datacomp1b", "MobileCLIP2-L-14": "dfndr2b", "EVA01-g-14": "laion400m_s11b_b41k",
    "ViT-H-14-worldwide": "metaclip2_worldwide",
}  # fmt: skip


class NoTokenizer:
    """In place of one that the hub has: only weights and configuration are compared here."""

    def save_pretrained(self, folder):
        assert folder.is_dir()


def saved(pair, folder):
    """open_clip's model of a pair, random, with the registry's pixels; saved as its hub push does."""
    said = peer_registry.hub_file(*pair)
    model = open_clip.create_model(
        pair[0], pretrained=None, force_quick_gelu=said["model_cfg"].get("quick_gelu", False),
        force_preprocess_cfg=said["preprocess_cfg"],
    ).eval()  # fmt: skip
    peer_models.randomise(model)
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 2 and value.std() < 2e-3:  # timm's heads of EVA: features would be their biases
                value.normal_(0, value.shape[1] ** -0.5)
    small = sum(p.numel() for p in model.parameters()) < 1e9  # safetensors holds all bytes at once, torch writes them
    save_for_hf(model, NoTokenizer(), said["model_cfg"], folder, safe_serialization=small)
    return model


def ours(config, params, pixels, tokens):
    def image(params, x):
        seen = {}
        seen["features"] = clip.apply_image(config, {"visual": params}, x, seen)
        return {f"image/{k}": v for k, v in seen.items()}

    def text(params, x):
        seen = {}
        seen["features"] = clip.apply_text(config, params, x, "float32", seen)
        return {f"text/{k}": v for k, v in seen.items()}

    with jax.default_matmul_precision("highest"):
        found = jax.jit(image)(params["visual"], pixels)
        found |= jax.jit(text)(clip.text_params(params), tokens.astype(np.int32))
    return {k: np.asarray(v) for k, v in found.items()}


def cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())


@pytest.mark.parametrize("architecture", MODELS)
def test_open_clips_own_folder_is_computed_as_open_clip_does(architecture, tmp_path):
    pair = architecture, MODELS[architecture]
    peer = saved(pair, tmp_path)
    config = peer_registry.native()[pair]
    size = config.image.image_size
    pixels, _ = peer_models.inputs(config, 1)
    assert pixels.shape == (1, size, size, 3)
    tokens = peer_registry.tokens(config)
    want = peer_layers.outputs(peer, pixels, tokens)
    parameters = sum(p.numel() for p in peer.parameters())
    del peer
    gc.collect()
    model = clipjax.load(tmp_path)
    assert model.config == config
    found = ours(config, model.params, pixels, tokens)
    errors = peer_layers.errors(found, want)
    worst = max(errors, key=errors.__getitem__)
    cosines = [cosine(found[f"{which}/features"], want[f"{which}/features"]) for which in ("image", "text")]
    print(
        f"\n| {architecture} | {parameters:,} | {errors['image/features']:.1e} | {1 - cosines[0]:.1e} | "
        f"{errors['text/features']:.1e} | {1 - cosines[1]:.1e} | {errors[worst]:.1e} ({worst} of {len(errors)}) |",
        flush=True,
    )
    del model
    jax.clear_caches()
    gc.collect()
    assert min(cosines) >= COSINE_BAR
    assert errors[worst] <= LAYER_BAR, (worst, errors)
