"""From a probe's config to a folder of prepared images (`clipjax.data.prepared`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from clipjax import loading
from clipjax.data import catalog as data_sets
from clipjax.data import prepared
from clipjax.errors import InputError
from clipjax.models import catalog
from clipjax.progress import Progress
from clipjax.runs import data as opening
from clipjax.runs.config import ProbeConfig, plain, typed, words


def run(config: ConfigDict, out: Path) -> str:
    """Prepares the config's data for its models; returns one line that says what lies where."""
    asked: ProbeConfig = typed(plain(config))
    names = words(asked.data.source)
    if len(names) != 1:
        raise InputError(f"data.source={asked.data.source}: prepare one data set at a time, each into its own --out")
    if asked.data.perturb:
        raise InputError(f"data.perturb={asked.data.perturb}: images are prepared as they are; leave it to the probe")
    size = image_size(words(asked.model), loading.options_of(asked.weights))
    source = opening.open_source(asked.data).source
    data_set = "" if opening.kind(names[0]) else data_sets.find(names[0])
    with Progress("prepare", len(source), "images") as bar:
        info = prepared.write(
            source, size, out, data_set, asked.data.max_skipped,
            progress=lambda n, lost: bar.update(n, skipped=lost),
        )  # fmt: skip
    total = sum(shard["bytes"] for shard in info["shards"].values())
    lost = f", {len(info['skipped'])} of them could not be read" if info["skipped"] else ""
    return f"{out}: {info['n']} images for models of {size} pixels{lost}, {len(info['shards'])} shards, {total:,} bytes"


def image_size(models: tuple[str, ...], options: Any = None) -> int:
    """What the models take; a released one is not fetched for it. InputError where they take different sizes."""
    if not models:
        raise InputError("config.model names at least one model: the images are prepared for its image size")
    sizes = {}
    for name in models:
        release = catalog.find(name)
        if release and options:
            options.check(release.config, name)
        config = release.config if release else loading.find_weights(name, options).config
        sizes[name] = config.image.image_size
    if len(set(sizes.values())) > 1:
        each = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise InputError(f"config.model: these models take different image sizes ({each}); prepare for each alone")
    return sizes[models[0]]
