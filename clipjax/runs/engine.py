"""Models ready to encode: loaded, hashed and compiled once for all runs of a command that need the same one."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from clipjax import loading
from clipjax.analysis.manifest import SourceFile
from clipjax.encoder import Encoder, arithmetic
from clipjax.model import Model
from clipjax.models import clip
from clipjax.runs import account
from clipjax.runs.config import ProbeConfig


@dataclasses.dataclass(frozen=True, eq=False)
class Engine:
    """A model and its encoder. `named`: what the config calls the model."""

    named: str
    model: Model
    encoder: Encoder

    @functools.cached_property
    def weights_sha256(self) -> str:
        """See `weights_sha256`."""
        return weights_sha256(self.model.params)

    @functools.cached_property
    def weights_file(self) -> SourceFile:
        """The file that the parameters came from."""
        return SourceFile(*account.weights_of(self.named, self.model.source))

    @property
    def arithmetic(self) -> str:
        """What these devices make of the compute dtype: part of every cached feature's key."""
        return arithmetic(self.encoder.mesh, self.model.dtype)


class Engines:
    """The last engine that was asked for; another one takes its place, for memory may not hold two models."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._engine: Engine | None = None

    def get(self, config: ProbeConfig) -> Engine:
        """The engine of a run's config."""
        key = _key(config)
        if self._engine is None or key != self._key:
            self.forget()
            self._engine = load(config)
            self._key = key
        return self._engine

    def forget(self) -> None:
        """Frees the model's memory, if nobody else holds it."""
        self._engine = None


def load(config: ProbeConfig) -> Engine:
    """Reads the model that a run's config names. InputError as `loading.load` and `Encoder` raise it."""
    model = loading.load(config.model, dtype=config.precision, options=loading.options_of(config.weights))
    encoder = Encoder(
        model.config, model.params, dtype=config.precision, batch_size=config.batch_size, full_batches=True,
        mapping=config.mapping, placement=config.placement,
    )  # fmt: skip
    return Engine(config.model, model, encoder)


class _File(NamedTuple):
    """A file as it was read; one that was replaced since is another."""

    path: str
    inode: int
    size: int
    modified: int  # ns

    @staticmethod
    def of(path: Path) -> _File:
        status = path.stat()
        return _File(str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns)


def _key(config: ProbeConfig) -> Hashable:
    """Everything that the numbers of an engine depend on."""
    path = loading.locate(config.model)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.exists() else []
    products = jax.config.jax_default_matmul_precision  # pyrefly: ignore[missing-attribute]
    return (
        config.model, tuple(_File.of(file) for file in files), loading.options_of(config.weights),
        config.precision, config.batch_size, config.mapping, config.placement, products, tuple(jax.devices()),
    )  # fmt: skip


def weights_sha256(params: clip.Params) -> str:
    """Of names, dtypes and bytes: the same for the same parameters in whatever container."""
    digest = hashlib.sha256()
    for name, leaf in sorted(clip.flatten(params).items()):
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
