"""Hugging Face folders (`CLIPModel` and its like): config.json read strictly, and a folder that from_pretrained opens.

Attributes that change the numbers are read; those known not to are listed; any other is refused by name. The
defaults below are transformers' own for `CLIPTextConfig`, `CLIPVisionConfig` and `CLIPImageProcessor`, which its
`save_pretrained` leaves out of the file.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

import numpy as np

from checkpoints_convert import families, rules
from checkpoints_convert.dialects import huggingface as dialects
from checkpoints_convert.encoders import openai_encoders
from checkpoints_convert.families import clip, metaclip2, shared, siglip
from checkpoints_convert.options import Options
from clipjax import stored
from clipjax.errors import InputError, brief, located
from clipjax.files import write_folder
from clipjax.models import catalog, describe, weights
from clipjax.models.config import CLIP, differences
from clipjax.models.inputs import CLIP_BPE, Pixels
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

CONFIG_FILE = "config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
BICUBIC, BILINEAR = 3, 2  # Pillow's numbers of filters


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
    """Whether the folder's config.json describes a model that clipjax builds, and not timm's or another family's."""
    path = folder / CONFIG_FILE
    return path.is_file() and families.of_model_type(stored.read(path, dict).get("model_type")) is not None


def read_config(folder: Path, options: Options | None = None) -> tuple[CLIP, tuple[str, ...]]:
    """config.json, the image processor's and the tokenizer's files -> our configuration, and notes.

    The options' mean and std of pixels are for folders that do not say them. What clipjax does not build is refused
    with every reason at once.
    """
    where = folder / CONFIG_FILE
    data = stored.read(where, dict[str, Any])
    stored.check(data, _Config, str(where))
    family = families.of_model_type(data.get("model_type"))
    if family is None:
        raise InputError(f"{where}: {_other_model(data)}")
    text = family.TEXT_DEFAULTS | (data.get("text_config") or {}) | (data.get("text_config_dict") or {})
    vision = family.VISION_DEFAULTS | (data.get("vision_config") or {}) | (data.get("vision_config_dict") or {})
    reasons = _unknown(data, {"text_config", "vision_config"})
    reasons += _unknown(text, family.TEXT_DEFAULTS, "text_config.")
    reasons += _unknown(vision, family.VISION_DEFAULTS, "vision_config.")
    reasons += family.refused(text, vision)
    tokens = family.tokens(folder, text)
    reasons += tokens if isinstance(tokens, list) else []
    options = options or Options()
    pixels = _pixels(folder, vision["image_size"], family.PIXELS, reasons)
    if reasons:
        raise InputError(f"{where}: clipjax does not build this model: {'; '.join(reasons)}")
    own = family.PIXELS
    given = dataclasses.replace(own, mean=options.mean or own.mean, std=options.std or own.std)
    with located(where):
        config = family.build(data, text, vision, pixels or given, tokens)
    whose = "OpenAI's" if own == catalog.OPENAI_PIXELS else "this family's"
    note = f"{folder}: no {' or '.join(PROCESSORS)}; pixels are normalised as {whose} (--mean, --std)"
    return config, () if pixels or (options.mean and options.std) else (note,)


def _other_model(data: Mapping[str, Any]) -> str:
    kind = data.get("model_type")
    if kind in ("clip_vision_model", "clip_text_model"):
        part, other = ("image", "text") if kind == "clip_vision_model" else ("text", "image")
        return f"holds a CLIP's {part} encoder alone; clipjax needs its {other} encoder too: take the whole CLIPModel"
    if "architecture" in data:
        return f"is timm's, of the image encoder {brief(data['architecture'])} alone; clipjax needs the whole CLIP"
    known = ", ".join(sorted(family.MODEL_TYPE for family in families.modules() if hasattr(family, "MODEL_TYPE")))
    variable = " (SigLIP 2 of variable size)" if kind == "siglip2" else ""
    return f"model_type is {brief(kind)!r}{variable}; clipjax reads {known}"


def _pixels(folder: Path, image_size: Any, default: Pixels, reasons: list[str]) -> Pixels | None:
    """What the image processor's files say, None where there is none; adds to `reasons`."""
    pixels: dict[Pixels, str] = {}
    for name in PROCESSORS:
        if not (folder / name).is_file():
            continue
        data = stored.read(folder / name, dict[str, Any])
        stored.check(data, _Processor if name == "processor_config.json" else _Pixels, str(folder / name))
        if name == "processor_config.json":  # transformers 5 keeps the image processor's settings inside
            data = data.get("image_processor")
        if data is not None:
            with located(folder / name):
                pixels.setdefault(_one_processor(data, image_size, name, default, reasons), name)
    if len(pixels) > 1:
        reasons.append(f"{' and '.join(pixels.values())} differ in how they prepare pixels; delete the wrong one")
    return next(iter(pixels), None)


def _one_processor(data: Mapping[str, Any], image_size: Any, name: str, default: Pixels, reasons: list[str]) -> Pixels:
    expected = {"do_resize": (True,), "do_normalize": (True,), "do_rescale": (True,), "do_pad": (False,),
                "resample": (BICUBIC, BILINEAR)}  # fmt: skip
    for key, values in expected.items():
        if data.get(key) not in (None, *values):
            known = " or ".join(map(str, values))
            reasons.append(f"{name}: {key} is {brief(data[key])}; clipjax prepares pixels with {known}")
    kind = data.get("image_processor_type") or data.get("feature_extractor_type")
    if str(kind).startswith("Siglip"):  # each class has defaults of its own
        default = siglip.PIXELS
    elif str(kind).startswith("CLIP"):
        default = clip.PIXELS
    if kind is not None and not re.match(r"(CLIP|Siglip(?!2))", str(kind)):
        reasons.append(f"{name}: {brief(kind)} prepares pixels in another way than CLIPImageProcessor")
    if abs(data.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        reasons.append(f"{name}: rescale_factor is {data['rescale_factor']}, not 1/255")
    squares = default.resize == "squash"  # SiglipImageProcessor's default, where CLIPImageProcessor crops
    size = data.get("size", {"height": 224, "width": 224} if squares else 224)
    resize = _resize(data, size, image_size, squares, name, reasons)
    interpolation = "bilinear" if data.get("resample") == BILINEAR else "bicubic"
    mean: Any = tuple(data.get("image_mean") or default.mean)  # three of them, or `Pixels` refuses
    std: Any = tuple(data.get("image_std") or default.std)
    return Pixels(mean, std, resize, interpolation, 0)


def _resize(data: Mapping[str, Any], size: Any, image_size: Any, squares: bool, name: str, reasons: list[str]) -> str:
    """ "squash" of a size with height and width, "shortest" of one edge and the crop that makes it a square."""
    crops = data.get("do_center_crop")
    crops = (not squares) if crops is None else crops
    crop = data.get("crop_size", 224)
    square = [crop.get("height"), crop.get("width")] if isinstance(crop, dict) else [crop, crop]
    fits = square == [image_size, image_size]
    sides = [size.get("height"), size.get("width")] if isinstance(size, dict) else [None, None]
    edge = size.get("shortest_edge") if isinstance(size, dict) else size
    if sides != [None, None] and edge is None:
        if sides != [image_size, image_size] or (crops and not fits):
            reasons.append(f"{name}: size {brief(size)} is not the model's image size {brief(image_size)}")
        return "squash"
    if edge is None:
        reasons.append(f"{name}: size {brief(size)}; clipjax scales the short side (shortest_edge) and crops")
    elif crops is not True:
        reasons.append(f"{name}: do_center_crop is {brief(crops)}; an image's short side alone makes no square")
    elif edge != image_size or not fits:
        sizes = f"size {brief(size)} and crop_size {brief(crop)}"
        reasons.append(f"{name}: {sizes} are not the model's image size {brief(image_size)}")
    return "shortest"


def write(folder: str | Path, flat: Mapping[str, np.ndarray], config: CLIP) -> None:
    """A new folder that `from_pretrained` of the family's model and processor open; whole or not at all."""
    folder = Path(folder)
    with located(folder):
        described = config_json(config, widest(flat))
        if config.pixels.resize == "longest":
            raise InputError("CLIPImageProcessor pads no images (resize longest); use --to=clipjax or --to=open_clip")
    names = dialects.SIGLIP if _family_of(config) is siglip else dialects.CLIP
    tensors = rules.from_native(names, flat, str(folder))
    files = {CONFIG_FILE: described, PROCESSORS[0]: _preprocessor_json(config)}

    def fill(temporary: Path) -> None:
        for name, data in (files | _tokenizer_files(config)).items():
            text = data if isinstance(data, str) else json.dumps(data, indent=2 if len(data) < 100 else None) + "\n"
            (temporary / name).write_text(text, encoding="utf-8")
        _check_read_back(temporary, config, folder)
        weights.save_tensors(temporary / "model.safetensors", tensors, {"format": "pt"})

    write_folder(folder, fill)


def _check_read_back(temporary: Path, config: CLIP, folder: Path) -> None:
    """InputError where the folder's files say another model; its `tokenizer.json` comes to it later."""
    tokens = dataclasses.replace(config.tokens, file_sha256=None)
    pixels = dataclasses.replace(config.pixels, fill=0)  # of "longest" only, which is refused before
    if lost := differences(dataclasses.replace(config, tokens=tokens, pixels=pixels), read_config(temporary)[0]):
        raise InputError(f"{folder}: Hugging Face has no words for this model ({'; '.join(lost)}); use --to=clipjax")


def widest(flat: Mapping[str, np.ndarray]) -> str:
    """The narrowest dtype that holds every tensor of `flat` unchanged.

    transformers 5 creates a model in the dtype of its config.json and copies every tensor into that.
    """
    dtypes = {array.dtype.name for array in flat.values()}
    if len(dtypes) == 1:
        return dtypes.pop()
    return "float64" if "float64" in dtypes else "float32"  # neither of float16 and bfloat16 holds the other


def config_json(config: CLIP, dtype: str) -> dict[str, Any]:
    """config.json of CLIPModel, SiglipModel or MetaClip2Model. InputError for a model that none of them is."""
    image, text = config.image, config.text
    family = _family_of(config)
    assert isinstance(image, ViT)
    assert isinstance(text, Text)
    own = family.written(config)
    common = {"attention_dropout": 0.0} | own.get("both", {})
    return own["model"] | {
        "dtype": dtype,
        "text_config": common | shared.sizes_json(text) | {
            "vocab_size": text.vocab_size, "max_position_embeddings": text.context_length} | own["text_config"],
        "vision_config": common | shared.sizes_json(image) | {
            "num_channels": 3, "image_size": image.image_size, "patch_size": image.patch_size} | own["vision_config"],
    }  # fmt: skip


def _family_of(config: CLIP) -> ModuleType:
    """The family whose `config.json` can describe the model. InputError where none can."""
    if isinstance(config.image, ResNet):
        raise InputError("Hugging Face's CLIPModel has no ResNet; use --to=openai or --to=open_clip")
    named = describe.family(config.image), describe.family(config.text)
    if named == ("siglip", "siglip") and config.logit_bias:
        return siglip
    if named == ("openai", "metaclip2") and not config.logit_bias:
        return metaclip2
    openai_encoders(config)  # InputError for encoders that are not OpenAI's
    if config.tokens != CLIP_BPE or config.logit_bias:
        raise InputError("CLIPModel has CLIP's tokenizer and no logit_bias; use --to=clipjax or --to=open_clip")
    return clip


def _preprocessor_json(config: CLIP) -> dict[str, Any]:
    size, is_siglip = config.image.image_size, _family_of(config) is siglip
    squash = config.pixels.resize == "squash"
    crop = {} if is_siglip else {"do_center_crop": not squash, "crop_size": {"height": size, "width": size}}
    return {
        "image_processor_type": "SiglipImageProcessor" if is_siglip else "CLIPImageProcessor", "do_resize": True,
        "size": {"height": size, "width": size} if squash else {"shortest_edge": size},
        "resample": BILINEAR if config.pixels.interpolation == "bilinear" else BICUBIC,
        **crop, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": list(config.pixels.mean),
        "image_std": list(config.pixels.std), "do_convert_rgb": True,
    }  # fmt: skip


def _tokenizer_files(config: CLIP) -> dict[str, Any]:
    """CLIP's own; of other models what their `tokenizer.json`, which is copied beside, does not say."""
    if config.tokens != CLIP_BPE:
        said = _family_of(config).tokenizer_json(config)
        return {"tokenizer_config.json": said | {"model_max_length": config.text.context_length}}
    from clipjax.text import merges, vocabulary  # the tokenizer, which no other conversion needs

    about = {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": config.text.context_length,
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }  # fmt: skip
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges())]
    return {"tokenizer_config.json": about, "vocab.json": vocabulary(), "merges.txt": "\n".join(lines) + "\n"}


def _unknown(data: Mapping[str, Any], known: Any, at: str = "") -> list[str]:
    return [f"unknown attribute {at}{brief(name)}" for name in sorted(set(data) - set(known) - INERT)]
