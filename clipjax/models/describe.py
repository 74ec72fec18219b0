"""What a model is, for people and for programs: `clipjax models FILE`, and the line that a conversion prints."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from clipjax.models import families, kinds
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE
from clipjax.models.kinds import text as texts
from clipjax.models.kinds import vit as vits
from clipjax.models.kinds.base import EncoderConfig
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT
from clipjax.models.weights import Weights


def describe(loaded: Weights) -> dict[str, Any]:
    """Everything that changes a number, as plain JSON types; `dtypes` counts parameters by type."""
    counted = {name: array for name, array in loaded.flat.items() if "running_" not in name}
    dtypes: collections.Counter[str] = collections.Counter()
    for array in counted.values():
        dtypes[str(array.dtype)] += array.size
    return {
        "name": loaded.name,
        "image": _encoder(loaded.config.image),
        "text": _encoder(loaded.config.text),
        "embed_dim": loaded.config.embed_dim,
        **_inputs(loaded.config),
        **_logits(loaded),
        "parameters": sum(dtypes.values()),
        "dtypes": dict(dtypes),
        "flops": _flops(loaded.config),
        "source": dict(loaded.source),
    }


def family(encoder: EncoderConfig) -> str:
    """The row of `families` that the encoder has, sizes aside; "" where there is none."""
    if isinstance(encoder, ViT):
        rows, base, sizes = families.IMAGE, vits.OPENAI, ("pool_heads", "pool_mlp")
    elif isinstance(encoder, Text):
        rows, base, sizes = families.TEXT, texts.OPENAI, ()
    else:
        return ""
    for name, row in rows.items():
        said = {key: value for key, value in (base | row).items() if key not in sizes}
        if all(getattr(encoder, key) == value for key, value in said.items()):
            return name
    return ""


def _flops(config: CLIP) -> dict[str, int]:
    """Of the products of one image, and of one text of the whole context: two operations per multiply-add."""
    parts = {"image": config.image, "text": config.text}
    return {name: sum(p.flops for p in encoder.products(config.embed_dim)) for name, encoder in parts.items()}


def _encoder(encoder: EncoderConfig) -> dict[str, Any]:
    """Its configuration; what tells families apart only where it differs from OpenAI's."""
    own = {k: v for k, v in kinds.stored_form(encoder).items() if k not in encoder.implied or v != encoder.implied[k]}
    named = {"family": name} if (name := family(encoder)) else {}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in own.items()} | named


def _inputs(config: CLIP) -> dict[str, Any]:
    pixels, tokens = config.pixels, config.tokens
    said: dict[str, Any] = {"mean": list(pixels.mean), "std": list(pixels.std), "resize": pixels.resize}
    said |= {"interpolation": pixels.interpolation, "tokenizer": tokens.kind}
    if tokens.kind != CLIP_BPE.kind:
        said |= {"tokenizer sha256": tokens.file_sha256, "clean": tokens.clean, "pad id": tokens.pad_id}
    return said


def _logits(loaded: Weights) -> dict[str, float]:
    """The factor of the cosine, exp(logit_scale), and the logit bias of models trained with a sigmoid loss."""
    scale, bias = (loaded.flat.get(name) for name in ("logit_scale", "logit_bias"))
    said = {} if scale is None else {"scale": float(np.exp(np.asarray(scale, np.float32)))}
    return said | ({} if bias is None else {"logit_bias": float(np.asarray(bias, np.float32))})


def one_line(loaded: Weights) -> str:
    """Sizes, heads, activation and types, e.g. `ViT, 224 px in patches of 32, width 768, layers 12, heads 12; ...`."""
    what, config = describe(loaded), loaded.config
    image, text = (encoder.get("activation") for encoder in (what["image"], what["text"]))
    given = [name for name in dict.fromkeys((image, text)) if name]
    activation = f"{image} (image), {text} (text)" if len(given) > 1 else given[0] if given else "no activation"
    sizes = f"{config.image.summary()}; {config.text.summary()}"
    types = " and ".join(sorted(what["dtypes"]))
    return f"{sizes}; {activation}; {what['parameters'] / 1e6:.1f} million parameters, {types}"


def table(what: dict[str, Any]) -> str:
    """One line per fact, names before values."""
    image, text = what["image"], what["text"]
    rows = {key: what[key] for key in ("name", "file", "format", "sha256")}
    rows |= {"missing": "; ".join(what["missing"])} if what.get("missing") else {}
    rows |= {"image encoder": image["kind"], "  image size": f"{image['image_size']} px"}
    rows |= {f"  {key.replace('_', ' ')}": v for key, v in image.items() if key not in ("kind", "image_size")}
    rows |= {"text encoder": ""} | {f"  {key.replace('_', ' ')} ": v for key, v in text.items()}
    rows |= {
        "embedding": what["embed_dim"],
        "pixel mean": ", ".join(map(str, what["mean"])),
        "pixel std": ", ".join(map(str, what["std"])),
        "resize": f"{what['resize']}, {what['interpolation']}",
        "tokenizer": what["tokenizer"],
        **{name: what[name] for name in ("tokenizer sha256", "clean", "pad id") if name in what},
        **{name.replace("_", " "): f"{what[name]:g}" for name in ("scale", "logit_bias") if name in what},
        "parameters": f"{what['parameters']:,} ({', '.join(f'{n:,} {d}' for d, n in what['dtypes'].items())})",
        "products": ", ".join(f"{flops / 1e9:.2f} GFLOP per {one}" for one, flops in what["flops"].items()),
        "source": ", ".join(f"{k} {v}" for k, v in what["source"].items() if not isinstance(v, dict)),
    }
    return "\n".join(f"{name:<20} {value}" for name, value in rows.items())
