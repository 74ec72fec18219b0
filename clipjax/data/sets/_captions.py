"""Karpathy's caption files (dataset_flickr30k.json, dataset_coco.json), and how many captions an image keeps."""

from collections.abc import Sequence
from pathlib import Path

from clipjax.data.sets import _json
from clipjax.errors import InputError, require


def karpathy(path: Path, split: str) -> list[tuple[str, str, list[str]]]:
    """(folder, file name, captions as written) of every image of a split ("all": of every split), in file order.

    Karpathy's "train" of COCO comes with a "restval": both are asked for by their own names. COCO's records name the
    folder the image lies in, Flickr's do not (then "").
    """
    records = _json.member(_json.read(path), "images", path)
    rows: list[tuple[str, str, list[str]]] = []
    splits: dict[str, None] = {}
    for record, (file, part, sentences) in zip(
        records, _json.members(records, ("filename", "split", "sentences"), path), strict=True
    ):
        splits[part] = None
        if split in ("all", part):
            raw = [str(text) for (text,) in _json.members(sentences, ("raw",), path)]
            rows.append((str(record.get("filepath", "")), str(file), [" ".join(text.split()) for text in raw]))
    if split != "all":
        require(split, sorted(splits), path, "split")
    return rows


def first(captions: Sequence[Sequence[str]], keep: int, files: Sequence[str], where: Path) -> list[tuple[str, ...]]:
    """The first `keep` captions of every image. InputError names the first image without any."""
    if keep < 1:
        raise InputError(f"captions is how many of an image's captions are kept, at least 1, got {keep}")
    if without := [file for file, own in zip(files, captions, strict=True) if not own]:
        raise InputError(f"{where}: {without[0]} has no caption; take the file as published")
    return [tuple(own[:keep]) for own in captions]
