"""Models that a user's own Python file defines: `clipjax.load("py:FILE.py")`, `--config.model=py:FILE.py:ARGUMENT`.

The file may use any library. Tokenizer, resizing, device and precision are its own business.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import json
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from clipjax.cache import sha256_of_arrays
from clipjax.classifying import Classifying
from clipjax.errors import InputError, brief, one_line
from clipjax.files import sha256

FORMAT = "py"  # in `source`, where a weights file has its format
TEXTS_AT_ONCE = 32
Inputs = dict[str, np.ndarray]  # what `preprocess` makes of one image; of B images, each array with a batch axis
_ADDRESS = re.compile(r"py:(?P<file>.+?\.py)(?::(?P<argument>.*))?", re.DOTALL)
_FEATURES = {"proj": "encode_image", "pre_proj": "encode_image_pre"}


@runtime_checkable
class Definition(Protocol):
    """What `load()` (or `load(argument)`) of the file returns. Images and texts go in, arrays of numbers come out.

    name: in tables and messages. preprocess: an image of any mode and size -> arrays by name, of equal shapes for
    all images, without a batch axis; called in several threads. encode_image: these arrays by name, with a batch axis
    -> raw features [B, E].

    Either `fingerprint` (str) or `weights()` (arrays by name) says which parameters these are. For probes with texts:
    `encode_text(list of str) -> [T, E]`, `scale` (1.0 where the model has none) and `bias` (0.0 where it has none).
    Optional: `encode_image_pre`, features before the projection; `text_lengths(texts) -> (lengths, limit)`;
    `settings`, a dict of what the parameters do not say; `device`, where it computes; `tolerance`, see
    `clipjax.runs.custom_checks.ROUNDING`.
    """

    name: str

    def preprocess(self, image: Image.Image, /) -> Mapping[str, Any]:
        """One image -> arrays by name."""
        ...

    def encode_image(self, **inputs: Any) -> Any:
        """Raw features [B, E]."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class CustomModel(Classifying):
    """The model of a file. `named`: the address it was loaded by; `argument`: its part after the file, "" if none."""

    named: str
    file: Path
    argument: str
    definition: Definition = dataclasses.field(repr=False)

    @property
    def name(self) -> str:
        """What the file calls it."""
        return self.definition.name

    @functools.cached_property
    def source(self) -> dict[str, Any]:
        """Where it comes from, as of a weights file."""
        return {"format": FORMAT, "file": self.file.name, "sha256": sha256(self.file), "argument": self.argument}

    @property
    def description(self) -> dict[str, Any]:
        """What the model is, in plain JSON types; nothing is encoded."""
        texts = hasattr(self.definition, "encode_text")
        return {
            "name": self.name, **self.source, "fingerprint": self.fingerprint, "device": self.device,
            "settings": self.settings, "texts": texts, "scale": self.scale if texts else None,
            "bias": self.bias if texts else None,
        }  # fmt: skip

    @property
    def scale(self) -> float:
        """The factor of the cosine in logits."""
        return self._number("scale", "1.0")

    @property
    def bias(self) -> float | None:
        """The logit bias; None where the file says 0."""
        return self._number("bias", "0.0") or None

    @property
    def logit_scale(self) -> np.float32:
        """The logarithm of the scale."""
        return np.float32(np.log(self.scale))

    @property
    def device(self) -> str:
        """Where the file says that it computes; "" where it does not say."""
        return str(getattr(self.definition, "device", ""))

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """What the file says beyond its parameters, as JSON types."""
        found = getattr(self.definition, "settings", {})
        try:
            return dict(json.loads(json.dumps(found, sort_keys=True)))
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.file}: settings is {brief(found)}; give a dict of JSON types") from error

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of everything that decides the features: the file, its argument, parameters, settings, device."""
        declared, weights = (getattr(self.definition, name, None) for name in ("fingerprint", "weights"))
        if not isinstance(declared, str | None) or not (declared or callable(weights)):
            raise InputError(
                f"{self.file}: the model does not say which parameters it has; give it `weights()`, arrays by name, or "
                "`fingerprint`, a text that changes whenever they do"
            )
        parts = {key: self.source[key] for key in ("sha256", "argument")}
        parts |= {"settings": self.settings, "device": self.device, "fingerprint": declared}
        if callable(weights):
            with self.calling("weights"):
                parts["weights"] = sha256_of_arrays({k: np.asarray(v) for k, v in weights().items()})
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def prepare(self, image: Image.Image) -> Inputs:
        """`preprocess` of one image."""
        with self.calling("preprocess"):
            found = self.definition.preprocess(image)
            if not isinstance(found, Mapping) or not found:
                raise InputError(f"{self.file}: preprocess gives {brief(type(found).__name__)}, not arrays by name")
            return {str(name): np.asarray(value) for name, value in found.items()}

    def stack(self, prepared: Sequence[Inputs]) -> Inputs:
        """Inputs of images -> arrays with a batch axis. InputError where their shapes differ; no images: no arrays."""
        if not prepared:
            return {}
        described = [{name: f"{value.dtype} {list(value.shape)}" for name, value in one.items()} for one in prepared]
        first = described[0]
        if other := [one for one in described if one != first]:
            raise InputError(
                f"{self.file}: preprocess gives {brief(other[0], 120)} for one image and {brief(first, 120)} for "
                "another; give the same names, shapes and types for all, without a batch axis"
            )
        return {name: np.stack([one[name] for one in prepared]) for name in prepared[0]}

    def preprocess(self, images: Image.Image | Iterable[Image.Image]) -> Inputs:
        """Images -> the arrays that `encode_image` takes, with a batch axis."""
        every = [images] if isinstance(images, Image.Image) else list(images)
        return self.stack([self.prepare(image) for image in every])

    def encode_image(self, inputs: Inputs, feature: str = "proj") -> np.ndarray:
        """Arrays of `preprocess` -> raw features float32 [B, E]; "pre_proj": before the projection, [B, D]."""
        member = _FEATURES[feature]
        function = self._member(member, "there are no features before a projection: use --config.feature=proj")
        rows = len(next(iter(inputs.values())))
        with self.calling(member):
            return self._rows(member, function(**inputs), rows)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> raw features float32 [T, E]."""
        function = self._member("encode_text", "only probes that ask no texts can use the model (linear, fewshot)")
        with self.calling("encode_text"):
            return self._rows("encode_text", function(list(texts)), len(texts))

    def text_lengths(self, texts: Sequence[str]) -> tuple[np.ndarray, int] | None:
        """How long each text is, int [T], and the longest that is read whole; None where the file does not say."""
        if (function := getattr(self.definition, "text_lengths", None)) is None:
            return None
        with self.calling("text_lengths"):
            lengths, limit = function(list(texts))
            return np.asarray(lengths, np.int64), int(limit)

    def check_lengths(self, texts: Sequence[str]) -> None:
        """InputError for a text that the model would cut, where the file can tell."""
        if (found := self.text_lengths(texts)) is not None and len(too_long := np.flatnonzero(found[0] > found[1])):
            first = int(too_long[0])
            raise InputError(
                f"texts[{first}] {brief(texts[first])!r} has {found[0][first]} tokens, and {self.name} reads "
                f"{found[1]}; shorten it, or truncate it where the command has that option"
            )

    def features_of_images(self, images: Image.Image | Iterable[Image.Image]) -> np.ndarray:
        """Raw image features float32 [B, E]."""
        return self.encode_image(self.preprocess(images))

    def features_of_texts(self, texts: Sequence[str], truncate: bool = False) -> np.ndarray:
        """Raw text features float32 [T, E]; see `check_lengths`."""
        if not truncate:
            self.check_lengths(texts)
        parts = range(0, len(texts), TEXTS_AT_ONCE)
        return np.concatenate([self.encode_text(texts[start : start + TEXTS_AT_ONCE]) for start in parts])

    @contextlib.contextmanager
    def calling(self, member: str) -> Iterator[None]:
        """Whatever the file raises becomes one line that says where in it."""
        with _converted(self.file, f"{member} failed"):
            yield

    def _member(self, name: str, without: str) -> Callable[..., Any]:
        found = getattr(self.definition, name, None)
        if not callable(found):
            raise InputError(f"{self.file}: the model has no {name}; {without}")
        return found

    def _number(self, name: str, none: str) -> float:
        found = getattr(self.definition, name, None)
        try:
            number = float(found)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = np.nan
        if not np.isfinite(number) or (name == "scale" and number <= 0):
            raise InputError(
                f"{self.file}: {name} of the model is {brief(found)}; give a number ({none} where the model has none)"
            )
        return number

    def _rows(self, member: str, found: Any, rows: int) -> np.ndarray:
        """Float32 [rows, E]. InputError for anything else."""
        values = np.asarray(found)
        if values.dtype.kind != "f" or values.ndim != 2 or len(values) != rows or not values.shape[1]:
            raise InputError(
                f"{self.file}: {member} of {rows} gives {values.dtype} {list(values.shape)}; give float32 [{rows}, E]"
            )
        return values.astype(np.float32, copy=False)


def parts_of(address: str) -> tuple[Path, str]:
    """ "py:FILE.py:ARGUMENT" -> the file, which is there, and the argument, "" if none. InputError otherwise."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise InputError(f"{address}: write py:FILE.py or py:FILE.py:ARGUMENT")
    path = Path(found["file"])
    if not path.is_file():
        raise InputError(f"{address}: there is no file {path}; check the path")
    return path, found["argument"] or ""


def load(address: str) -> CustomModel:
    """Runs the file and its `load`.

    Raises:
        InputError: there is no such file, it fails, or what `load` returns is not a `Definition`.
    """
    path, argument = parts_of(address)
    where = path.resolve()
    name = f"clipjax_model_{hashlib.sha256(str(where).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up
    with _converted(path, "the file cannot be run"):
        spec.loader.exec_module(module)
    if not callable(getattr(module, "load", None)):
        raise InputError(f"{path}: defines no function load(), which returns the model")
    with _converted(path, f"load({argument!r}) failed" if argument else "load() failed"):
        definition = module.load(argument) if argument else module.load()
    if missing := [one for one in ("name", "preprocess", "encode_image") if not hasattr(definition, one)]:
        raise InputError(
            f"{path}: load() returns {brief(type(definition).__name__)}, which has no {', '.join(missing)}; see "
            "`clipjax.custom.Definition`"
        )
    return CustomModel(address, path, argument, definition)


@contextlib.contextmanager
def _converted(path: Path, problem: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.resolve())]
        line = f" line {frames[-1].lineno}" if frames else ""
        raise InputError(f"{path}{line}: {problem} ({type(error).__name__}: {one_line(error)})") from error
