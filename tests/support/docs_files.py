"""What the pages' commands find in their folder: embedded pictures, and miniatures in the layouts of real data sets.

Nobody real is in any of them: FairFace, CelebA and the portraits are clipjax's embedded drawings or coloured noise.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import pickle
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from clipjax import loading
from clipjax.data.sets import fairface
from clipjax.demo import people
from clipjax.demo.images import ASSETS, drawings
from clipjax.design import SCHWEMMER
from clipjax.models import catalog
from clipjax.testing import pictures, tiny_model
from support.amount import amount

FIRST_10K = amount(fairface.FIRST, 630)  # images of that split on the pages, which show no number of them


def build(root: Path) -> Path:
    """Everything below `root`; returns it."""
    photographs = [Path(str(p)) for p in (ASSETS / "photographs").iterdir()]
    _link(root / "photo.jpg", next(p for p in photographs if p.stem == "chelsea"))
    for photograph in photographs:
        _link(root / "photos" / photograph.name, photograph)
    listing = people.unpack(root / "people")
    (root / "people.csv").write_text(listing.read_text().replace("\n1f", "\npeople/1f"))
    _labelled(root)
    _captions(root)
    _fairface(root / "FAIRFACE")
    _congress(root / "CONGRESS")
    _celeba(root)
    _cifar(root / "CIFAR" / "cifar-10-batches-py")
    tiny_model(root / "mine.safetensors", layers=1)
    loading.convert(root / "mine.safetensors", root / "finetuned.pt", "openai")
    return root


def copy(root: Path, folder: Path) -> None:
    """The stage in a page's own folder: files as links to the same bytes (and the same features in the cache)."""
    for path in root.iterdir():
        (folder / path.name).symlink_to(path, target_is_directory=path.is_dir())


def random_weights(folder: Path) -> None:
    """The files of which `released` answers."""
    for kind in ("vit", "resnet"):
        tiny_model(folder / f"{kind}.safetensors", kind, layers=1)


def released(folder: Path):
    """What stands in for `find_weights` and `locate` without a network: a released name is answered by random weights.

    A ViT's name by a small ViT, a ResNet's by a small ResNet; every other source is read as it always is.
    """
    real, real_path = loading.find_weights, loading.locate
    made = {kind: folder / f"{kind}.safetensors" for kind in ("vit", "resnet")}

    def locate(source):
        release = catalog.find(os.fspath(source))
        if release is None and not os.fspath(source).startswith("hf://"):
            return real_path(source)
        return made["resnet" if release and "RN" in release.name else "vit"]

    def find(source, options=None):
        if locate(source) not in made.values():
            return real(source, options)
        release = catalog.find(os.fspath(source))
        name = release.name if release else os.fspath(source).removeprefix("hf://")
        return dataclasses.replace(real(locate(source), options), name=name)

    return find, locate


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _table(path: Path, rows: Iterable[Sequence[str]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)


def _labelled(root: Path) -> None:
    """animals/{train,test}/CLASS: a class folder each for a linear probe; shapes of noise in the class's colour."""
    for split, n, seed in (("train", 12, 0), ("test", 4, 1)):
        pictures(root / "animals" / split, {"cat": n, "dog": n, "horse": n}, seed=seed)


def _captions(root: Path) -> None:
    shown = drawings()
    rows = [("file", "caption", "split")]
    for i, (picture, name) in enumerate(zip(shown.images, shown.truth, strict=True)):
        path = root / "drawings" / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
        rows.append((f"drawings/{path.name}", f"a drawing of a {name}", "test" if i % 4 == 0 else "train"))
    _table(root / "captions.csv", rows)


def _fairface(root: Path) -> None:
    """As many rows as `first10k` has here, over 63 little pictures; the training part has 63 of its own."""
    rng = np.random.default_rng(0)
    folder = root / fairface.CROPS["0.25"]
    for split, n in (("train", 126), ("val", FIRST_10K)):
        (folder / split).mkdir(parents=True)
        small = [Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(63)]
        first = []
        for i, picture in enumerate(small):
            first.append(folder / split / f"{i + 1}.jpg")
            picture.save(first[-1])
        for i in range(len(small), n):
            os.link(first[i % len(small)], folder / split / f"{i + 1}.jpg")
        ages, genders, races = fairface.AGES, fairface.GENDERS, fairface.RACES
        rows = [
            (f"{split}/{i + 1}.jpg", ages[i % 9], genders[i // 9 % 2], races[i // 18 % 7], "True") for i in range(n)
        ]
        _table(root / f"fairface_label_{split}.csv", [("file", "age", "gender", "race", "service_test"), *rows])


def _congress(root: Path) -> None:
    pictures(root, {"mc_images": 20})
    labels = ("suit;tie", "smile", "official;suit", "hair;smile")
    rows = [("name", "gender", "party", "wiki_img_url", *SCHWEMMER.values())]
    for i in range(20):
        given = (labels[(i + k) % 4] for k in range(3))
        rows.append((f"Person {i}", "FM"[i % 2], "RD"[i // 2 % 2], f"mc_images/{i:04}.jpg", *given))
    _table(root / "mc_data.tsv", rows, "\t")


def _celeba(root: Path) -> None:
    folder = root / "CELEBA"
    pictures(folder, {"noise": 24})
    (folder / "img_align_celeba").mkdir()
    attributes, partition, identity = ["24", "Bald Male"], [], []
    for i in range(24):
        name = f"{i + 1:06}.jpg"
        (folder / "noise" / f"{i:04}.jpg").rename(folder / "img_align_celeba" / name)
        attributes.append(f"{name} {' '.join('1' if i >> k & 1 else '-1' for k in range(2))}")
        partition.append(f"{name} 2")
        identity.append(f"{name} {i % 12 + 1}")
    (folder / "noise").rmdir()
    texts = {"list_attr_celeba": attributes, "list_eval_partition": partition, "identity_CelebA": identity}
    for name, lines in texts.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    _table(root / "names.csv", [("identity", "name"), *((str(i + 1), f"Name {i}") for i in range(12))])


def _cifar(root: Path) -> None:
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    for batch, n in (*((f"data_batch_{i}", 30) for i in range(1, 6)), ("test_batch", 30)):
        labels = [i % 10 for i in range(n)]
        pixels = np.clip(rng.normal(0, 40, (n, 3, 32, 32)) + np.array(labels)[:, None, None, None] * 25, 0, 255)
        content = {"data": pixels.reshape(n, -1).astype(np.uint8), "labels": labels}
        _python2(root / batch, content | {"filenames": [f"{i}.png" for i in range(n)]})
    _python2(root / "batches.meta", {"label_names": names})


class _Python2(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, as CIFAR's own files have them."""

    def save_bytes(self, data: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_bytes}


def _python2(path: Path, content: dict) -> None:
    """A pickle as the reader meets it: texts are bytes, numpy under its first module names."""

    def old(value):
        return value.encode() if isinstance(value, str) else value

    encoded = {old(k): [old(x) for x in v] if isinstance(v, list) else v for k, v in content.items()}
    file = io.BytesIO()
    _Python2(file, protocol=2).dump(encoded)
    path.write_bytes(file.getvalue().replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"))
