"""What a run asks of a model: `JaxEngine` computes with JAX, `CustomEngine` asks a user's file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from clipjax.analysis import manifest as manifests
from clipjax.custom import CustomModel
from clipjax.data.pipeline import Batch
from clipjax.data.source import Source
from clipjax.model import Model


class Texts(NamedTuple):
    """Texts as `Engine.texts` takes them: inputs [T, ...]. Those of one group int [T] may be encoded together."""

    inputs: np.ndarray
    groups: np.ndarray


class Known(Protocol):
    """The known image and texts of one run (`clipjax.runs.canary`)."""

    def start(self, inputs: Any, feature: str) -> Callable[[], np.ndarray]:
        """`Engine.start` of a batch (None: no images) with the known image in it, if there is room.

        Raises:
            InputError: from what is returned: the known image has other features than it should.
        """
        ...

    def check_texts(self, texts: Texts) -> None:
        """The first time, encodes a known text. InputError where it has other features than it should."""
        ...


class Engine(Protocol):
    """A model ready to encode. Rows go in and features come out; on several hosts each brings its own rows.

    rows_per_step: how many rows this host brings to one step; known_rows: how many of these the first step of a run
    keeps for the known image.
    """

    @property
    def model(self) -> Model | CustomModel: ...

    @property
    def about(self) -> manifests.Model:
        """The model in the manifest's form."""
        ...

    @property
    def circumstances(self) -> dict[str, Any]:
        """What else a manifest says: versions, devices, precision, arithmetic."""
        ...

    @property
    def rows_per_step(self) -> int: ...

    @property
    def known_rows(self) -> int: ...

    def known(self) -> Known:
        """The known image and texts, for one run."""
        ...

    def width(self, feature: str) -> int:
        """Length of one image feature."""
        ...

    def image_key(self, fingerprint: str, feature: str) -> dict[str, Any]:
        """Everything that the features of images with this fingerprint depend on."""
        ...

    def text_key(self, texts: Sequence[str], truncate: bool) -> str:
        """The same of these texts in this order."""
        ...

    def check_source(self, source: Source) -> None:
        """InputError where the model cannot take the images."""
        ...

    def batches(self, source: Source, rows: np.ndarray, size: int) -> Iterator[Batch]:
        """Images of these rows as `start` takes them, in batches of `size`."""
        ...

    def start(self, inputs: Any, feature: str = "proj") -> Callable[[], np.ndarray]:
        """`Batch.pixels` -> a function that waits for the raw features float32 [b, E]."""
        ...

    def read_texts(self, texts: Sequence[str], truncate: bool) -> Texts:
        """Texts as `texts` takes them. InputError for a text that is too long, unless `truncate` cuts it."""
        ...

    def texts(self, inputs: np.ndarray) -> np.ndarray:
        """Rows of `Texts.inputs` of one group -> raw features float32 [T, E]."""
        ...

    def text_lengths(self, texts: Sequence[str]) -> tuple[np.ndarray, int] | None:
        """How many tokens each text has, int [T], and how many are read; None where it is not known."""
        ...
