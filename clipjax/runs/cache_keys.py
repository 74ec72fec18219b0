"""What cached features depend on, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL

from clipjax import download
from clipjax.analysis.manifest import Manifest
from clipjax.cache import key_of
from clipjax.files import local_path
from clipjax.image import READING, Preprocess
from clipjax.models.config import CLIP, from_dict, identity
from clipjax.runs.config import ProbeConfig


def cache_root(config: ProbeConfig) -> Path | None:
    """Where a config keeps its features; None where it keeps nothing."""
    chosen = config.cache_dir
    if chosen == "none":
        return None
    if chosen:
        return local_path(chosen, "--config.cache_dir").expanduser()
    return download.cache_dir() / "features"


def image_key(
    weights_sha256: str, config: CLIP, precision: str, arithmetic: str, spec: Preprocess, fingerprint: str,
    feature: str = "proj",
) -> dict[str, Any]:  # fmt: skip
    """Everything that an image's features depend on; `arithmetic` as in `encoder.arithmetic`."""
    return {
        "weights": weights_sha256,
        "config": identity(config),  # resize, interpolation and fill among it
        "feature": feature,
        "precision": precision,
        "arithmetic": arithmetic,
        "preprocess": [spec.image_size, list(spec.mean), list(spec.std)],
        "reading": READING,
        "pillow": PIL.__version__,  # its releases resample some images differently
        "data": fingerprint,
    }


def custom_image_key(model_fingerprint: str, fingerprint: str, feature: str = "proj") -> dict[str, Any]:
    """As `image_key`, of a model of a user's file, whose fingerprint covers all that the file declares."""
    return {
        "weights": model_fingerprint,
        "feature": feature,
        "reading": READING,
        "pillow": PIL.__version__,
        "data": fingerprint,
    }


def images_of(manifest: Manifest) -> tuple[dict[str, Any], int]:
    """The `image_key` of a finished run, and the length of one feature. InputError for a damaged configuration."""
    model, data = manifest.model, manifest.data
    if model.custom:
        return custom_image_key(model.weights_sha256, data.fingerprint), int(model.config["embed_dim"])
    config = from_dict(model.config)
    spec = Preprocess(config.image.image_size, **vars(config.pixels))
    key = image_key(
        model.weights_sha256, config, manifest.precision, manifest.arithmetic, spec, data.fingerprint
    )  # fmt: skip
    return key, config.embed_dim


def images_folder(cache: Path, key: dict[str, Any]) -> Path:
    """The folder of one `image_key` below the root of the caches."""
    return cache / "images" / key_of(**key)[:32]


def text_key(
    weights_sha256: str, config: CLIP | None, texts: Sequence[str], precision: str, arithmetic: str,
    truncate: bool = False,
) -> str:  # fmt: skip
    """As `image_key`, for the features of these texts in this order; `config` None: of a model of a user's file."""
    return key_of(
        weights=weights_sha256, config="" if config is None else identity(config), texts=list(texts),
        precision=precision, arithmetic=arithmetic, truncate=truncate,
    )  # fmt: skip


def texts_folder(cache: Path) -> Path:
    """Where text features lie below the root of the caches."""
    return cache / "texts"
