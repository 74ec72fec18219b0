"""Text features without the directions of some prompts: a measured intervention, compared with the run without it.

Every prompt of the classes becomes unit(P t) before prompts are averaged; images stay as they are. Not a cure: what
moved, for whom, and which accuracy was kept is what `clipjax compare` shows, and a random subspace of the same rank is
the control.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.keys import inside, key
from clipjax.probes import projection
from clipjax.runs.config import ProbeConfig, words
from clipjax.runs.features import Features

Texts = Callable[[Sequence[str]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Project:
    """`project` of a config."""

    prompts: str = key("", "prompts whose directions are removed from all class texts, separated by |; empty: none")
    pairs: str = key("", "prompts that should coincide: ONE|OTHER, several pairs by ;")
    strength: float = key(projection.STRENGTH, "of the pairs; 0: prompts only")
    control: bool = key(False, "a random subspace of the same rank instead of the prompts, drawn from the seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Projected(ProbeConfig):
    """Of a probe whose class texts can be projected."""

    project: Project = inside(Project)


def check(keys: Project, designs: Sequence[Design]) -> None:
    """InputError for keys that cannot be met, or a prompt that would build the projection and test it."""
    prompts, pairs = words(keys.prompts, "|"), _pairs(keys.pairs)
    if not prompts:
        if keys != Project():
            raise InputError(
                "project.pairs, project.strength and project.control need project.prompts: the directions that are "
                "removed"
            )
        return
    if keys.control and pairs:
        raise InputError("project.control draws a subspace; leave out project.pairs")
    if not pairs and keys.strength != projection.STRENGTH:
        raise InputError(f"project.strength={keys.strength:g} is that of project.pairs, which names none")
    if twice := [one for one in prompts if prompts.count(one) > 1]:
        raise InputError(f"project.prompts names {twice[0]!r} twice; keep one")
    unordered = [sorted(pair) for pair in pairs]
    if twice := [pair for pair in unordered if unordered.count(pair) > 1]:
        raise InputError(f"project.pairs names {'|'.join(twice[0])} twice; keep one")
    tested = {prompt for design in designs for listed in design.prompts() for prompt in listed}
    for one in (*prompts, *(text for pair in pairs for text in pair)):
        if one in tested:
            raise InputError(f"prompt {one!r} is used to build and to test the projection; word it otherwise")


def texts(keys: Project, features: Features, seed: int) -> Texts:
    """`Features.texts`, projected where a config asks for it."""
    prompts, pairs = words(keys.prompts, "|"), _pairs(keys.pairs)
    if not prompts:
        return features.texts
    removed = features.texts(prompts)
    if keys.control:
        removed = np.random.default_rng([seed, 8]).normal(size=removed.shape)
    if pairs:
        listed = list(dict.fromkeys(text for pair in pairs for text in pair))
        rows = [(listed.index(one), listed.index(other)) for one, other in pairs]
        found = projection.calibrated_projection(removed, rows, keys.strength, candidates=features.texts(listed))
    else:
        found = projection.orthogonal_projection(removed)
    return lambda asked: projection.project(features.texts(asked), found, asked)


def _pairs(text: str) -> list[tuple[str, str]]:
    """ "a male doctor|a female doctor; a male nurse|a female nurse" -> pairs."""
    out = []
    for entry in words(text, ";"):
        pair = words(entry, "|")
        if len(pair) != 2 or pair[0] == pair[1]:
            raise InputError(f"project.pairs: {entry!r} is not ONE|OTHER, two different prompts")
        out.append((pair[0], pair[1]))
    return out
