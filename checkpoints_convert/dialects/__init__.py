"""How each library names a model's tensors: one file a library, one `rules.Dialect` a layout of names."""

from __future__ import annotations

from collections.abc import Iterable

from checkpoints_convert.dialects import big_vision, eva, huggingface, openai, timm
from checkpoints_convert.rules import Dialect

# In the order in which they are tried: the first whose marks are all there. OpenAI's has none.
ALL = (
    big_vision.BIG_VISION, huggingface.SIGLIP, huggingface.CLIP, timm.EVA02, timm.EVA, timm.MOBILECLIP_B, timm.SIGLIP,
    timm.VIT, eva.EVA02, eva.EVA, openai.CUSTOM, openai.PE_CORE, openai.OPENAI,
)  # fmt: skip


def of(names: Iterable[str]) -> Dialect:
    """The dialect of these names."""
    names = list(names)
    return next(dialect for dialect in ALL if dialect.knows(names))
