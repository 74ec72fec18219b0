"""The kinds of model in open_clip's registry, as its hub push writes them: read, or refused with every reason at once.

All pairs of the registry: experiments/registry. The configurations are spelled out here as facts about the models.
"""

import json
import re

import pytest

from checkpoints_convert import open_clip, open_clip_config
from clipjax.errors import InputError
from clipjax.models import catalog

OPENAI = {"mean": list(catalog.OPENAI_MEAN), "std": list(catalog.OPENAI_STD)}
PIXELS = OPENAI | {"interpolation": "bicubic", "resize_mode": "shortest"}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


def text(width, heads, layers=12, **more):
    return {"context_length": 77, "vocab_size": 49408, "width": width, "heads": heads, "layers": layers} | more


def vit(patch, width=768, layers=12, size=224, **more):
    return {"image_size": size, "layers": layers, "width": width, "patch_size": patch} | more


def trunk(name, size=224, **more):
    return {"image_size": size, "timm_model_name": name, "timm_model_pretrained": False} | more


SIGLIP_TEXT = {
    "context_length": 64, "vocab_size": 32000, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
    "tokenizer_kwargs": {"clean": "canonicalize"}, "width": 768, "heads": 12, "layers": 12, "no_causal_mask": True,
    "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
}  # fmt: skip
# model -> (embedding, image encoder, text encoder, further attributes, pixels), attributes it must be refused for
KINDS = {
    "ViT-B-32 openai": ((512, vit(32), text(512, 8), {"quick_gelu": True}, PIXELS), ()),
    "RN50x4 openai": (
        (640, {"image_size": 288, "layers": [4, 6, 10, 6], "width": 80, "patch_size": None}, text(640, 10),
         {"quick_gelu": True}, PIXELS), ()),
    "ViT-H-14 laion2b": ((1024, vit(14, 1280, 32, head_width=80), text(1024, 16, 24), {}, PIXELS), ()),
    "ViT-bigG-14 laion2b": (
        (1280, vit(14, 1664, 48, head_width=104, mlp_ratio=4.9231), text(1280, 20, 32), {}, PIXELS), ()),
    "ViT-H-14 dfn5b": (
        (1024, vit(14, 1280, 32, head_width=80), text(1024, 16, 24), {"quick_gelu": True},
         PIXELS | {"resize_mode": "squash"}), ()),
    "ViT-B-16-SigLIP webli": (
        (768, trunk("vit_base_patch16_siglip_224", timm_pool="map", timm_proj="none"), SIGLIP_TEXT,
         {"init_logit_bias": -10, "custom_text": True}, HALF),
        ()),
    "ViT-L-14-CLIPA datacomp1b": (
        (768, vit(14, 1024, 24, no_ln_pre=True, pool_type="avg", final_ln_after_pool=True),
         text(768, 12, context_length=32, vocab_size=32000, hf_tokenizer_name="bert-base-uncased",
              tokenizer_kwargs={"strip_sep_token": True}, pool_type="last", no_causal_mask=True), {},
         PIXELS | {"interpolation": "bilinear"}),
        ()),
    "roberta-ViT-B-32 laion2b": (
        (512, vit(32), {"hf_model_name": "roberta-base", "hf_tokenizer_name": "roberta-base",
                        "hf_pooler_type": "mean_pooler"}, {"quick_gelu": True}, PIXELS),
        ("hf_model_name", "hf_tokenizer_name")),
    "convnext_base laion400m": (
        (512, trunk("convnext_base", timm_pool="", timm_proj="linear", timm_drop=0.0, timm_drop_path=0.1),
         text(512, 8), {}, PIXELS), ("timm_model_name",)),
    "EVA02-B-16 merged2b": (
        (512, trunk("eva02_base_patch16_clip_224", timm_pool="token", timm_proj=None), text(512, 8),
         {"custom_text": True}, PIXELS), ()),
    "coca_ViT-B-32 laion2b": (
        (512, vit(32, attentional_pool=True, attn_pooler_heads=8, output_tokens=True),
         text(512, 8, context_length=76, embed_cls=True, output_tokens=True),
         {"custom_text": True, "multimodal_cfg": {"context_length": 76, "vocab_size": 49408, "width": 512, "heads": 8,
                                                  "layers": 12, "attn_pooler_heads": 8}}, PIXELS),
        ()),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_read_or_refused_with_every_reason(name, tmp_path):
    (embed_dim, vision, texts, more, pixels), reasons = KINDS[name]
    path = tmp_path / open_clip.CONFIG_FILE
    model = {"embed_dim": embed_dim, "vision_cfg": vision, "text_cfg": texts} | more
    path.write_text(json.dumps({"model_cfg": model, "preprocess_cfg": pixels}))
    if not reasons:
        config, _ = open_clip.read_config(tmp_path)
        assert (config.embed_dim, config.text.layers) == (embed_dim, texts["layers"])
        assert config.logit_bias == ("init_logit_bias" in more)
        assert config.pixels.resize == pixels["resize_mode"]
        again = open_clip_config.config_json(config)
        assert open_clip_config.read(again, "again", None) == config
        return
    with pytest.raises(InputError) as caught:
        open_clip.read_config(tmp_path)
    assert set(re.findall(r"\b[a-z]+_cfg\.(\w+) =", str(caught.value))) == set(reasons)
