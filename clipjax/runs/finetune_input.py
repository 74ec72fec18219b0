"""What fine-tuning reads: training and validation pairs, the first weights, and how they come to the devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from clipjax import loading, parallel
from clipjax.data.kinds.shared import column_names
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.image import Preprocess
from clipjax.models import clip, resize, weights
from clipjax.models import config as architectures
from clipjax.runs import data as opening
from clipjax.runs import task as tasks
from clipjax.runs.finetune_config import FinetuneConfig, PairsData, ResizeKeys
from clipjax.runs.mixture import Part, parts
from clipjax.train import augment, feed, hard_negatives
from clipjax.train.pairs import Pairs, joined, pairs
from clipjax.train.texts import Texts
from clipjax.train.weighing import LABEL


def training_pairs(config: FinetuneConfig) -> tuple[Pairs, Pairs | None]:
    """The training pairs, and those of the validation part where the config names one."""
    share, path, split = config.evaluate.share, config.data.validation_path, config.validation_split
    if not 0 <= share < 1:
        raise InputError(f"evaluate.share={share}: a share of the images, from 0 to below 1")
    if share and (path or split):
        raise InputError(
            "evaluate.share, and data.validation_path or validation_split, both say what validates; keep one"
        )
    tables = parts(config)
    sources = [_source(config, opening.open_source(_with_columns(part.data)).source) for part in tables]
    if path or split:
        held = tables[:1] if path else tables
        # A path stands for that of the first table; a split is a part of each.
        opened = [opening.open_part(_with_columns(part.data), "validation", split).source for part in held]
        validation = _pairs(config, held, [_source(config, one) for one in opened], held=True)
        return _pairs(config, tables, sources), _unweighted(validation)
    if not share:
        return _pairs(config, tables, sources), None
    sides = [_split(source, share) for source in sources]
    training, validation = (_pairs(config, tables, [side[k] for side in sides]) for k in (0, 1))
    return training, _unweighted(validation)


def _split(source: Source, share: float) -> tuple[Source, Source]:
    """What trains, and what validates: by content, so that copies of an image are on one side, and a row more moves
    none of the others."""
    place = source.digests(np.arange(len(source)))[:, :4].copy().view(">u4").reshape(-1) / 2**32
    held = place < share
    if held.all() or not held.any():
        raise InputError(f"evaluate.share={share} of {len(source)} images of {source.name} leaves nothing on one side")
    return source.select(np.flatnonzero(~held)), source.select(np.flatnonzero(held))


def _pairs(config: FinetuneConfig, tables: Sequence[Part], sources: Sequence[Source], held: bool = False) -> Pairs:
    """The pairs of the tables' sources; one table's are its own. held: of the validation part that the config names."""
    numbers: dict[str, int] = {}
    found = [
        pairs(
            source, part.templates, part.data.id_column, config.data.max_skipped, part.data.weight_column,
            part.data.balance, numbers, _hard_negatives(part.data, config.validation_split if held else None),
        )
        for part, source in zip(tables, sources, strict=True)
    ]  # fmt: skip
    if len(found) == 1:
        return found[0]
    factors = [
        part.weight if part.share is None else part.share / len(one) for part, one in zip(tables, found, strict=True)
    ]
    return joined(found, factors)


def _unweighted(found: Pairs) -> Pairs:
    """Each pair once, as a validation part has them."""
    return dataclasses.replace(found, weights=np.ones(len(found)))


def _hard_negatives(data: PairsData, validation_split: str | None) -> hard_negatives.Cells | None:
    """The cells of `data.hard_negative_columns` by file; None without that key. validation_split: None for training."""
    if not data.hard_negative_columns:
        return None
    if "caption_columns" not in opening.keys_of(data.source):
        readers = ", ".join(opening.readers_of("caption_columns"))
        raise InputError(f"data.hard_negative_columns is not read by the source {data.source}; it is read by {readers}")
    # Read as captions are, whose rows and columns they stand in.
    given = data.given | {"caption_columns": data.hard_negative_columns, "label_column": "", "group_columns": ""}
    changed = dataclasses.replace(data, given=given)
    if validation_split is None:
        source = opening.open_source(changed).source
    else:
        source = opening.open_part(changed, "validation", validation_split).source
    return dict(zip(source.files.tolist(), source.captions, strict=True))


def _with_columns(data: PairsData) -> PairsData:
    """With the columns that its keys name among those that the source reads."""
    if "group_columns" not in opening.keys_of(data.source):
        return data
    groups = column_names(data.given.get("group_columns", ""))
    named = [data.id_column, data.weight_column, data.balance if data.balance != LABEL else ""]
    columns = ",".join(dict.fromkeys([*groups, *filter(None, named)]))
    return dataclasses.replace(data, given=data.given | {"group_columns": columns})


def _source(config: FinetuneConfig, source: Source) -> Source:
    """The data; labels, which serve as captions if the data has none, renamed to the words of `classes`."""
    if not config.classes:
        return source
    if source.captions is not None or source.labels is None:
        raise InputError(f"{source.name}: config.classes names labels, and the images have captions; leave it out")
    asked = tasks.chosen("", config.classes)
    assert asked is not None
    return dataclasses.replace(source, labels=source.labels.align(asked.names, source.name))


def mesh_of(config: FinetuneConfig) -> Mesh:
    """The devices that train."""
    devices = jax.devices()
    if config.devices:
        if jax.process_count() > 1 or not 0 < config.devices <= len(devices):
            raise InputError(f"devices={config.devices}: 1 to {len(devices)} on one host, 0 for all")
        devices = devices[: config.devices]
    if config.batch_size % (config.parts * len(devices)):
        raise InputError(
            f"batch_size={config.batch_size} does not divide over {len(devices)} devices in {config.parts} parts"
        )
    return parallel.training_mesh(config.fsdp, devices)


def first_weights(config: FinetuneConfig) -> tuple[weights.Weights, Path | None]:
    """The weights before the first step, float32: loaded, or drawn from the seed; and the tokenizer beside them."""
    if bool(config.model) == bool(config.architecture):
        raise InputError("name either config.model (weights to begin from) or config.architecture (from scratch)")
    options = loading.options_of(config.weights)
    if config.architecture and options != loading.Options():
        raise InputError("config.weights.* is for weights of a file; with config.architecture nothing is read")
    if config.architecture and config.resize != ResizeKeys():
        raise InputError("resize.* changes weights of a file; with config.architecture name the sizes there")
    if config.architecture:
        architecture = architectures.from_dict(config.architecture)
        flat = clip.flatten(clip.init(architecture, jax.random.key(config.seed)))
        name = config.name or "from-scratch"
        flat = {k: np.asarray(v) for k, v in flat.items()}
        return weights.Weights(flat, architecture, name, {"format": "random"}), None
    loaded = loading.find_weights(config.model, options)
    known, tokenizer = loading.with_tokenizer(loaded.config, config.model)
    flat = {name: np.asarray(array, np.float32) for name, array in loaded.flat.items()}
    begin = weights.Weights(flat, known, loaded.name, loaded.source)
    sizes = config.resize.image_size, config.resize.context, config.resize.positions
    return resize.resized(begin, *sizes), tokenizer


def training_feed(
    config: FinetuneConfig, begin: weights.Weights, data: Pairs, augmentation: augment.Augment | None,
    batch_size: int, seed: int, texts: Texts,
) -> feed.Feed:  # fmt: skip
    """Batches of these pairs for this model, this host's share of them; without `augmentation`, nothing random."""
    architecture = begin.config
    context = config.data.context or architecture.text.context_length
    if context > architecture.text.context_length:
        raise InputError(f"data.context={context}: {begin.name} reads {architecture.text.context_length} tokens")
    if context < architecture.text.context_length and texts.whole:
        raise InputError(
            f"data.context={context}: {begin.name} reads {architecture.text.context_length} tokens, padding too: leave "
            "data.context out"
        )
    if batch_size > len(data):
        raise InputError(
            f"batch_size={batch_size} is more than the {len(data)} pairs of {data.source.name}: an image "
            "would meet itself as its own negative; lower it"
        )
    if data.hard_negatives is not None and config.loss.startswith("ring"):
        raise InputError(f"data.hard_negative_columns is read with loss=softmax or sigmoid, not {config.loss}")
    if len(often := data.repeated(batch_size)) and not config.soft_targets:
        file = data.source.files[data.rows[often[data.weights[often].argmax()]]]
        raise InputError(
            f"{file} is drawn so often that it comes several times in a batch of {batch_size}, and would be its own "
            "negative (soft_targets=False): lower batch_size or its weight, or set soft_targets=True"
        )
    spec = Preprocess(architecture.image.image_size, **vars(architecture.pixels))
    share = (jax.process_index(), jax.process_count())
    return feed.Feed(
        data, batch_size, spec, context, augmentation, seed, share, config.threads, config.data.last_batch,
        texts,
    )  # fmt: skip


def validation_batch(config: FinetuneConfig, validation: Pairs, mesh: Mesh) -> int:
    """Pairs in a batch of the validation part: as in training, or as many as it has, divided over the devices."""
    unit = mesh.size * config.parts
    size = min(config.batch_size, len(validation) // unit * unit)
    if not size:
        raise InputError(
            f"{validation.source.name}: {len(validation)} validation pairs do not divide over {mesh.size} devices in "
            f"{config.parts} parts; name more of them"
        )
    return size
