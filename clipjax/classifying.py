"""Zero-shot answers of one model, whoever computes its features: what every loaded model has in common."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
from PIL import Image

from clipjax.design import TEMPLATE, of_classes
from clipjax.probes import zeroshot

CLASSIFIERS = 8  # a thousand classes of ViT-L/14 are 3 MB


class Classifying(abc.ABC):
    """A model that gives features of images and texts can classify."""

    @property
    @abc.abstractmethod
    def scale(self) -> float:
        """The factor of the cosine, exp(logit_scale): 100 for all of OpenAI's models."""

    @property
    @abc.abstractmethod
    def bias(self) -> float | None:
        """What is added to scale * cosine in models trained with a sigmoid loss (logit_bias); None for all others."""

    @abc.abstractmethod
    def features_of_images(self, images: Image.Image | Iterable[Image.Image]) -> np.ndarray:
        """Raw image features float32 [B, E]."""

    @abc.abstractmethod
    def features_of_texts(self, texts: Sequence[str], truncate: bool = False) -> np.ndarray:
        """Raw text features float32 [T, E]. InputError for a text that is too long, unless `truncate` cuts it."""

    def start_images(self, images: Image.Image | Iterable[Image.Image]) -> Callable[[], np.ndarray]:
        """As `features_of_images`; a model that can returns as soon as the work is started."""
        features = self.features_of_images(images)
        return lambda: features

    def start_texts(self, texts: Sequence[str]) -> Callable[[], np.ndarray]:
        """As `features_of_texts`; a model that can returns as soon as the work is started."""
        features = self.features_of_texts(texts)
        return lambda: features

    @property
    def numerics(self) -> Hashable:
        """What changes the features of the same model from call to call."""
        return None

    @property
    def probability(self) -> str:
        """What the model was trained to give: "softmax" over classes, or "sigmoid", a probability of each by itself."""
        return "softmax" if self.bias is None else "sigmoid"

    def classify(
        self,
        images: Image.Image | Iterable[Image.Image],
        classes: Sequence[str],
        templates: Sequence[str] = (TEMPLATE,),
        probability: str = "",
    ) -> np.ndarray:
        """Zero-shot probabilities float32 [B, C] of the classes, each averaged over the templates.

        probability: "softmax" (they sum to 1) or "sigmoid" (each by itself, for models with a logit bias); by default
        what the model was trained for. The class weights of the last CLASSIFIERS lists of classes are kept: the text
        encoder does not run for these.

        Raises:
            InputError: bad classes or templates, or "sigmoid" of a model without a logit bias.
        """
        bias = zeroshot.bias_of(probability or self.probability, self.bias)
        started: list[Callable[[], np.ndarray]] = []

        def begin() -> None:  # images are prepared while the texts are encoded
            started.append(self.start_images(images))

        similarity = self._weights_of(classes, templates, begin)[1]  # refuses bad classes before any image is decoded
        if not started:
            begin()
        unit = zeroshot.normalise(started[0]())
        return zeroshot.odds(self.scale * similarity(unit), bias)

    def classifier(self, classes: Sequence[str], templates: Sequence[str] = (TEMPLATE,)) -> np.ndarray:
        """Class names and templates -> class weights float32 [C, E] of unit length; kept as in `classify`."""
        return self._weights_of(classes, templates)[0].copy()

    def _weights_of(
        self, classes: Sequence[str], templates: Sequence[str], meanwhile: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, zeroshot.Similarity]:
        """Class weights [C, E], and the function of unit rows [N, E] that gives their cosines [N, C].

        meanwhile: called where texts are encoded, once that is started.
        """

        def encode(texts: Sequence[str]) -> np.ndarray:
            finish = self.start_texts(texts)
            meanwhile()
            return finish()

        design = of_classes(classes, templates)
        key = (design.names, design.templates, self.numerics)
        if (classifier := self._classifiers.pop(key, None)) is None:
            (class_weights,) = zeroshot.class_weights(encode, [design])
            classifier = class_weights, zeroshot.similarity(class_weights)
        self._classifiers[key] = classifier  # last in the order: the most recently used
        while len(self._classifiers) > CLASSIFIERS:
            self._classifiers.pop(next(iter(self._classifiers)), None)
        return classifier

    @functools.cached_property
    def _classifiers(self) -> dict[Hashable, tuple[np.ndarray, zeroshot.Similarity]]:
        return {}
