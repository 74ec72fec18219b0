"""Association tests in a YAML file: which images or texts are X, Y, A and B.

    templates: ["a photo of {}."]
    tests:
      - name: gender and career
        x: {images: {gender: Male}}
        y: {images: {gender: Female}}
        a: {texts: [office, salary, business]}
        b: {texts: [home, wedding, family]}
      - name: one word at a time
        x: {texts: [doctor, nurse]}
        a: {images: {gender: Male}}
        b: {images: {gender: Female}}

A test without y is a single-category test of each stimulus of x. A set may have images and texts, and the words of a
published test: `a: {published: weat/career}` (`configs/stimuli`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from clipjax import stored
from clipjax.data.source import Source
from clipjax.design.files import shipped, yaml_value
from clipjax.errors import InputError, converted, require


class Stimuli(msgspec.Struct, forbid_unknown_fields=True):
    """Texts, which go into the templates, and images with these values of columns ({"gender": "Male"}). published:
    the words of a published test, which `read` adds to the texts."""

    texts: list[str] = []
    images: dict[str, str] = {}
    published: str = ""


class Association(msgspec.Struct, forbid_unknown_fields=True):
    """X against Y by their association with A and B; without Y each stimulus of X by itself."""

    name: str
    x: Stimuli
    a: Stimuli
    b: Stimuli
    y: Stimuli | None = None

    @property
    def sets(self) -> dict[str, Stimuli]:
        """By name, without a Y that is not there."""
        found = {"x": self.x, "y": self.y, "a": self.a, "b": self.b}
        return {name: one for name, one in found.items() if one is not None}


class Associations(msgspec.Struct, forbid_unknown_fields=True):
    """All of a file."""

    tests: list[Association]
    templates: list[str] = msgspec.field(default_factory=lambda: ["{}"])


class Published(msgspec.Struct, forbid_unknown_fields=True):
    """A file of `configs/stimuli`: words by the name of their list."""

    source: str
    lists: dict[str, list[str]]


def published() -> dict[str, list[str]]:
    """ "weat/career" -> the words of that list, for every list that comes with clipjax."""
    found = {}
    for name, path in shipped("stimuli").items():
        lists = stored.check(
            yaml_value(path.read_text(encoding="utf-8"), str(path)), Published, str(path), "correct it"
        )
        found |= {f"{name}/{key}": words for key, words in lists.lists.items()}
    return found


def read(path: str) -> Associations:
    """The tests of a file; InputError where it is not one."""
    with converted(f"{path}: cannot be read", "check the path", OSError, UnicodeDecodeError):
        text = Path(path).read_text(encoding="utf-8")
    found = stored.check(yaml_value(text, path), Associations, path, "correct it")
    if not found.tests:
        raise InputError(f"{path}: tests names none")
    names = [test.name for test in found.tests]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path}: two tests are called {twice[0]!r}; rename one")
    for test in found.tests:
        for name, one in test.sets.items():
            if one.published:
                known = published()
                require(one.published, known, f"{path}: test {test.name!r}: {name}", "published list")
                one.texts = [*one.texts, *known[one.published]]
            if not one.texts and not one.images:
                raise InputError(f"{path}: test {test.name!r}: {name} has neither texts nor images")
            if twice := [text for text in one.texts if one.texts.count(text) > 1]:
                raise InputError(f"{path}: test {test.name!r}: {name} names {twice[0]!r} twice")
    return found


def rows(source: Source, stimuli: Stimuli, where: str) -> np.ndarray:
    """The source's images of a set, int [n]; InputError where a column is not there or no image has the values."""
    inside = np.ones(len(source), bool)
    for column, value in stimuli.images.items():
        require(column, source.columns, where, "column")
        inside &= source.columns[column] == value
    if not inside.any():
        said = ", ".join(f"{column}={value}" for column, value in stimuli.images.items())
        raise InputError(f"{where}: no image has {said}")
    return np.flatnonzero(inside)
