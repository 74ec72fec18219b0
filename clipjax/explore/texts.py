"""Text features of the classes: each prompt is encoded once, and the model is loaded when the first one is."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from clipjax import parallel
from clipjax.analysis.run import Run
from clipjax.cache import cached_array
from clipjax.encoder import arithmetic
from clipjax.errors import InputError
from clipjax.models.config import from_dict
from clipjax.runs import engine, given_features
from clipjax.runs.cache_keys import cache_root, text_key, texts_folder
from clipjax.runs.config import ProbeConfig
from clipjax.runs.feature_files import Given
from clipjax.runs.features import Features

MOST_NEW = 4000  # prompts of one question: a minute or more of a large text encoder on a small machine
MOST_KEPT = 100_000  # prompts: 300 MB at 768 numbers each
LONGEST_SHOWN = 80  # characters of a prompt in a message
STEP = 64  # prompts between two looks whether the answer is still wanted


class Superseded(Exception):
    """A newer question of the same page has come: this one's answer is not wanted any more."""


class Texts:
    """Raw text features by text, as `Features.texts` gives them: equal to the command line's, bit for bit.

    A design that the command line has asked before is read from its cache; other prompts are encoded in the run's own
    batch size and precision, where a text's features depend on no other text. Where the run was made on another kind of
    device, all are encoded here: designs are compared on one.
    """

    def __init__(self, run: Run, config: ProbeConfig):
        self._run, self._config = run, config
        self._root = cache_root(config)
        self._known: dict[str, np.ndarray] = {}
        self.seconds = 0.0  # spent in the text encoder, loading included
        self._features_of_run: Features | None = None
        self._loading, self._encoding = threading.Lock(), threading.Lock()

    def features(self, texts: Sequence[str], unwanted: Callable[[], bool] = lambda: False) -> np.ndarray:
        """Texts -> float32 [T, E]. `unwanted` is asked between batches; where it says yes, Superseded is raised."""
        distinct = sorted(set(texts))  # as the command line asks, whose features are kept by this list
        missing = [text for text in distinct if text not in self._known]
        if missing and (kept := self._of_the_command_line(distinct)) is not None:
            self._known.update(zip(distinct, kept, strict=True))
            missing = []
        if len(missing) > MOST_NEW:
            raise InputError(
                f"{len(missing)} new prompts at once are more than the {MOST_NEW} that a page waits for; save the "
                "design and run `clipjax probe` with it"
            )
        self._check_lengths(missing)
        for start in range(0, len(missing), STEP):
            if unwanted():
                raise Superseded
            part = missing[start : start + STEP]
            self._known.update(zip(part, self._encode(part), strict=True))
        found = np.stack([self._known[text] for text in texts])
        while len(self._known) > MOST_KEPT:
            self._known.pop(next(iter(self._known)))
        return found

    def _check_lengths(self, texts: list[str]) -> None:
        if not texts or (counted := self.encoded.engine.text_lengths(texts)) is None:
            return
        lengths, context = counted
        if too_long := [(text, n) for text, n in zip(texts, lengths.tolist(), strict=True) if n > context]:
            text, n = too_long[0]
            shown = text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
            raise InputError(f"the prompt {shown!r} has {n} tokens, and this model reads {context}: shorten it")

    def warm(self, text: str) -> None:
        """Loads the model and compiles the text encoder for prompts like this one, before anybody waits for it."""
        self._encode([text])

    def _encode(self, texts: list[str]) -> np.ndarray:
        with self._encoding:  # virtual devices of one CPU can lock up under two programs at once
            begin = time.perf_counter()
            try:
                return self.encoded.texts(texts)
            finally:
                self.seconds += time.perf_counter() - begin

    @property
    def encoded(self) -> Features:
        """The run's model, loaded on first use; InputError where its weights are not the run's any more."""
        with self._loading:
            if self._features_of_run is None:
                self._features_of_run = self._load()
            return self._features_of_run

    def _load(self) -> Features:
        config = dataclasses.replace(self._config, cache_dir="none")  # every edit would leave a file
        found = engine.load(config)
        wanted = self._run.manifest.model.weights_sha256
        if (here := found.about.weights_sha256) != wanted:
            raise InputError(
                f"{self._config.model}: its weights ({here[:12]}) are not those of the run "
                f"({wanted[:12]}); put the run's weights back, or make the run again"
            )
        return Features(found, config, quiet=True)

    def _of_the_command_line(self, distinct: list[str]) -> np.ndarray | None:
        manifest = self._run.manifest
        if manifest.model.custom:  # where its file computes is not known before it has run
            return None
        here = arithmetic(parallel.data_mesh(), manifest.precision)
        if self._root is None or manifest.arithmetic != here:  # else two designs' texts came from two devices
            return None
        config = from_dict(manifest.model.config)
        key = text_key(manifest.model.weights_sha256, config, distinct, manifest.precision, here)
        try:
            return cached_array(texts_folder(self._root), key, _absent)
        except LookupError:
            return None


class GivenTexts:
    """Text features of a run that was ingested with its features: those texts, and no others."""

    seconds = 0.0

    def __init__(self, given: Given):
        self._given = given

    def features(self, texts: Sequence[str], unwanted: Callable[[], bool] = lambda: False) -> np.ndarray:
        """Texts -> float32 [T, E]. InputError for a text whose features are not there."""
        return given_features.of_texts(texts, self._given)

    def warm(self, text: str) -> None:
        """Nothing to load: the features were given."""


def _absent() -> np.ndarray:
    raise LookupError
