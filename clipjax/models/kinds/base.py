"""What a kind of encoder says about itself, and the checks that kinds share."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from clipjax.errors import InputError, brief, some
from clipjax.models.products import Product

if TYPE_CHECKING:  # for whom the types are read; at run time a configuration needs neither jax nor flax nor numpy
    import numpy as np
    from flax import nnx

ACTIVATIONS = ("quick_gelu", "gelu", "gelu_tanh", "silu")
LARGEST, DEEPEST = 1 << 20, 1000  # of any size and of any number of layers: what a file claims is worked with
Named = Iterator[tuple[str, tuple[int, ...]]]
Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class EncoderConfig(abc.ABC):
    """Its subclasses' fields are what a file stores. `embed_dim` is the joint embedding's length [E]."""

    kind: ClassVar[str]  # its name in stored configurations
    implied: ClassVar[Mapping[str, Any]] = {}  # fields that version 1 of the stored form leaves out, and their values
    can_scan: ClassVar[bool] = False  # whether `Lowering.scan` makes one loop of all blocks but the last

    if TYPE_CHECKING:  # fields of every kind; at run time a property here would become a field's default

        @property
        def width(self) -> int: ...
        @property
        def heads(self) -> int: ...
        @property
        def eps(self) -> float: ...

    @property
    @abc.abstractmethod
    def tokens(self) -> int:
        """Rows of the widest matrix products of one example."""

    @abc.abstractmethod
    def parameters(self, embed_dim: int) -> Named:
        """(dotted name, shape) of every parameter of the module, in JAX layouts: Linear [in, out], convolution HWIO."""

    @abc.abstractmethod
    def build(self, embed_dim: int, rngs: nnx.Rngs) -> nnx.Module:
        """The flax module; `clip.apply_image` and `clip.apply_text` show with which arguments it is called."""

    @abc.abstractmethod
    def summary(self) -> str:
        """Sizes in a few words."""

    def check_embedding(self, embed_dim: int) -> None:
        """InputError where the encoder cannot give features of this length."""
        return  # most have a projection


@dataclasses.dataclass(frozen=True)
class ImageEncoderConfig(EncoderConfig):
    """pixels [B, S, S, 3] -> image features [B, E]; S is `image_size`."""

    if TYPE_CHECKING:

        @property
        def image_size(self) -> int: ...

    def feature_width(self, feature: str, embed_dim: int) -> int:
        """Length of a feature: "proj", or "pre_proj", the vector before the projection (which is E without one)."""
        return embed_dim if feature == "proj" else self.width

    @abc.abstractmethod
    def products(self, embed_dim: int, pooled: bool = True) -> list[Product]:
        """The products of one image. `pooled`: only what the features depend on, which is what the module computes."""


@dataclasses.dataclass(frozen=True)
class TextEncoderConfig(EncoderConfig):
    """tokens int [B, T] -> text features [B, E]; T is at most `context_length`."""

    if TYPE_CHECKING:

        @property
        def context_length(self) -> int: ...
        @property
        def vocab_size(self) -> int: ...

    @property
    def tokens(self) -> int:
        """The whole context."""
        return self.context_length

    @property
    def can_cut(self) -> bool:
        """Whether what follows a text's end may be left out: nothing that is read sees it."""
        return False

    def lengths(self, tokens: np.ndarray) -> np.ndarray:
        """tokens int [B, T] -> how many of each text its features depend on, int [B]; all T where texts are not cut."""
        return tokens.argmax(1) * 0 + tokens.shape[1]

    @abc.abstractmethod
    def products(self, embed_dim: int, length: int | None = None, pooled: bool = True) -> list[Product]:
        """The products of one text of `length` tokens (None: the whole context); `pooled` as for images."""


def check_sizes(config: Any, owner: str) -> None:
    """Every whole number is a size and every float an eps: positive, and small enough to work with."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "layers":
            values, most = value if isinstance(value, tuple) else (value,), DEEPEST
        elif field.type == "int":
            values, most = (value,), LARGEST
        elif field.type == "float":
            if not is_finite(value) or not 0 < value < 1:
                raise InputError(f"{field.name} of the {owner} is {brief(value)}: a number between 0 and 1")
            continue
        else:
            continue
        if not all(isinstance(v, int) and not isinstance(v, bool) and 0 < v <= most for v in values):
            raise InputError(f"{field.name} of the {owner} is {brief(value)}: a whole number from 1 to {most}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """InputError where it is none of them."""
    if value not in choices:
        raise InputError(f"unknown {name} {brief(value)!r}; clipjax has {', '.join(choices)}")


def check_flags(config: Any, *names: str) -> None:
    """InputError where one of these fields is neither true nor false."""
    for name in names:
        if type(value := getattr(config, name)) is not bool:
            raise InputError(f"{name} is {brief(value)}: true or false")


def build(cls: type[Config], data: Mapping[str, Any], name: str = "") -> Config:
    """A frozen dataclass from exactly its fields; any other is refused by name, never guessed."""
    known = {f.name for f in dataclasses.fields(cls)}  # pyrefly: ignore[bad-argument-type]
    if unknown := sorted(data.keys() - known):
        raise InputError(f"unknown attribute of {name or cls.__name__}: {some([brief(u) for u in unknown])}")
    if missing := sorted(known - data.keys()):
        raise InputError(f"missing attribute of {name or cls.__name__}: {', '.join(missing)}")
    return cls(**data)


def check_transformer(width: int, heads: int, activation: str, owner: str) -> None:
    """A known activation, and heads that divide the width."""
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise InputError(f"unknown activation {brief(activation)!r} in the {owner}; clipjax has {known}")
    if width % heads:
        raise InputError(f"{heads} heads do not divide the {owner}'s width {width}")


def is_finite(value: Any) -> bool:
    """Whether it is a number that can be computed with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def linear(name: str, d_in: int, d_out: int) -> Named:
    """The parameters of `layers.Linear`."""
    yield f"{name}.weight", (d_in, d_out)
    yield f"{name}.bias", (d_out,)


def norm(name: str, width: int, *leaves: str) -> Named:
    """The parameters of a norm: weight and bias, and `leaves`."""
    yield from ((f"{name}.{leaf}", (width,)) for leaf in ("weight", "bias", *leaves))
