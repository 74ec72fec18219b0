"""Makes tests/golden/families/: one small random model of each family, as open_clip and timm name and compute it.

    python tests/golden/make_families.py        (needs the extra [peers])

NAME.npz holds the state dict (float16, whose values are exact in every wider type), pixels, tokens, and what the peer
computes in float64: every block, the last norm and the features; and the peer's own word of activation and eps.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import open_clip  # noqa: E402
import timm  # noqa: E402
from open_clip.transformer import LayerNorm, TextTransformer, VisionTransformer  # noqa: E402
from support.family_models import EMBED, LENGTH, MODELS, WORDS  # noqa: E402
from support.peer_layers import randomise  # noqa: E402
from timm.layers import HybridEmbed  # noqa: E402
from timm.models.eva import Eva  # noqa: E402
from timm.models.vision_transformer import VisionTransformer as TimmViT  # noqa: E402

OUT = Path(__file__).parent / "families"
TANH = functools.partial(nn.GELU, approximate="tanh")
_VIT = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 64,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 2,
    "num_classes": EMBED,
}
_SIGLIP = _VIT | {"class_token": False, "global_pool": "map", "num_classes": 0}
_PE = _VIT | {
    "global_pool": "map", "attn_type": "rope", "use_pre_transformer_norm": True, "use_rot_pos_emb": True,
    "ref_feat_shape": (4, 4), "rope_grid_indexing": "xy", "rope_grid_offset": 1.0, "attn_pool_num_heads": 8,
    "attn_pool_mlp_ratio": 4.0, "norm_layer": functools.partial(nn.LayerNorm, eps=1e-5),
}  # fmt: skip
_EVA = _VIT | {"global_pool": "token"}


def stem_vit() -> nn.Module:
    """timm's vit_base_mci_224 at a small size."""
    from timm.models.vision_transformer_hybrid import ConvStem

    stem = ConvStem(channels=(16, 16, 64), stride=(4, 2, 2), kernel_size=(4, 2, 2), padding=0,
                    norm_layer=nn.BatchNorm2d, act_layer=nn.GELU, in_chans=3)  # fmt: skip
    embed = functools.partial(HybridEmbed, backbone=stem, proj=False)
    return TimmViT(**_VIT | {"img_size": 64, "patch_size": 1, "embed_layer": embed, "no_embed_class": True})


def clip_vit(**options) -> nn.Module:
    """open_clip's own."""
    return VisionTransformer(32, 8, 64, 2, 4, 2.0, output_dim=EMBED, **options)


IMAGE = {
    "siglip": lambda: TimmViT(**_SIGLIP, act_layer="gelu_tanh"),
    "siglip_rest": lambda: TimmViT(**_SIGLIP | {"img_size": 30}, act_layer="gelu"),
    "pe_core": lambda: Eva(**_PE),
    "pe_core_g": lambda: Eva(**_PE | {"class_token": False, "rope_grid_offset": 0.0, "mlp_ratio": 3}),
    "eva01": lambda: Eva(**_EVA),
    "eva02": lambda: Eva(**_EVA | {"qkv_fused": False, "mlp_ratio": 8 / 3, "swiglu_mlp": True, "scale_mlp": True,
                                   "scale_attn_inner": True, "use_rot_pos_emb": True, "ref_feat_shape": (16, 16)}),
    "eva02_e": lambda: Eva(**_EVA | {"use_post_norm": True}),
    "mobileclip_b": stem_vit,
    "mobileclip_l": lambda: TimmViT(**_VIT, pre_norm=True, norm_layer=functools.partial(nn.LayerNorm, eps=1e-5)),
    "clipa": lambda: clip_vit(no_ln_pre=True, pool_type="avg", final_ln_after_pool=True),
    "coca": lambda: clip_vit(attentional_pool=True, attn_pooler_heads=8),
    "metaclip2": clip_vit,
}  # fmt: skip
_SIX = functools.partial(LayerNorm, eps=1e-6)
TEXT = {
    "siglip": {"no_causal_mask": True, "pool_type": "last", "proj_bias": True, "act_layer": TANH, "norm_layer": _SIX,
               "output_dim": 64},
    "siglip_rest": {"no_causal_mask": True, "pool_type": "last", "proj_type": "none", "norm_layer": _SIX, "width": 64,
                    "heads": 4, "output_dim": 64, "mlp_ratio": 1.5},
    "mobileclip_l": {"no_causal_mask": True},
    "clipa": {"no_causal_mask": True, "pool_type": "last"},
    "coca": {"embed_cls": True},
    "metaclip2": {"pool_type": "eos", "eos_id": 2},
}  # fmt: skip


def text_of(name: str) -> nn.Module:
    """open_clip's text encoder with the family's options."""
    sizes = {"context_length": LENGTH, "vocab_size": WORDS, "width": 48, "heads": 3, "layers": 2, "mlp_ratio": 2.0,
             "output_dim": EMBED}  # fmt: skip
    return TextTransformer(**sizes | TEXT.get(name, {}))


def record(outputs: dict[str, np.ndarray], name: str, module: nn.Module) -> None:
    """Keeps what a module returns."""
    module.register_forward_hook(lambda _, __, out: outputs.__setitem__(name, out.detach().numpy()))


def tokens(name: str) -> np.ndarray:
    """Five texts of several lengths: one as long as the context, one empty; ids above the end of text in some."""
    rng = np.random.default_rng(7)
    family, pad = MODELS[name].text, MODELS[name].tokens.pad_id
    end = {"eos": 2, "argmax": WORDS - 1}.get(family.pool, 3)
    out = np.full((5, LENGTH), pad, np.int64)
    for row, length in zip(out, (3, 7, LENGTH, 1, 5), strict=True):
        row[:length] = rng.integers(4, WORDS - 1, length)
        row[length - 1] = end
    return out


def huggingface(name: str, model: nn.Module, processor: dict, pad: int, words: int, end: int) -> None:
    """A folder as transformers saves it, and beside it what its model computes in float64."""
    model = randomise(model, 50)
    folder = OUT / name
    model.half().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    ids = np.full((3, LENGTH), pad, np.int64)
    for row, length in zip(ids, (4, LENGTH, 2), strict=True):
        row[: length - 1] = np.random.default_rng(length).integers(4, words - 1, length - 1)
        row[length - 1] = end
    model = model.double()
    pixels = np.random.default_rng(3).normal(size=(2, 3, 32, 32))
    with torch.no_grad():
        out = model(input_ids=torch.from_numpy(ids), pixel_values=torch.from_numpy(pixels))
        image = model.get_image_features(pixel_values=torch.from_numpy(pixels)).pooler_output
        text = model.get_text_features(input_ids=torch.from_numpy(ids)).pooler_output
    np.savez_compressed(
        OUT / f"{name}.npz", pixels=pixels.transpose(0, 2, 3, 1), tokens=ids, image_features=image.numpy(),
        text_features=text.numpy(), logits=out.logits_per_image.numpy(),
    )  # fmt: skip


def huggingface_models() -> None:
    """SigLIP with its activation, and MetaCLIP 2 whose end of text is not its highest id."""
    import transformers as hf

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision, text = sizes | {"image_size": 32, "patch_size": 8}, sizes | {"max_position_embeddings": LENGTH}
    siglip = hf.SiglipConfig(text_config=text | {"vocab_size": WORDS}, vision_config=vision)
    square = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2}
    huggingface("hf_siglip", hf.SiglipModel(siglip), square, 1, WORDS, 1)
    text |= {"vocab_size": WORDS, "eos_token_id": 2, "hidden_act": "gelu"}
    vision |= {"hidden_act": "gelu"}
    metaclip2 = hf.MetaClip2Config(text_config=text, vision_config=vision, projection_dim=24)
    crop = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32}
    huggingface("hf_metaclip2", hf.MetaClip2Model(metaclip2), crop, 1, WORDS, 2)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    huggingface_models()
    for seed, (name, config) in enumerate(MODELS.items()):
        image, text = randomise(IMAGE[name](), seed), randomise(text_of(name), 100 + seed)
        is_timm = not isinstance(image, VisionTransformer)
        layers: dict[str, np.ndarray] = {}
        blocks = image.blocks if is_timm else image.transformer.resblocks
        for which, some in (("image", blocks), ("text", text.transformer.resblocks)):
            for i, block in enumerate(some):
                record(layers, f"{which}/transformer.resblocks.{i}", block)
        if config.image.ln_pre:
            record(layers, "image/ln_pre", image.norm_pre if is_timm else image.ln_pre)
        record(layers, "image/ln_post", image.norm if is_timm else image.ln_post)
        size = config.image.image_size
        pixels, ids = np.random.default_rng(3).normal(size=(2, 3, size, size)), tokens(name)
        with torch.no_grad():
            layers["image/features"] = image(torch.from_numpy(pixels)).numpy()
            layers["text/features"] = text(torch.from_numpy(ids)).numpy()
        prefix = "visual.trunk." if is_timm else "visual."
        state = {prefix + k: v for k, v in image.state_dict().items()}
        state |= {"text." + k: v for k, v in text.state_dict().items() if k != "attn_mask"}
        state |= {"logit_scale": torch.tensor(1.25)} | ({"logit_bias": torch.tensor(-2.5)} if config.logit_bias else {})
        state = {
            k: v.half().numpy() if v.is_floating_point() else v.numpy() for k, v in state.items() if "rope" not in k
        }
        said = {"torch": torch.__version__, "timm": timm.__version__, "open_clip": open_clip.__version__}
        said |= {"activation": repr(blocks[0].mlp.act if is_timm else blocks[0].mlp.gelu), "eps": (
            blocks[0].norm1 if is_timm else blocks[0].ln_1).eps, "text_eps": text.ln_final.eps}  # fmt: skip
        np.savez_compressed(
            OUT / f"{name}.npz", pixels=pixels.transpose(0, 2, 3, 1), tokens=ids, said=json.dumps(said),
            **{f"state/{k}": v for k, v in state.items()}, **layers,
        )  # fmt: skip
        print(name, (OUT / f"{name}.npz").stat().st_size, said["activation"])


if __name__ == "__main__":
    main()
