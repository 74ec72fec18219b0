"""Hugging Face CLIP folders (`CLIPModel`): rules, config.json read strictly, and a folder that from_pretrained opens.

Attributes that change the numbers are read; those known not to are listed; any other is refused by name. The
defaults below are transformers' own for `CLIPTextConfig`, `CLIPVisionConfig` and `CLIPImageProcessor`, which its
`save_pretrained` leaves out of the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from checkpoints_convert import rules, vocabulary
from checkpoints_convert.encoders import openai_encoders
from checkpoints_convert.options import RGB
from checkpoints_convert.rules import CONV, LINEAR, SAME, Dialect, Rule
from clipjax import stored
from clipjax.errors import InputError, brief
from clipjax.files import write_folder
from clipjax.models import catalog, weights
from clipjax.models.config import CLIP
from clipjax.models.kinds.base import ACTIVATIONS
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

CONFIG_FILE = "config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
Pixels = tuple[RGB, RGB]  # mean, std
OPENAI_PIXELS: Pixels = (catalog.OPENAI_MEAN, catalog.OPENAI_STD)  # CLIPImageProcessor's own defaults


def _block(ours: str, theirs: str) -> tuple[Rule, ...]:
    o, t = ours + "transformer.resblocks.{n}.", theirs + "encoder.layers.{n}."
    qkv = [f"{t}self_attn.{p}_proj." for p in "qkv"]
    pairs = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
             "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}  # fmt: skip
    return (
        Rule(o + "attn.in_proj_weight", tuple(p + "weight" for p in qkv), LINEAR),
        Rule(o + "attn.in_proj_bias", tuple(p + "bias" for p in qkv), SAME),
        *(Rule(f"{o}{a}.weight", f"{t}{b}.weight", SAME if a.startswith("ln") else LINEAR) for a, b in pairs.items()),
        *(Rule(f"{o}{a}.bias", f"{t}{b}.bias", SAME) for a, b in pairs.items()),
    )


def _norm(ours: str, theirs: str) -> tuple[Rule, ...]:
    return tuple(Rule(f"{ours}.{leaf}", f"{theirs}.{leaf}", SAME) for leaf in ("weight", "bias"))


DIALECT = Dialect(
    "Hugging Face",
    (
        Rule("visual.class_embedding", "vision_model.embeddings.class_embedding", SAME),
        Rule("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight", SAME),
        Rule("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight", CONV),
        *_norm("visual.ln_pre", "vision_model.pre_layrnorm"),  # the typing error is theirs
        *_block("visual.", "vision_model."),
        *_norm("visual.ln_post", "vision_model.post_layernorm"),
        Rule("visual.proj", "visual_projection.weight", LINEAR),
        Rule("token_embedding.weight", "text_model.embeddings.token_embedding.weight", SAME),
        Rule("positional_embedding", "text_model.embeddings.position_embedding.weight", SAME),
        *_block("", "text_model."),
        *_norm("ln_final", "text_model.final_layer_norm"),
        Rule("text_projection", "text_projection.weight", LINEAR),
        Rule("logit_scale", "logit_scale", SAME),
    ),
    ignored={
        "vision_model.embeddings.position_ids": "0, 1, 2, ...: derived",
        "text_model.embeddings.position_ids": "as above",
    },
)

TEXT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}  # fmt: skip
VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_channels": 3, "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip


class _Config(TypedDict, total=False):
    text_config: dict[str, Any] | None
    vision_config: dict[str, Any] | None
    text_config_dict: dict[str, Any] | None
    vision_config_dict: dict[str, Any] | None


class _Edge(TypedDict, total=False):
    shortest_edge: stored.Whole
    height: stored.Whole
    width: stored.Whole


class _Pixels(TypedDict, total=False):
    size: stored.Whole | _Edge
    crop_size: stored.Whole | _Edge
    rescale_factor: float
    image_mean: list[float]
    image_std: list[float]


class _Processor(TypedDict, total=False):
    image_processor: _Pixels | None


# Known not to change what a trained model computes: training-time, bookkeeping, and the attributes that every
# older config.json of transformers repeats for text generation.
INERT = frozenset(
    """
    _attn_implementation_autoset _attn_implementation_internal _commit_hash _name_or_path add_cross_attention
    architectures attention_dropout bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward
    cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dropout dtype early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing id2label initializer_factor initializer_range is_decoder
    is_encoder_decoder label2id length_penalty logit_scale_init_value max_length min_length model_type
    no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_attentions output_hidden_states
    output_scores pad_token_id prefix problem_type projection_dim pruned_heads remove_invalid_values
    repetition_penalty return_dict return_dict_in_generate sep_token_id suppress_tokens task_specific_params
    temperature text_config_dict tf_legacy_loss tie_encoder_decoder tie_word_embeddings tokenizer_class top_k
    top_p torch_dtype torchscript transformers_version typical_p use_bfloat16 use_cache vision_config_dict
    """.split()
)


def is_clip(folder: Path) -> bool:
    """Whether the folder's config.json describes a CLIP, and not timm's or another family's model."""
    path = folder / CONFIG_FILE
    return path.is_file() and stored.read(path, dict).get("model_type") == "clip"


def read_config(folder: Path, mean: RGB | None = None, std: RGB | None = None) -> tuple[CLIP, tuple[str, ...]]:
    """config.json, the image processor's and the tokenizer's files -> our configuration, and notes.

    `mean` and `std` of pixels are for folders that do not say them. What clipjax does not build is refused with
    every reason at once.
    """
    where = folder / CONFIG_FILE
    data = stored.read(where, dict[str, Any])
    stored.check(data, _Config, str(where))
    if data.get("model_type") != "clip":
        raise InputError(f"{where}: {_other_model(data)}")
    text = TEXT_DEFAULTS | (data.get("text_config") or {}) | (data.get("text_config_dict") or {})
    vision = VISION_DEFAULTS | (data.get("vision_config") or {}) | (data.get("vision_config_dict") or {})
    reasons = _unknown(data, {"text_config", "vision_config"})
    reasons += _unknown(text, TEXT_DEFAULTS, "text_config.") + _unknown(vision, VISION_DEFAULTS, "vision_config.")
    if vision["num_channels"] != 3:
        reasons.append(f"num_channels is {brief(vision['num_channels'])}; clipjax reads colour images (3)")
    reasons += [
        f"{name}.hidden_act {brief(part['hidden_act'])}: clipjax has {', '.join(ACTIVATIONS)}"
        for name, part in (("text_config", text), ("vision_config", vision)) if part["hidden_act"] not in ACTIVATIONS
    ]  # fmt: skip
    # 2 is transformers' old default: it then reads the highest id, as OpenAI does. The last id is the same rule.
    if text["eos_token_id"] not in (2, catalog.WORDS - 1) and text["eos_token_id"] != text["vocab_size"] - 1:
        reasons.append(
            f"eos_token_id {brief(text['eos_token_id'])} is not the highest of {brief(text['vocab_size'])} ids; "
            "clipjax reads a text at its highest id"
        )
    if type(text["vocab_size"]) is int and text["vocab_size"] > catalog.WORDS:
        reasons.append(f"vocab_size {text['vocab_size']} is not that of CLIP's tokenizer, {catalog.WORDS}")
    reasons += vocabulary.differences(folder)
    given = bool(mean and std)
    found = _pixels(folder, vision["image_size"], reasons)
    mean, std = found or (mean or OPENAI_PIXELS[0], std or OPENAI_PIXELS[1])
    note = f"{folder}: no {' or '.join(PROCESSORS)}; pixels are normalised as OpenAI's (--mean, --std)"
    if reasons:
        raise InputError(f"{where}: clipjax does not build this model: {'; '.join(reasons)}")
    try:
        image = ViT(
            vision["image_size"], vision["patch_size"], vision["hidden_size"], vision["num_hidden_layers"],
            vision["num_attention_heads"], vision["intermediate_size"], vision["hidden_act"], vision["layer_norm_eps"],
        )  # fmt: skip
        texts = Text(
            text["max_position_embeddings"], text["vocab_size"], text["hidden_size"], text["num_hidden_layers"],
            text["num_attention_heads"], text["intermediate_size"], text["hidden_act"], text["layer_norm_eps"],
        )  # fmt: skip
        config = CLIP(data.get("projection_dim", 512), image, texts, mean, std, "clip-bpe")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return config, () if found or given else (note,)


def _other_model(data: Mapping[str, Any]) -> str:
    kind = data.get("model_type")
    if kind in ("clip_vision_model", "clip_text_model"):
        part, other = ("image", "text") if kind == "clip_vision_model" else ("text", "image")
        return f"holds a CLIP's {part} encoder alone; clipjax needs its {other} encoder too: take the whole CLIPModel"
    if "architecture" in data:
        return f"is timm's, of the image encoder {brief(data['architecture'])} alone; clipjax needs the whole CLIP"
    return f"model_type is {brief(kind)!r}, not 'clip'; clipjax builds OpenAI's architecture"


def _pixels(folder: Path, image_size: Any, reasons: list[str]) -> Pixels | None:
    """Mean and std of the image processor's files, None where there is none; adds to `reasons`."""
    found: dict[Pixels, str] = {}
    for name in PROCESSORS:
        if not (folder / name).is_file():
            continue
        data = stored.read(folder / name, dict[str, Any])
        stored.check(data, _Processor if name == "processor_config.json" else _Pixels, str(folder / name))
        if name == "processor_config.json":  # transformers 5 keeps the image processor's settings inside
            data = data.get("image_processor")
        if data is not None:
            found.setdefault(_one_processor(data, image_size, name, reasons), name)
    if len(found) > 1:
        reasons.append(f"{' and '.join(found.values())} differ in image_mean or image_std; delete the wrong one")
    return next(iter(found), None)


def _one_processor(data: Mapping[str, Any], image_size: Any, name: str, reasons: list[str]) -> Pixels:
    size, crop = data.get("size", 224), data.get("crop_size", 224)
    edge = size.get("shortest_edge") if isinstance(size, dict) else size
    square = [crop.get("height"), crop.get("width")] if isinstance(crop, dict) else [crop, crop]
    expected = {"do_resize": True, "do_center_crop": True, "do_normalize": True, "do_rescale": True, "resample": 3,
                "do_pad": False}  # fmt: skip
    for key, value in expected.items():
        if data.get(key) not in (None, value):
            reasons.append(f"{name}: {key} is {brief(data[key])}; clipjax prepares pixels as OpenAI does ({value})")
    kind = data.get("image_processor_type") or data.get("feature_extractor_type")
    if kind is not None and not str(kind).startswith("CLIP"):
        reasons.append(f"{name}: {brief(kind)} prepares pixels in another way than CLIPImageProcessor")
    if abs(data.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        reasons.append(f"{name}: rescale_factor is {data['rescale_factor']}, not 1/255")
    if edge is None:
        reasons.append(f"{name}: size {brief(size)}; clipjax scales the short side (shortest_edge) and crops")
    elif edge != image_size or square != [image_size, image_size]:
        sizes = f"size {brief(size)} and crop_size {brief(crop)}"
        reasons.append(f"{name}: {sizes} are not the model's image size {brief(image_size)}")
    mean: Any = tuple(data.get("image_mean") or OPENAI_PIXELS[0])  # three of them, or `CLIP` refuses
    std: Any = tuple(data.get("image_std") or OPENAI_PIXELS[1])
    return mean, std


def write(folder: str | Path, flat: Mapping[str, np.ndarray], config: CLIP) -> None:
    """A new folder that `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained` open; whole or not at all."""
    folder = Path(folder)
    if isinstance(openai_encoders(config)[0], ResNet):
        raise InputError(f"{folder}: Hugging Face's CLIPModel has no ResNet; use --to=openai or --to=open_clip")
    from clipjax.text import merges  # the tokenizer, which no other conversion needs
    from clipjax.text import vocabulary as words

    tensors = rules.from_native(DIALECT, flat, str(folder))

    def fill(temporary: Path) -> None:
        weights.save_tensors(temporary / "model.safetensors", tensors, {"format": "pt"})
        for name, data in {
            "config.json": config_json(config, widest(flat)),
            "preprocessor_config.json": _preprocessor_json(config),
            "tokenizer_config.json": _tokenizer_json(config),
            "vocab.json": words(),
        }.items():
            (temporary / name).write_text(json.dumps(data, indent=2 if len(data) < 100 else None) + "\n")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges())]
        (temporary / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    write_folder(folder, fill)


def widest(flat: Mapping[str, np.ndarray]) -> str:
    """The narrowest dtype that holds every tensor of `flat` unchanged.

    transformers 5 creates a model in the dtype of its config.json and copies every tensor into that.
    """
    dtypes = {array.dtype.name for array in flat.values()}
    if len(dtypes) == 1:
        return dtypes.pop()
    return "float64" if "float64" in dtypes else "float32"  # neither of float16 and bfloat16 holds the other


def config_json(config: CLIP, dtype: str) -> dict[str, Any]:
    """config.json for CLIPModel. Pooling at the highest id is what eos_token_id = vocab_size - 1 means there."""
    image, text = openai_encoders(config)
    assert isinstance(image, ViT)
    common = {"projection_dim": config.embed_dim, "attention_dropout": 0.0}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "dtype": dtype,
        "text_config": common | {
            "model_type": "clip_text_model", "vocab_size": text.vocab_size, "hidden_size": text.width,
            "intermediate_size": text.mlp, "num_hidden_layers": text.layers, "num_attention_heads": text.heads,
            "max_position_embeddings": text.context_length, "hidden_act": text.activation,
            "layer_norm_eps": text.eps, "bos_token_id": text.vocab_size - 2, "eos_token_id": text.vocab_size - 1,
        },
        "vision_config": common | {
            "model_type": "clip_vision_model", "hidden_size": image.width, "intermediate_size": image.mlp,
            "num_hidden_layers": image.layers, "num_attention_heads": image.heads, "num_channels": 3,
            "image_size": image.image_size, "patch_size": image.patch_size, "hidden_act": image.activation,
            "layer_norm_eps": image.eps,
        },
    }  # fmt: skip


def _preprocessor_json(config: CLIP) -> dict[str, Any]:
    size = config.image.image_size
    return {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": size},
        "resample": 3, "do_center_crop": True, "crop_size": {"height": size, "width": size}, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": list(config.mean),
        "image_std": list(config.std), "do_convert_rgb": True,
    }  # fmt: skip


def _tokenizer_json(config: CLIP) -> dict[str, Any]:
    return {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": config.text.context_length,
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }  # fmt: skip


def _unknown(data: Mapping[str, Any], known: Any, at: str = "") -> list[str]:
    return [f"unknown attribute {at}{brief(name)}" for name in sorted(set(data) - set(known) - INERT)]
