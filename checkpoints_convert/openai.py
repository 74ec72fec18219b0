"""OpenAI's tensor names, which open_clip's native checkpoints share: rules, and the configuration shapes imply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from checkpoints_convert import rules, torchfile
from checkpoints_convert.rules import CONV, LINEAR, SAME, Dialect, Layout, Rule
from clipjax.errors import InputError, some
from clipjax.models import catalog, shapes
from clipjax.models import config as configs
from clipjax.models.config import CLIP, ResNet, Text, ViT


def _same_names(layout: Layout, *names: str) -> tuple[Rule, ...]:
    return tuple(Rule(name, name, layout) for name in names)


def _block(prefix: str) -> tuple[Rule, ...]:
    b = prefix + "transformer.resblocks.{n}."
    return (
        *_same_names(
            LINEAR,
            b + "attn.in_proj_weight",
            b + "attn.out_proj.weight",
            b + "mlp.c_fc.weight",
            b + "mlp.c_proj.weight",
        ),
        *_same_names(
            SAME, b + "attn.in_proj_bias", b + "attn.out_proj.bias", b + "mlp.c_fc.bias", b + "mlp.c_proj.bias"
        ),
        *_same_names(SAME, b + "ln_1.weight", b + "ln_1.bias", b + "ln_2.weight", b + "ln_2.bias"),
    )


def _batch_norm(name: str) -> tuple[Rule, ...]:
    return _same_names(SAME, *(f"{name}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")))


def _resnet() -> tuple[Rule, ...]:
    out: list[Rule] = []
    for stem in ("visual.", *(f"visual.layer{stage}.{{n}}." for stage in (1, 2, 3, 4))):
        for i in (1, 2, 3):
            out += _same_names(CONV, f"{stem}conv{i}.weight")
            out += _batch_norm(f"{stem}bn{i}")
        if stem != "visual.":
            out += _same_names(CONV, f"{stem}downsample.0.weight")
            out += _batch_norm(f"{stem}downsample.1")
    pool = "visual.attnpool."
    out += _same_names(SAME, pool + "positional_embedding")
    for p in ("q_proj", "k_proj", "v_proj", "c_proj"):
        out += (*_same_names(LINEAR, f"{pool}{p}.weight"), *_same_names(SAME, f"{pool}{p}.bias"))
    return tuple(out)


VIT_RULES = (
    *_same_names(SAME, "visual.class_embedding", "visual.positional_embedding", "visual.proj"),
    *_same_names(SAME, "visual.ln_pre.weight", "visual.ln_pre.bias", "visual.ln_post.weight", "visual.ln_post.bias"),
    *_block("visual."),
)
TEXT_RULES = (
    *_same_names(SAME, "token_embedding.weight", "positional_embedding", "text_projection", "logit_scale"),
    *_same_names(SAME, "ln_final.weight", "ln_final.bias"),
    *_block(""),
)
# `visual.conv1.weight` is the stem's in a ResNet and the patch embedding in a ViT: the same layout, one rule.
DIALECT = Dialect(
    "OpenAI",
    (*_resnet(), *VIT_RULES, *TEXT_RULES),
    ignored={
        "input_resolution": "a constant of the archive, checked against the shapes",
        "context_length": "as above",
        "vocab_size": "as above",
        "attn_mask": "the causal mask, derived",
        "transformer.resblocks.{n}.attn_mask": "the same, where a scripted archive keeps it as an attribute",
        "visual.transformer.resblocks.{n}.attn_mask": "as above",
        **{
            f"visual.{at}num_batches_tracked": "BatchNorm's step counter: no inference reads it"
            for at in (
                "bn1.",
                "bn2.",
                "bn3.",
                *(f"layer{s}.{{n}}.{b}." for s in (1, 2, 3, 4) for b in ("bn1", "bn2", "bn3", "downsample.1")),
            )
        },
    },
)


def implied_config(tensors: Mapping[str, np.ndarray], activation: str, where: str) -> CLIP:
    """The configuration that OpenAI's own `build_model` derives from the shapes of a state dict.

    Heads are width / 64, eps is 1e-5 and the pixel statistics are OpenAI's: that is what the format means. A file
    whose architecture differs in them (open_clip's ViT-H/14 has heads of 80) must bring its configuration.
    """
    shape = {k: tuple(v.shape) for k, v in tensors.items()}
    try:
        embed_dim = shape["text_projection"][1]
        context_length, text_width = shape["positional_embedding"]
        text = Text(
            context_length, shape["token_embedding.weight"][0], text_width, _count(shape, "transformer.resblocks."),
            text_width // 64, shape["transformer.resblocks.0.mlp.c_fc.weight"][0], activation, 1e-5,
        )  # fmt: skip
        image = _implied_vit(shape, activation) if "visual.proj" in shape else _implied_resnet(shape)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{where}: {error}") from error
        there = some(sorted(shape)) or "no tensors"
        raise InputError(
            f"{where}: not a CLIP checkpoint with OpenAI's tensor names (looked for {error}; it has {there})"
        ) from error
    config = catalog.openai(embed_dim, image, text)
    _check_constants(tensors, config, where)
    return config


def _implied_vit(shape: Mapping[str, tuple[int, ...]], activation: str) -> ViT:
    width, _, patch, _ = shape["visual.conv1.weight"]
    grid = round((shape["visual.positional_embedding"][0] - 1) ** 0.5)
    mlp = shape["visual.transformer.resblocks.0.mlp.c_fc.weight"][0]
    layers = _count(shape, "visual.transformer.resblocks.")
    return ViT(grid * patch, patch, width, layers, width // 64, mlp, activation, 1e-5)


def _implied_resnet(shape: Mapping[str, tuple[int, ...]]) -> ResNet:
    width = shape["visual.layer1.0.conv1.weight"][0]
    grid = round((shape["visual.attnpool.positional_embedding"][0] - 1) ** 0.5)
    a, b, c, d = (_count(shape, f"visual.layer{i}.") for i in (1, 2, 3, 4))
    return ResNet(grid * 32, width, (a, b, c, d), width * 32 // 64, 1e-5)


def _count(names: Iterable[str], prefix: str) -> int:
    return len({n[len(prefix) :].split(".")[0] for n in names if n.startswith(prefix)})


def _check_constants(tensors: Mapping[str, np.ndarray], config: CLIP, where: str) -> None:
    """OpenAI's archives carry three sizes as buffers; if they contradict the shapes the file is not what it says."""
    implied = {
        "input_resolution": config.image.image_size,
        "context_length": config.text.context_length,
        "vocab_size": config.text.vocab_size,
    }
    for name, value in implied.items():
        if name in tensors and int(tensors[name]) != value:
            raise InputError(f"{where}: says {name} = {int(tensors[name])}, but its tensors' shapes say {value}")


def to_torch_layout(flat: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """Native tensors under OpenAI's names in torch's layouts, with the BatchNorm counters torch expects."""
    out = rules.from_native(DIALECT, flat, where)
    for name in [n for n in out if n.endswith("running_var")]:
        out[name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    return out


def write(path: str | Path, flat: Mapping[str, np.ndarray], config: CLIP) -> None:
    """An OpenAI-style state dict that `clip.load(path)` opens.

    The format holds no configuration: a model that OpenAI's code would read differently is refused.
    """
    tensors = to_torch_layout(flat, str(path))
    implied = implied_config(tensors, "quick_gelu", str(path))
    if differs := configs.differences(config, implied):
        raise InputError(
            f"{path}: OpenAI's format cannot express this model, clip.load would read it differently "
            f"({'; '.join(differs)}); use --to=open_clip or --to=clipjax"
        )
    torchfile.write(path, tensors)


def read_tensors(tensors: Mapping[str, np.ndarray], config: CLIP, where: str) -> dict[str, np.ndarray]:
    """Tensors with OpenAI's names in torch's layouts -> native flat parameters."""
    return rules.to_native(DIALECT, tensors, shapes.shapes(config), where)
