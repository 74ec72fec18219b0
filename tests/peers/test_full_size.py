"""All nine architectures at full size with random weights: every container in, every format out, beside the peers.

    python -m pytest tests/peers/test_full_size.py -m peers -s        (several minutes, 16 GB for RN50x64)

Prints a line per model and container: largest absolute error and smallest cosine of the raw features.
"""

import gc
import json

import numpy as np
import open_clip as open_clip_peer
import pytest
import torch
from safetensors.torch import save_file
from support import peer_models
from support.peer_comparison import compare, ours

import checkpoints_convert
import clipjax
from checkpoints_convert import open_clip, open_clip_config
from clipjax.models import catalog
from clipjax.models.kinds.resnet import ResNet

pytestmark = [pytest.mark.peers, pytest.mark.heavy]
LAYER_BAR, COSINE_BAR = 1e-5, 1 - 1e-6  # the project's bars: float32, other order of sums, up to 36 blocks


def check(name, container, model, want, pixels, tokens):
    figures = compare(ours(model, pixels, tokens), want, tokens)
    print(
        f"| {name} | {container} | {figures['image_error']:.1e} | {figures['image_cosine']:.8f} | "
        f"{figures['text_error']:.1e} | {figures['text_cosine']:.8f} | {figures['layer_error']:.1e} "
        f"({figures['worst_layer']} of {figures['layers']}) |",
        flush=True,
    )
    assert figures["image_cosine"] >= COSINE_BAR, figures
    assert figures["text_cosine"] >= COSINE_BAR, figures
    assert figures["layer_error"] <= LAYER_BAR, figures
    gc.collect()


@pytest.mark.parametrize("name", catalog.names())
def test_openai_containers(name, tmp_path):
    """TorchScript float16, state dict float32, safetensors with open_clip's configuration."""
    release = catalog.get(name)
    pixels, tokens = peer_models.inputs(release.config, 1)
    peer = peer_models.openai_model(release.config)
    want = peer_models.openai_outputs(peer, pixels, tokens)
    torch.save(peer.state_dict(), tmp_path / "m.pt")
    check(name, "state dict fp32", clipjax.load(tmp_path / "m.pt", activation="quick_gelu"), want, pixels, tokens)
    (tmp_path / "m.pt").unlink()
    folder = tmp_path / "hub"
    folder.mkdir()
    save_file(peer.state_dict(), folder / open_clip.WEIGHT_FILES[0])
    (folder / open_clip.CONFIG_FILE).write_text(json.dumps(open_clip_config.config_json(release.config)))
    check(name, "safetensors fp32", clipjax.load(folder), want, pixels, tokens)
    theirs = open_clip_peer.create_model(f"local-dir:{folder}").eval()
    check(name, "safetensors fp32, open_clip's class", clipjax.load(folder), peer_models.openai_outputs(
        theirs, pixels, tokens), pixels, tokens)  # fmt: skip
    del theirs, want
    (folder / open_clip.WEIGHT_FILES[0]).unlink()
    reread = peer_models.save_torchscript(peer, release.config, tmp_path / "ts.pt")
    want = peer_models.openai_outputs(reread, pixels, tokens)
    del peer, reread
    gc.collect()
    model = clipjax.load(tmp_path / "ts.pt")
    assert model.config == release.config
    assert {str(model.params["text_projection"].dtype), str(model.params["logit_scale"].dtype)} == {
        "float16",
        "float32",
    }
    check(name, "TorchScript fp16", model, want, pixels, tokens)


@pytest.mark.parametrize("name", [r.name for r in catalog.RELEASES if not isinstance(r.config.image, ResNet)])
def test_huggingface_folder(name, tmp_path):
    config = catalog.get(name).config
    pixels, tokens = peer_models.inputs(config, 1)
    peer = peer_models.huggingface_model(config)
    want = peer_models.huggingface_outputs(peer, pixels, tokens)
    peer.save_pretrained(tmp_path / "hf")
    del peer
    check(name, "Hugging Face", clipjax.load(tmp_path / "hf"), want, pixels, tokens)


@pytest.mark.parametrize("name", ["RN50", "ViT-B/32"])
def test_exports_are_opened_by_each_peers_own_loader(name, tmp_path):
    """clip.load, open_clip's and transformers' from_pretrained read our files and compute the same."""
    import clip
    import jax
    import transformers

    from clipjax.models import clip as functional
    from clipjax.models import weights

    config = catalog.get(name).config
    flat = {k: np.asarray(v) for k, v in functional.flatten(functional.init(config, jax.random.key(0))).items()}
    # clip.load rounds to float16 on its way: weights that are float16 already come through whole
    flat = {k: v.astype(np.float16).astype(np.float32) for k, v in flat.items()}
    loaded = weights.Weights(flat, config, "random", {})
    pixels, tokens = peer_models.inputs(config, 1)
    checkpoints_convert.write(tmp_path / "m.pt", loaded, "openai")
    model = clipjax.load(tmp_path / "m.pt")
    peer, transform = clip.load(str(tmp_path / "m.pt"), device="cpu")
    check(name, "clip.load of our .pt", model, peer_models.openai_outputs(peer, pixels, tokens), pixels, tokens)
    assert transform.transforms[0].size == config.image.image_size

    checkpoints_convert.write(tmp_path / "open_clip", loaded, "open_clip")
    peer = open_clip_peer.create_model(f"local-dir:{tmp_path / 'open_clip'}").eval()
    check(name, "open_clip of our folder", model, peer_models.openai_outputs(peer, pixels, tokens), pixels, tokens)

    if not isinstance(config.image, ResNet):
        checkpoints_convert.write(tmp_path / "hf", loaded, "huggingface")
        peer = transformers.CLIPModel.from_pretrained(tmp_path / "hf").eval()
        want = peer_models.huggingface_outputs(peer, pixels, tokens)
        check(name, "from_pretrained of our folder", model, want, pixels, tokens)
        processor = transformers.CLIPProcessor.from_pretrained(tmp_path / "hf")
        texts = ["a photo of a cat", "résumé", "two dogs, running!"]
        ids = processor.tokenizer(texts, padding="max_length")["input_ids"]
        for ours_row, theirs_row in zip(clipjax.tokenize(texts), ids, strict=True):
            end = int(ours_row.argmax())
            assert list(ours_row[: end + 1]) == theirs_row[: end + 1]
