"""Birdsnap: species and image lists of the release, images fetched from the web by its own script."""

import os

from clipjax.data import annotations, table
from clipjax.data.info import Info
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="Birdsnap",
    key="birdsnap",
    task="classification",
    metric="top1",
    split="test",
    n=2149,
    tfds=None,  # caltech_birds is CUB, another data set
    obtain="birdsnap.tgz and its get_birdsnap.py from https://thomasberg.org/ (images from Flickr under "
    "their owners' terms).",
    layout="""
birdsnap/
  species.txt          id, common, scientific, dir (tab-separated)
  images.txt           url, md5, path, ... (tab-separated)
  test_images.txt      path
  download/images/Acadian_Flycatcher/4.jpg
""",
    reading="Images vanish from the web: those on disk are the data set, and n, printed with every result, "
    "is their count (the paper found 2,149 of the 2,443 listed for the test). Class names are those of "
    "species.txt.",
)
SPLITS = ("train", "test")


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """The images of a split that were found on the web, of the 500 species of species.txt in its order."""
    split = annotations.choose_split(split, SPLITS, INFO)
    root = annotations.find_root(path, INFO, "species.txt", "birdsnap")
    folders = [row["dir"] for row in annotations.read_rows(root / "species.txt", ("dir",), "\t")]
    test = {row["path"] for row in annotations.read_rows(root / "test_images.txt", ("path",), "\t")}
    listed = [row["path"] for row in annotations.read_rows(root / "images.txt", ("path",), "\t")]
    images = root / "download" / "images"
    images = images if images.exists() else root / "images"
    files = [file for file in listed if (file in test) == (split == "test") and (images / file).exists()]
    if not files:
        raise InputError(f"{images} holds none of the images of the {split} split; run the release's get_birdsnap.py")
    index = {name: i for i, name in enumerate(folders)}
    if unknown := [file for file in files if file.split("/")[0] not in index]:
        raise InputError(f"{root / 'images.txt'}: {unknown[0]} is of no species of species.txt; unpack the lists again")
    labels = [index[file.split("/")[0]] for file in files]
    classes = [folder.replace("_", " ") for folder in folders]
    return table.from_rows(INFO.key, [images / file for file in files], {"label": labels}, classes, images)
