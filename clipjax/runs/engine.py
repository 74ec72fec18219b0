"""Models ready to encode: loaded, hashed and compiled once for all runs of a command that need the same one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from msgspec import UNSET

from clipjax import loading, parallel
from clipjax.analysis import manifest as manifests
from clipjax.analysis.manifest import SourceFile
from clipjax.cache import sha256_of_arrays
from clipjax.custom import CustomModel
from clipjax.data.pipeline import Batch, batches
from clipjax.data.source import Source
from clipjax.encoder import TEXT_LENGTHS, Encoder, arithmetic
from clipjax.model import Model
from clipjax.models import clip
from clipjax.models.config import to_dict
from clipjax.runs import account, cache_keys
from clipjax.runs.canary import Canary
from clipjax.runs.config import ProbeConfig
from clipjax.runs.custom_engine import CustomEngine, refuse_unread
from clipjax.runs.folder import environment
from clipjax.runs.interface import Engine, Texts


@dataclasses.dataclass(frozen=True, eq=False)
class JaxEngine:
    """A model of ours and its encoder (see `Engine`). `cache`: the root of the caches, or None."""

    named: str
    model: Model
    encoder: Encoder
    cache: Path | None = None

    @functools.cached_property
    def weights_sha256(self) -> str:
        """See `weights_sha256`."""
        return weights_sha256(self.model.params)

    @property
    def about(self) -> manifests.Model:
        """The model in the manifest's form."""
        model = self.model
        return manifests.Model(
            model.name, self.weights_sha256, to_dict(model.config), model.scale, dict(model.source),
            SourceFile(*account.weights_of(self.named, model.source)), UNSET if model.bias is None else model.bias,
        )  # fmt: skip

    @property
    def circumstances(self) -> dict[str, Any]:
        """What else a manifest says: versions, devices, precision, arithmetic."""
        return environment(self.encoder.mesh) | {"precision": self.model.dtype, "arithmetic": self.arithmetic}

    @property
    def arithmetic(self) -> str:
        """What these devices make of the compute dtype: part of every cached feature's key."""
        return arithmetic(self.encoder.mesh, self.model.dtype)

    @property
    def rows_per_step(self) -> int:
        """As many on each device."""
        return self.encoder.rows_per_step

    @property
    def known_rows(self) -> int:
        """One on each device."""
        return self.encoder.mesh.local_mesh.size

    def known(self) -> Canary:
        """Stops the run where the compiled model is not what its weights say."""
        folder = self.cache / "canary" if self.cache else None
        return Canary(self.model, self.encoder, self.weights_sha256, self.model.dtype, folder)

    def width(self, feature: str) -> int:
        """Length of one image feature."""
        return self.encoder.width(feature)

    def image_key(self, fingerprint: str, feature: str) -> dict[str, Any]:
        """See `cache_keys.image_key`."""
        model = self.model
        return cache_keys.image_key(
            self.weights_sha256, model.config, model.dtype, self.arithmetic, model.preprocessing, fingerprint, feature
        )

    def text_key(self, texts: Sequence[str], truncate: bool) -> str:
        """See `cache_keys.text_key`."""
        model = self.model
        return cache_keys.text_key(self.weights_sha256, model.config, texts, model.dtype, self.arithmetic, truncate)

    def check_source(self, source: Source) -> None:
        """InputError where images were prepared for another image size."""
        source.check_size(self.model.preprocessing)

    def batches(self, source: Source, rows: np.ndarray, size: int) -> Iterator[Batch]:
        """Pixels uint8 [b, S, S, 3]."""
        return batches(source, rows, self.model.preprocessing, size, dtype=np.uint8)

    def start(self, inputs: np.ndarray, feature: str = "proj") -> Callable[[], np.ndarray]:
        """See `Encoder.start`."""
        return self.encoder.start(inputs, feature)

    def read_texts(self, texts: Sequence[str], truncate: bool) -> Texts:
        """Token ids int32 [T, L]; each length for itself: a text costs what it needs, and depends on no other text."""
        tokens = self.model.tokenize(texts, truncate)
        return Texts(tokens, -(-self.model.config.text.lengths(tokens) // TEXT_LENGTHS) * TEXT_LENGTHS)

    def texts(self, inputs: np.ndarray) -> np.ndarray:
        """See `Encoder.texts`."""
        return self.encoder.texts(inputs)

    def text_lengths(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """Tokens of each text, and how many are read."""
        return self.model.text_lengths(texts), self.model.config.text.context_length


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
    cache = cache_keys.cache_root(config)
    if loading.is_custom(config.model):
        refuse_unread(config)
    model = loading.load(config.model, dtype=config.precision, options=loading.options_of(config.weights))
    if isinstance(model, CustomModel):
        return CustomEngine(model, config.batch_size, cache)
    encoder = Encoder(
        model.config, model.params, dtype=config.precision, batch_size=config.batch_size, full_batches=True,
        mapping=config.mapping, placement=config.placement,
    )  # fmt: skip
    return JaxEngine(config.model, model, encoder, cache)


def of_model(named: str, model: Model | CustomModel, n: int, batch_size: int) -> Engine:
    """The engine that encodes n images with a loaded model; without caches."""
    if isinstance(model, CustomModel):
        return CustomEngine(model, max(min(n, batch_size), 1), None)
    mesh = parallel.data_mesh()
    full = n >= batch_size * mesh.size
    encoder = Encoder(
        model.config, model.params, dtype=model.dtype, batch_size=batch_size, mesh=mesh, full_batches=full
    )
    return JaxEngine(named, model, encoder)


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
        config.precision, config.batch_size, config.mapping, config.placement, config.cache_dir, products,
        tuple(jax.devices()),
    )  # fmt: skip


def weights_sha256(params: clip.Params) -> str:
    """Of names, dtypes and bytes: the same for the same parameters in whatever container."""
    return sha256_of_arrays({name: np.asarray(leaf) for name, leaf in clip.flatten(params).items()})
