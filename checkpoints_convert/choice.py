"""Which of a file's tensors are the model: after which prefix, in which of the mappings that a trainer saves."""

from __future__ import annotations

import re
from collections.abc import Iterable

from clipjax.errors import InputError, brief, some

# Names that every CLIP has, longest first: what stands before one is a prefix.
_LANDMARKS = (
    "vision_model.embeddings.patch_embedding.weight", "text_model.embeddings.token_embedding.weight",
    "visual.trunk.patch_embed.proj.weight", "visual.trunk.patch_embed.backbone.0.conv.weight",
    "visual.patch_embed.proj.weight", "text.token_embedding.weight", "token_embedding.weight", "visual.conv1.weight",
)  # fmt: skip
_AVERAGE = re.compile(r"(^|[._])(ema|averaged|swa|shadow)([._]|$)")
Names = tuple[str, ...]


def choose(names: Iterable[Names], wanted: str | None = None) -> tuple[dict[Names, str], str | None]:
    """The names of the model's tensors -> their names in the model, and a note where there was a choice.

    Args:
        names: Of each tensor, the keys of the mappings around it and its name in the innermost.
        wanted: The mapping or prefix to read ("state_dict_ema", "model.clip"); None: the only one, where a moving
            average beside the weights themselves does not count.

    Raises:
        InputError: the mapping is missing; several sets of weights; tensors beside the prefix in the same mapping.
    """
    dotted = {name: ".".join(name) for name in names}
    if wanted is not None:
        below = {name: text for name, text in dotted.items() if text.startswith(wanted + ".")}
        if not below:
            there = some(_shown(_prefixes(dotted.values())))
            raise InputError(f"--state-dict={brief(wanted)}: no tensors of that name; its weights: {there}")
        dotted = below
    prefixes = _prefixes(dotted.values())
    if not prefixes:
        start = f"{wanted}." if wanted else ""
        return {name: text.removeprefix(start) for name, text in dotted.items()}, None
    plain = [p for p in prefixes if not _AVERAGE.search(p)]
    candidates = plain or prefixes
    if len(candidates) > 1:
        counts = [f"{sum(t.startswith(p) for t in dotted.values())} tensors {_at(p)}" for p in candidates]
        named = next((p for p in candidates if p), "").rstrip(".")
        raise InputError(f"holds several sets of weights ({some(counts)}); choose one: --state-dict={named}")
    prefix = candidates[0]
    others = tuple(p for p in prefixes if p != prefix)
    chosen = {
        name: text[len(prefix) :]
        for name, text in dotted.items()
        if text.startswith(prefix) and not any(text.startswith(p) for p in others if len(p) > len(prefix))
    }
    mappings = {name[:-1] for name in chosen}
    beside = [text for name, text in dotted.items() if name not in chosen and name[:-1] in mappings]
    beside = [text for text in beside if not text.startswith(others)]
    if beside and wanted is None:
        raise InputError(
            f"beside the weights {_at(prefix)} the same state dict has {some([brief(b) for b in beside])}; to read the "
            f"weights alone: --state-dict={prefix.rstrip('.')}"
        )
    if not others:
        return chosen, None
    return chosen, f"read {_at(prefix)}; it also holds {some(_shown(others))}: --state-dict={others[0].rstrip('.')}"


def _prefixes(names: Iterable[str]) -> list[str]:
    prefixes: dict[str, None] = {}
    for name in names:
        landmark = next((mark for mark in _LANDMARKS if name == mark or name.endswith("." + mark)), None)
        if landmark is not None:
            prefixes[name.removesuffix(landmark)] = None
    return list(prefixes)


def _at(prefix: str) -> str:
    return f"under {brief(prefix.rstrip('.'))!r}" if prefix else "at the top"


def _shown(prefixes: Iterable[str]) -> list[str]:
    return [brief(p.rstrip(".")) for p in prefixes if p] or ["at the top, under no name"]
