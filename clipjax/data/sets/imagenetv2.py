"""ImageNetV2: a new test set over ImageNet's 1,000 classes, collected as the first one was."""

import os

from clipjax.data import annotations, source
from clipjax.data.info import Info
from clipjax.data.source import Source
from clipjax.errors import InputError, require

INFO = Info(
    name="ImageNetV2",
    key="imagenetv2",
    task="robustness",
    metric="top1",
    split="test",
    n=10000,
    model_card=False,
    obtain="imagenetv2-matched-frequency.tar.gz from https://huggingface.co/datasets/vaishaal/ImageNetV2 (MIT; images "
    "under their owners' terms); code at https://github.com/modestyachts/ImageNetV2.",
    layout="""
imagenetv2-matched-frequency-format-val/0/0a1b2c.jpeg     folders 0 to 999
imagenetv2-threshold0.7-format-val/      imagenetv2-top-images-format-val/      with variant=
""",
    reading="Folders are the positions of the classes in ImageNet's order of WordNet ids. A reader that sorts folder "
    "names as text gives 10 the label of 2 (modestyachts/ImageNetV2#6); here they are numbers. The published "
    "robustness numbers are of matched-frequency.",
)
SPLITS = ("test",)
# variant -> folder
VARIANTS = {
    "matched-frequency": "imagenetv2-matched-frequency-format-val",
    "threshold0.7": "imagenetv2-threshold0.7-format-val",
    "top-images": "imagenetv2-top-images-format-val",
}


def open_source(path: str | os.PathLike, split: str | None = None, variant: str = "matched-frequency") -> Source:
    """ImageNetV2 from its folders named by number; `path` may be the folder of the variant itself."""
    annotations.choose_split(split, SPLITS, INFO)
    require(variant, VARIANTS, INFO.name, "variant")
    path = source.as_path(path)
    root = path if path.name == VARIANTS[variant] else path / VARIANTS[variant]
    if not root.is_dir():
        raise annotations.not_there(path, INFO, f"no folder {VARIANTS[variant]} in it")
    files, own = annotations.class_folders(root)
    if wrong := [name for name in own if not (name.isascii() and name.isdigit())]:
        raise InputError(f"{root}: folder {wrong[0]!r} is not the number of a class, 0 to 999; unpack it again")
    return annotations.from_files(INFO, root, files, own, root)
