"""Hugging Face CLIP folders (`CLIPModel`): rules, config.json read strictly, and a folder that from_pretrained opens.

Attributes that change the numbers are read; those known not to are listed; any other is refused by name. The
defaults below are transformers' own for `CLIPTextConfig`, `CLIPVisionConfig` and `CLIPImageProcessor`, which its
`save_pretrained` leaves out of the file.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from checkpoints_convert import rules, torchfile
from checkpoints_convert.rules import CONV, LINEAR, SAME, Dialect, Rule
from clipjax import stored
from clipjax.errors import InputError, brief, some
from clipjax.models import catalog, shapes, weights
from clipjax.models.config import CLIP, ResNet, Text, ViT


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

_TOWERS = dict.fromkeys(("text_config?", "vision_config?", "text_config_dict?", "vision_config_dict?"), (dict, None))
_EDGE = (int, {"shortest_edge?": int, "height?": int, "width?": int})
_PIXELS = {"size?": _EDGE, "crop_size?": _EDGE, "rescale_factor?": float, "image_mean?": list, "image_std?": list}

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


def read(folder: Path, source: Mapping[str, Any]) -> weights.Weights:
    """A folder with config.json and model.safetensors (also sharded, also pytorch_model.bin)."""
    config = read_config(folder)
    tensors = _read_tensors(folder)
    if not any(k.startswith("text_model.") for k in tensors):  # saved from a class that wraps CLIPModel
        tensors = {k.removeprefix("clip."): v for k, v in tensors.items()}
    flat = rules.to_native(DIALECT, tensors, shapes.shapes(config), str(folder))
    return weights.Weights(flat, config, folder.name, dict(source) | {"format": "huggingface"})


def read_config(folder: Path) -> CLIP:
    """config.json (and preprocessor_config.json where it exists) -> our configuration."""
    where = folder / "config.json"
    data = stored.read(where, _TOWERS)
    if data.get("model_type") != "clip":
        raise InputError(f"{where}: model_type is {brief(data.get('model_type'))!r}, not 'clip'")
    _refuse_unknown(data, {"text_config", "vision_config"}, where)
    text = TEXT_DEFAULTS | (data.get("text_config") or {}) | (data.get("text_config_dict") or {})
    vision = VISION_DEFAULTS | (data.get("vision_config") or {}) | (data.get("vision_config_dict") or {})
    _refuse_unknown(text, TEXT_DEFAULTS.keys(), where)
    _refuse_unknown(vision, VISION_DEFAULTS.keys(), where)
    if vision["num_channels"] != 3:
        raise InputError(f"{where}: num_channels is {brief(vision['num_channels'])}; clipjax reads colour images (3)")
    mean, std = _pixel_statistics(folder, vision["image_size"])
    try:
        image_tower = ViT(
            vision["image_size"], vision["patch_size"], vision["hidden_size"], vision["num_hidden_layers"],
            vision["num_attention_heads"], vision["intermediate_size"], vision["hidden_act"], vision["layer_norm_eps"],
        )  # fmt: skip
        text_tower = Text(
            text["max_position_embeddings"], text["vocab_size"], text["hidden_size"], text["num_hidden_layers"],
            text["num_attention_heads"], text["intermediate_size"], text["hidden_act"], text["layer_norm_eps"],
        )  # fmt: skip
        config = CLIP(data.get("projection_dim", 512), image_tower, text_tower, mean, std, "clip-bpe")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    # 2 is transformers' old default: it then reads the highest id, as OpenAI does. The last id is the same rule.
    if text["eos_token_id"] not in (2, text_tower.vocab_size - 1):
        raise InputError(
            f"{where}: eos_token_id {brief(text['eos_token_id'])} is not the highest of {text_tower.vocab_size} ids; "
            "clipjax reads a text at its highest id"
        )
    return config


def _pixel_statistics(folder: Path, image_size: int) -> tuple[Any, Any]:
    where = folder / "preprocessor_config.json"
    if not where.is_file():
        return catalog.OPENAI_MEAN, catalog.OPENAI_STD  # CLIPImageProcessor's own defaults
    data = stored.read(where, _PIXELS)
    size, crop = data.get("size", 224), data.get("crop_size", 224)
    edge = size.get("shortest_edge", size) if isinstance(size, dict) else size
    square = [crop.get("height"), crop.get("width")] if isinstance(crop, dict) else [crop, crop]
    expected = {"do_resize": True, "do_center_crop": True, "do_normalize": True, "do_rescale": True, "resample": 3}
    for key, value in expected.items():
        if data.get(key, value) != value:
            raise InputError(
                f"{where}: {key} is {brief(repr(data[key]))}; clipjax prepares pixels as OpenAI does ({value!r})"
            )
    if abs(data.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        raise InputError(f"{where}: rescale_factor is {data['rescale_factor']}, not 1/255")
    if edge != image_size or square != [image_size, image_size]:
        raise InputError(f"{where}: size {size} and crop_size {crop} are not the model's image size {image_size}")
    return tuple(data.get("image_mean", catalog.OPENAI_MEAN)), tuple(data.get("image_std", catalog.OPENAI_STD))


def _read_tensors(folder: Path) -> dict[str, np.ndarray]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(stored.read(index, {"weight_map": {str: str}})["weight_map"].values()))
        if odd := [s for s in shards if Path(s).name != s or not s.endswith(".safetensors") or not s.isprintable()]:
            raise InputError(f"{index}: names a file outside its folder, or no .safetensors: {brief(odd[0])}")
    elif (folder / "model.safetensors").is_file():
        shards = ["model.safetensors"]
    elif (folder / "pytorch_model.bin").is_file():
        return dict(torchfile.read(folder / "pytorch_model.bin").tensors)
    else:
        raise InputError(f"{folder}: has config.json but neither model.safetensors nor pytorch_model.bin")
    tensors: dict[str, np.ndarray] = {}
    for shard in shards:
        with weights.open_tensors(folder / shard) as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return tensors


def write(folder: str | Path, flat: Mapping[str, np.ndarray], config: CLIP) -> None:
    """A new folder that `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained` open; whole or not at all."""
    folder = Path(folder)
    if isinstance(config.image, ResNet):
        raise InputError(f"{folder}: Hugging Face's CLIPModel has no ResNet; use --to=openai or --to=open_clip")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not an empty folder; name a new one")
    from clipjax.text import merges, vocabulary  # the tokenizer, which no other conversion needs

    tensors = rules.from_native(DIALECT, flat, str(folder))
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.absolute().parent, prefix=f".{folder.name}.", suffix=".tmp"))
    except OSError as error:
        raise InputError(f"{folder}: cannot write there ({error.strerror})") from error
    try:
        weights.save_tensors(temporary / "model.safetensors", tensors, {"format": "pt"})
        for name, data in {
            "config.json": config_json(config, str(flat["visual.proj"].dtype)),
            "preprocessor_config.json": _preprocessor_json(config),
            "tokenizer_config.json": _tokenizer_json(config),
            "vocab.json": vocabulary(),
        }.items():
            (temporary / name).write_text(json.dumps(data, indent=2 if len(data) < 100 else None) + "\n")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges())]
        (temporary / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        os.replace(temporary, folder)  # onto nothing, or onto the empty folder
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def config_json(config: CLIP, dtype: str) -> dict[str, Any]:
    """config.json for CLIPModel. Pooling at the highest id is what eos_token_id = vocab_size - 1 means there."""
    image, text = config.image, config.text
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


def _refuse_unknown(data: Mapping[str, Any], known: Any, where: Path) -> None:
    if unknown := sorted(set(data) - set(known) - INERT):
        names = some([brief(name) for name in unknown])
        raise InputError(f"{where}: unknown attribute {names}; clipjax does not know what it would change")
