"""Options that complete weights stored without a configuration."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from clipjax.errors import InputError, brief
from clipjax.models.config import CLIP
from clipjax.models.kinds.base import ACTIVATIONS, LARGEST
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

RGB = tuple[float, float, float]
_FLAGS = re.compile(r"--(activation|heads|text-heads|eps|mean|std|state-dict)\b")


@dataclasses.dataclass(frozen=True)
class Options:
    """Each is None where it is not given. What a configuration says already may be repeated, never contradicted.

    activation: "quick_gelu" (OpenAI, DFN, MetaCLIP 1) or "gelu" (LAION, DataComp), in both encoders.
    heads, text_heads: attention heads of the image encoder (of a ResNet: of its attention pool), of the text encoder.
    eps: of every LayerNorm (and of a ResNet's BatchNorm).
    mean, std: of pixels in 0..1: red, green, blue.
    state_dict: which of several sets of weights in one file, e.g. "state_dict_ema".
    keys: whether they were given as keys of a run's config, which messages then name in place of flags.
    """

    activation: str | None = None
    heads: int | None = None
    text_heads: int | None = None
    eps: float | None = None
    mean: RGB | None = None
    std: RGB | None = None
    state_dict: str | None = None
    keys: bool = dataclasses.field(default=False, compare=False)

    def __post_init__(self):
        if self.activation is not None and self.activation not in ACTIVATIONS:
            known = " or ".join(ACTIVATIONS)
            raise InputError(f"--activation={brief(self.activation)}: clipjax has {known}")
        for name in ("heads", "text_heads"):
            value = getattr(self, name)
            if value is not None and not (type(value) is int and 0 < value <= LARGEST):
                raise InputError(f"{_flag(name)}={brief(value)}: a whole number of attention heads")
        if self.eps is not None and not (isinstance(self.eps, float) and 0 < self.eps < 1):
            raise InputError(f"--eps={brief(self.eps)}: a number between 0 and 1")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None and not (len(value) == 3 and all(abs(v) < 1e6 for v in value)):
                raise InputError(f"{_flag(name)}={brief(value)}: three numbers, red,green,blue")

    def spelled(self, message: str) -> str:
        """A message that names flags of a verb, with the config's keys in their place where these came from one."""
        if not self.keys:
            return message
        return _FLAGS.sub(lambda flag: "--config.weights." + flag[1].replace("-", "_"), message)

    def check(self, config: CLIP, where: str) -> None:
        """InputError where one of them contradicts what `where` says of itself."""
        image, text = config.image, config.text
        said: dict[str, list[Any]] = {
            "activation": [e.activation for e in (text, image) if isinstance(e, ViT | Text)],
            "heads": [image.heads], "text_heads": [text.heads], "eps": [image.eps, text.eps],
            "mean": [config.pixels.mean], "std": [config.pixels.std],
        }  # fmt: skip
        for name, values in said.items():
            given = getattr(self, name)
            if odd := [value for value in values if given is not None and value != given]:
                contradicts = f"{_flag(name)}={_shown(given)} contradicts it"
                raise InputError(self.spelled(f"{where}: its configuration says {name} {odd[0]}; {contradicts}"))


def parse(values: dict[str, Any], keys: bool = False) -> Options:
    """From the command line's or a config's values; empty and 0 mean not given, numbers may be texts "0.5,0.5,0.5"."""
    try:
        return _parsed(values, keys)
    except InputError as error:
        raise InputError(Options(keys=keys).spelled(str(error))) from None


def _parsed(values: dict[str, Any], keys: bool) -> Options:
    given: dict[str, Any] = {name: value for name, value in values.items() if value}
    for name in ("mean", "std"):
        if isinstance(value := given.get(name), str):
            try:
                given[name] = tuple(float(part) for part in value.split(","))
            except ValueError:
                raise InputError(f"{_flag(name)}={brief(value)}: three numbers, red,green,blue") from None
    return Options(**given, keys=keys)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
