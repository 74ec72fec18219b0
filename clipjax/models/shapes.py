"""Names and shapes of every parameter of a configuration, in arithmetic: what files are checked against.

Neither jax nor flax is imported here, so that converting a file needs neither. That these are the shapes of the
modules themselves is a test's business (tests/models/test_shapes.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clipjax.errors import InputError, some
from clipjax.models.config import CLIP, ResNet, Text, ViT

Named = Iterator[tuple[str, tuple[int, ...]]]


def shapes(config: CLIP) -> dict[str, tuple[int, ...]]:
    """Dotted name -> shape of every parameter, in JAX layouts: Linear [in, out], convolution HWIO."""
    image, embed_dim = config.image, config.embed_dim
    named = _resnet(image, embed_dim) if isinstance(image, ResNet) else _vit(image, embed_dim)
    visual = {f"visual.{name}": shape for name, shape in named}
    return visual | dict(_text(config.text, embed_dim)) | {"logit_scale": ()}


def check(config: CLIP, flat: Mapping[str, Any], where: str, unknown: Sequence[str] = ()) -> None:
    """Refuses parameters that are not exactly this configuration's, by name and shape, in one message.

    `unknown` are names of a file that stand for no parameter of any CLIP.
    """
    want = shapes(config)
    problems = []
    if missing := sorted(want.keys() - flat.keys()):
        problems.append(f"without {some(missing)}")
    if extra := [*unknown, *sorted(flat.keys() - want.keys())]:
        problems.append(f"with {some(extra)}")
    wrong = [f"{k} {tuple(flat[k].shape)} instead of {s}" for k, s in want.items()
             if k in flat and tuple(flat[k].shape) != s]  # fmt: skip
    if wrong:
        problems.append(f"wrong shapes: {some(wrong)}")
    if problems:
        raise InputError(f"{where}: its tensors are not those of its configuration: {'; '.join(problems)}{_why(extra)}")


# What in a tensor's name tells of a model that clipjax does not build.
_KINDS = {
    "visual.trunk.": "an image encoder of timm", "text.transformer.embeddings": "a text encoder of Hugging Face",
    "attn_pool.": "attention pooling", "text_decoder.": "CoCa", "vision_model.head.": "SigLIP",
    "positional_embedding_res": "Long-CLIP", "lora_": "LoRA adapters: merge them first",
    ".gamma": "LayerScale", "absmax": "quantised weights", "qweight": "quantised weights",
    "weight_scale": "quantised weights", "theta": "weights split into length and direction (GmP): take the plain ones",
}  # fmt: skip


def _why(names: Sequence[str]) -> str:
    kinds = {what: None for part, what in _KINDS.items() if any(part in name for name in names)}
    return f" ({'; '.join(kinds)})" if kinds else ""


def _linear(name: str, d_in: int, d_out: int) -> Named:
    yield f"{name}.weight", (d_in, d_out)
    yield f"{name}.bias", (d_out,)


def _norm(name: str, width: int, *leaves: str) -> Named:
    yield from ((f"{name}.{leaf}", (width,)) for leaf in ("weight", "bias", *leaves))


def _blocks(tower: ViT | Text) -> Named:
    d = tower.width
    for i in range(tower.layers):
        block = f"transformer.resblocks.{i}."
        yield block + "attn.in_proj_weight", (d, 3 * d)
        yield block + "attn.in_proj_bias", (3 * d,)
        yield from _linear(block + "attn.out_proj", d, d)
        yield from _norm(block + "ln_1", d)
        yield from _linear(block + "mlp.c_fc", d, tower.mlp)
        yield from _linear(block + "mlp.c_proj", tower.mlp, d)
        yield from _norm(block + "ln_2", d)


def _vit(image: ViT, embed_dim: int) -> Named:
    yield "conv1.weight", (image.patch_size, image.patch_size, 3, image.width)
    yield "class_embedding", (image.width,)
    yield "positional_embedding", (image.tokens, image.width)
    yield from _norm("ln_pre", image.width)
    yield from _blocks(image)
    yield from _norm("ln_post", image.width)
    yield "proj", (image.width, embed_dim)


def _text(text: Text, embed_dim: int) -> Named:
    yield "token_embedding.weight", (text.vocab_size, text.width)
    yield "positional_embedding", (text.context_length, text.width)
    yield from _blocks(text)
    yield from _norm("ln_final", text.width)
    yield "text_projection", (text.width, embed_dim)


def _convolution(name: str, norm: str, d_in: int, d_out: int, kernel: int) -> Named:
    yield f"{name}.weight", (kernel, kernel, d_in, d_out)
    yield from _norm(norm, d_out, "running_mean", "running_var")


def _resnet(image: ResNet, embed_dim: int) -> Named:
    w = image.width
    for i, (d_in, d_out) in enumerate(((3, w // 2), (w // 2, w // 2), (w // 2, w)), 1):
        yield from _convolution(f"conv{i}", f"bn{i}", d_in, d_out, 3)
    d_in = w
    for stage, blocks in enumerate(image.layers):
        planes = w * 2**stage
        for i in range(blocks):
            block = f"layer{stage + 1}.{i}."
            yield from _convolution(block + "conv1", block + "bn1", d_in, planes, 1)
            yield from _convolution(block + "conv2", block + "bn2", planes, planes, 3)
            yield from _convolution(block + "conv3", block + "bn3", planes, planes * 4, 1)
            if i == 0:  # the first of a stage strides or widens, or both
                yield from _convolution(block + "downsample.0", block + "downsample.1", d_in, planes * 4, 1)
            d_in = planes * 4
    d = w * 32
    yield "attnpool.positional_embedding", (image.tokens, d)
    for name in ("q_proj", "k_proj", "v_proj"):
        yield from _linear(f"attnpool.{name}", d, d)
    yield from _linear("attnpool.c_proj", d, embed_dim)
