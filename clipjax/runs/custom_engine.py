"""The engine of a model of a user's file: batches of images and texts go to its functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET

from clipjax.analysis import manifest as manifests
from clipjax.cache import cached_array, key_of
from clipjax.custom import CustomModel, Inputs
from clipjax.data.pipeline import Batch, prepared
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.runs import cache_keys, custom_checks
from clipjax.runs.config import ProbeConfig
from clipjax.runs.folder import program
from clipjax.runs.interface import Texts

# Keys of a config that say how JAX computes, with what they are where nobody sets them.
UNREAD = {"precision": "float32", "mapping": "shard_map", "placement": "replicated"}
# Largest distance of the known image and texts to what they gave when the fingerprint was first used, as a share of
# their length: ten times the rounding of another batch size, and far less than another device or version makes.
CHANGED = 1e-4


def refuse_unread(config: ProbeConfig) -> None:
    """InputError for keys that say how JAX computes, or how a weights file is read."""
    odd = [f"{key}={getattr(config, key)}" for key, default in UNREAD.items() if getattr(config, key) != default]
    odd += [f"weights.{key}={value}" for key, value in vars(config.weights).items() if value]
    if odd:
        raise InputError(
            f"{config.model}: {', '.join(odd)} would change nothing, since the file decides how and where its model "
            "computes; leave it out, and pass what the file needs as its argument: py:FILE.py:ARGUMENT"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class CustomEngine:
    """A model of a user's file (see `Engine`). `rows_per_step`: images of a batch; `cache`: the root of the caches."""

    model: CustomModel
    rows_per_step: int
    cache: Path | None
    known_rows: int = 1

    @property
    def about(self) -> manifests.Model:
        """The model in the manifest's form; a scale of 1 where the file has none, as of a model of images alone."""
        model, texts = self.model, hasattr(self.model.definition, "encode_text")
        config = {"embed_dim": self.width("proj"), "device": model.device, "settings": model.settings}
        bias = model.bias if texts else None
        return manifests.Model(
            model.name, model.fingerprint, config, model.scale if texts else 1.0, dict(model.source),
            manifests.SourceFile(model.file.name, model.source["sha256"]), UNSET if bias is None else bias,
        )  # fmt: skip

    @property
    def circumstances(self) -> dict[str, Any]:
        """Versions, and where the file says that it computes; precision is its own business."""
        return program() | {"precision": "", "arithmetic": self.model.device}

    def known(self) -> KnownInputs:
        """Stops the run where the model has changed without a change of its fingerprint."""
        return KnownInputs(self)

    def width(self, feature: str) -> int:
        """Length of one image feature."""
        return len(self.expected_image(feature))

    def expected_image(self, feature: str) -> np.ndarray:
        """What the known image gave when the model was first checked: [E] or [D]. InputError as `custom_checks`."""
        what = ["image", custom_checks.KNOWN_IMAGE, feature]
        return self._expected(what, lambda: custom_checks.image_features(self.model, feature))

    def expected_texts(self) -> np.ndarray:
        """The same of the known texts, [2, E]."""
        found = self._expected(["texts", custom_checks.TEXTS], lambda: custom_checks.text_features(self.model))
        if found.shape[1] != (width := self.width("proj")):
            raise InputError(
                f"{self.model.file}: image features have {width} numbers and text features {found.shape[1]}; they are "
                "compared with each other, so both need the projection into the joint embedding"
            )
        return found

    def _expected(self, what: Sequence[Any], make: Callable[[], np.ndarray]) -> np.ndarray:
        if (key := key_of(custom=what, model=self.model.fingerprint)) not in self._made:
            self._made[key] = cached_array(self.cache / "canary" if self.cache else None, key, make)
        return self._made[key]

    _made: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def image_key(self, fingerprint: str, feature: str) -> dict[str, Any]:
        """See `cache_keys.custom_image_key`."""
        return cache_keys.custom_image_key(self.model.fingerprint, fingerprint, feature)

    def text_key(self, texts: Sequence[str], truncate: bool) -> str:
        """See `cache_keys.text_key`."""
        return cache_keys.text_key(self.model.fingerprint, None, texts, "", self.model.device, truncate)

    def check_source(self, source: Source) -> None:
        """InputError for crops that clipjax has made or would change: the file makes its own."""
        if source.size is not None:
            raise InputError(
                f"{source.name} holds images prepared for models of {source.size} pixels, and {self.model.file} "
                "prepares images itself: name the originals"
            )
        if source.change is not None:
            raise InputError(
                f"data.perturb changes the crops of clipjax, and {self.model.file} makes its own: leave it out, or "
                "change images in preprocess, chosen by an argument (py:FILE.py:ARGUMENT)"
            )

    def batches(self, source: Source, rows: np.ndarray, size: int) -> Iterator[Batch]:
        """What the file's `preprocess` makes of each image, stacked by name."""
        self.check_source(source)

        def prepare(row: int) -> Inputs:
            image = source.image(row)
            try:
                return self.model.prepare(image)
            except InputError as error:
                raise InputError(f"{source.files[row]}: {error}") from error

        return prepared(source, rows, prepare, self.model.stack, size)

    def start(self, inputs: Inputs, feature: str = "proj") -> Callable[[], np.ndarray]:
        """Computed at once; what is returned only gives it. Batches have one size, filled with copies of a row, so
        that features do not depend on where a run was stopped."""
        rows = len(next(iter(inputs.values()))) if inputs else 0
        if rows:
            filler = self.rows_per_step - rows
            whole = {name: np.concatenate([v, np.repeat(v[-1:], filler, axis=0)]) for name, v in inputs.items()}
            found = self.model.encode_image(whole, feature)[:rows]
        else:
            found = np.zeros((0, self.width(feature)), np.float32)
        return lambda: found

    def read_texts(self, texts: Sequence[str], truncate: bool) -> Texts:
        """The texts themselves, all in one group."""
        if not truncate:
            self.model.check_lengths(texts)
        return Texts(np.array(texts, object), np.zeros(len(texts), np.int64))

    def texts(self, inputs: np.ndarray) -> np.ndarray:
        """Raw features float32 [T, E]; batches have one size, so that a text depends on no other."""
        filler = custom_checks.TEXTS[:1] * (self.rows_per_step - len(inputs))
        return self.model.encode_text([*inputs.tolist(), *filler])[: len(inputs)]

    def text_lengths(self, texts: Sequence[str]) -> tuple[np.ndarray, int] | None:
        """As the file tells; None where it does not."""
        return self.model.text_lengths(texts)


class KnownInputs:
    """The known image and texts of one run, against what they gave when this fingerprint was first used (see `Known`).

    The rest of a batch that is not full is the known image.
    """

    def __init__(self, engine: CustomEngine):
        self._engine, self._texts_checked = engine, False
        self._image: Inputs | None = None

    def start(self, inputs: Inputs | None, feature: str) -> Callable[[], np.ndarray]:
        """See `Known.start`."""
        model, size = self._engine.model, self._engine.rows_per_step
        rows = len(next(iter(inputs.values()))) if inputs else 0
        if rows == size:
            assert inputs
            return self._engine.start(inputs, feature)
        if self._image is None:
            self._image = model.stack([model.prepare(custom_checks.photograph())])
        filler = {name: np.repeat(value, size - rows, axis=0) for name, value in self._image.items()}
        found = model.encode_image(self._joined(inputs, filler) if inputs else filler, feature)
        self._check(found[rows], self._engine.expected_image(feature), f"the image {custom_checks.KNOWN_IMAGE}")
        return lambda: found[:rows]

    def _joined(self, inputs: Inputs, filler: Inputs) -> Inputs:
        described = [{name: (v.shape[1:], v.dtype) for name, v in one.items()} for one in (inputs, filler)]
        if described[0] != described[1]:
            raise InputError(
                f"{self._engine.model.file}: preprocess gives other shapes, names or types for these images than for "
                f"{custom_checks.KNOWN_IMAGE}; it gives the same for all"
            )
        return {name: np.concatenate([values, filler[name]]) for name, values in inputs.items()}

    def check_texts(self, texts: Texts) -> None:
        """See `Known.check_texts`."""
        if not self._texts_checked:
            self._texts_checked = True
            found = self._engine.model.encode_text(list(custom_checks.TEXTS))
            self._check(found, self._engine.expected_texts(), "the texts that every run encodes")

    def _check(self, found: np.ndarray, expected: np.ndarray, what: str) -> None:
        model = self._engine.model
        distance = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
        if not distance <= (limit := max(CHANGED, custom_checks.tolerance(model))):  # NaN too
            raise InputError(
                f"{model.file}: {what} has other features than when this model was first used (distance {distance:.2g} "
                f"of their length, at most {limit:g}): something changed that the file does not say, as a library's "
                "version or the device; no number was written. Name it in `settings` or `device` of the model"
            )
