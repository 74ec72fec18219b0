"""Write the class names and templates of every named data set, one JSON file each.

    pip install --no-deps --target=LISTS open_clip_torch==3.3.0 clip-benchmark==1.6.2 tensorflow-datasets==4.9.10
    python experiments/data_files/make_prompts.py LISTS

The script reads the packages as files and never imports them: open_clip has the 1,000 ImageNet names and 80 templates,
clip-benchmark the other lists, tensorflow-datasets the data sets' own label names. `prompt_overrides.py` has the
differences from OpenAI's lists (openai/CLIP, data/prompts.md). `own` holds the data set's own name of each class, which
maps annotations to classes.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
import prompt_overrides as openai  # noqa: E402

from clipjax.data.info import name_key  # noqa: E402

BENCH = "clip-benchmark 1.6.2"
OPEN_CLIP = "open_clip_torch 3.3.0 zero_shot_metadata.py (openai/CLIP notebooks/Prompt_Engineering_for_ImageNet.ipynb)"
TFDS = "tensorflow-datasets 4.9.10"
PROMPTS_MD = "openai/CLIP data/prompts.md"


class Packages:
    """The three unpacked packages below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        bench = root / "clip_benchmark" / "datasets"
        self.names = json.loads((bench / "en_classnames.json").read_text(encoding="utf-8"))
        raw = json.loads((bench / "en_zeroshot_classification_templates.json").read_text(encoding="utf-8"))
        self.templates = {key: [t.replace("{c}", "{}") for t in value] for key, value in raw.items()}
        metadata = root / "open_clip" / "zero_shot_metadata.py"
        self.imagenet_names = literal(metadata, "IMAGENET_CLASSNAMES")
        self.imagenet_templates = self._imagenet_templates(metadata)

    def labels(self, file: str) -> list[str]:
        """A label file of tensorflow-datasets, one name a line."""
        return (self.root / "tensorflow_datasets" / file).read_text(encoding="utf-8").split("\n")[:-1]

    def literal(self, file: str, name: str) -> list[str]:
        """A list written in a module of tensorflow-datasets."""
        return list(literal(self.root / "tensorflow_datasets" / file, name))

    def wnids(self, name: str) -> list[str]:
        """A subset of ImageNet's WordNet ids, as clip-benchmark lists it; sorted, which is ImageNet's own order."""
        return sorted(literal(self.root / "clip_benchmark" / "datasets" / "builder.py", name))

    def _imagenet_templates(self, file: Path) -> list[str]:
        # They are functions there (lambda c: f'a photo of a {c}.'): the one name of each f-string is the placeholder.
        functions: Any = assigned(file, "OPENAI_IMAGENET_TEMPLATES")
        templates = []
        for function in functions.elts:
            parts = function.body.values
            templates.append("".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in parts))
        return templates


def assigned(file: Path, name: str) -> ast.expr:
    """The right-hand side of the only assignment to `name` in a Python file; reads the file, runs nothing."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assignments = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    (value,) = [a.value for a in assignments if isinstance(a.targets[0], ast.Name) and a.targets[0].id == name]
    return value


def literal(file: Path, name: str) -> Any:
    """The value of a list, tuple or set written out in a Python file."""
    return ast.literal_eval(assigned(file, name))


def spaced(names: Iterable[str]) -> list[str]:
    """Names with spaces for the underscores and slashes of folder names."""
    return [" ".join(re.split(r"[_/]", n)) for n in names]


def entry(
    source: str, classes: Sequence[Any], templates: Sequence[str], own: Sequence[str] = (), count: int | None = None
) -> dict[str, Any]:
    """One JSON file's content; `count` where the data set brings its class names itself."""
    if own and len(own) != len(classes):
        raise SystemExit(f"{source}: {len(own)} own names for {len(classes)} classes")
    if len({name_key(n) for n in own}) != len(own):
        raise SystemExit(f"{source}: own names that fall together")
    found: dict[str, Any] = {"source": source, "classes": list(classes), "templates": list(templates)}
    if own:
        found["own"] = list(own)
    if count is not None:
        found["count"] = count
    return found


def paper_suite(p: Packages) -> dict[str, dict[str, Any]]:
    """The sets of the 27-set suite whose names come from the packages as they are, or nearly."""
    food, sun = (
        p.labels("image_classification/food-101_classes.txt"),
        p.labels("image_classification/sun397_labels.txt"),
    )
    cars = p.literal("image_classification/cars196.py", "_NAMES")
    dtd = p.labels("image_classification/dtd_key_attributes.txt")
    flowers = p.literal("datasets/oxford_flowers102/oxford_flowers102_dataset_builder.py", "_NAMES")
    resisc = p.literal("datasets/resisc45/resisc45_dataset_builder.py", "_LABELS")
    # Folder names in byte order, upper case first: OpenAI's order in both sets.
    pets = sorted(p.literal("datasets/oxford_iiit_pet/oxford_iiit_pet_dataset_builder.py", "_LABEL_CLASSES"))
    renamed = openai.CALTECH101_FOLDERS
    caltech = sorted(renamed.get(n, n) for n in p.labels("image_classification/caltech101_labels.txt"))
    voc = p.literal("object_detection/voc.py", "_VOC_LABELS")
    assert sorted(voc) == sorted(openai.VOC2007)
    t, n, both = p.templates, p.names, f"{TFDS} (names), {BENCH} (templates)"
    return {
        "food101": entry(both, spaced(food), t["food101"], food),
        "sun397": entry(both, spaced(s[3:] for s in sun), t["sun397"], sun),
        "cars": entry(both, cars, t["cars"], cars),
        "dtd": entry(both, dtd, t["dtd"], dtd),
        "resisc45": entry(f"{TFDS} (names), {PROMPTS_MD} (templates)", spaced(resisc), openai.RESISC45, resisc),
        "pets": entry(f"{both}; order of {PROMPTS_MD}: cats first", spaced(pets), t["pets"], pets),
        "caltech101": entry(BENCH, n["caltech101"], t["caltech101"], caltech),
        "flowers102": entry(BENCH, n["flowers"], t["flowers"], flowers),
        "voc2007": entry(
            f"{BENCH} (template); order of {PROMPTS_MD}: diningtable after sofa",
            openai.VOC2007, t["voc2007"], openai.VOC2007,
        ),
        "mnist": entry(BENCH, n["mnist"], t["mnist"], n["mnist"]),
        "gtsrb": entry(BENCH, n["gtsrb"], t["gtsrb"], [f"{i:05d}" for i in range(43)]),
        "country211": entry(BENCH, n["country211"], t["country211"], openai.COUNTRY211),
        "eurosat": entry(
            f"{BENCH}; order of {PROMPTS_MD}",
            [n["eurosat"][p.literal("image_classification/eurosat.py", "_LABELS").index(k)] for k in openai.EUROSAT],
            t["eurosat"], openai.EUROSAT,
        ),
        "patch_camelyon": entry(f"{BENCH} (names), {PROMPTS_MD} (template)", n["pcam"], openai.PATCH_CAMELYON, "01"),
        "fer2013": entry(
            f"{PROMPTS_MD} (names, several per class), {BENCH} (templates)",
            list(openai.FER2013.values()), t["fer2013"], list(openai.FER2013),
        ),
        "kitti_distance": entry(
            f"{BENCH}; own names are VTAB's, from near to far",
            n["kitti_closest_vehicle_distance"], t["kitti_closest_vehicle_distance"], openai.KITTI,
        ),
        "sst2": entry(f"{PROMPTS_MD} (names), {BENCH} (template)", openai.SST2, t["renderedsst2"], openai.SST2),
        "cifar10": entry(
            f"the data set's batches.meta (names), {BENCH} (templates)", openai.CIFAR10, t["cifar10"], openai.CIFAR10
        ),
        "cifar100": entry(
            f"the data set's meta file (names), {BENCH} (templates)",
            spaced(openai.CIFAR100), t["cifar100"], openai.CIFAR100,
        ),
        "stl10": entry(
            f"the data set's class_names.txt, {BENCH} (templates)", openai.STL10, t["stl10"], openai.STL10
        ),
        "aircraft": entry(
            f"the data set's variants.txt, {BENCH} (templates)", openai.AIRCRAFT, t["fgvc_aircraft"], openai.AIRCRAFT
        ),
    }  # fmt: skip


def own_lists(p: Packages) -> dict[str, dict[str, Any]]:
    """Sets whose prompts are described by OpenAI and in no package, and sets that bring their names themselves."""
    ucf = p.labels("video/ucf101_labels.txt")
    words = [openai.UCF101.get(n, " ".join(re.findall(r"[A-Z][a-z]*", n))) for n in ucf]
    return {
        "birdsnap": entry(
            f"species.txt of the data set (names), {PROMPTS_MD} (template)", [], openai.BIRDSNAP, count=500
        ),
        "hateful_memes": entry(PROMPTS_MD, openai.HATEFUL_MEMES, ["a {}."], "01"),
        "clevr_counts": entry(PROMPTS_MD, openai.CLEVR_COUNTS, ["a photo of {} objects."], openai.CLEVR_COUNTS),
        "ucf101": entry(f"{TFDS} (names), {PROMPTS_MD} (templates)", words, openai.ucf101_templates(), ucf),
        "kinetics700": entry(
            f"csv of the data set (names), {PROMPTS_MD} (templates)", [], openai.kinetics_templates(), count=700
        ),
    }


def unpublished(p: Packages) -> dict[str, dict[str, Any]]:
    """Sets of the model card whose prompts OpenAI never published: what stands here is a stated choice."""
    choice = "prompts never published by OpenAI; chosen here: "
    own = choice + "names brought by the data set, "
    vid, ytbb = openai.IMAGENET_VID, openai.YOUTUBE_BB
    eighty = p.imagenet_templates
    return {
        "svhn": entry(f"{choice}{BENCH}, spelling included", p.names["svhn"], p.templates["svhn"], openai.DIGITS),
        "iiit5k": entry(f"{own}the form of the MNIST template", [], ['a photo of the word: "{}".']),
        "rareact": entry(f"{own}the Kinetics700 templates", [], openai.kinetics_templates(), count=149),
        "flickr30k": entry("CLIP paper, appendix E.1: captions are prefixed with 'a photo of'", [], ["a photo of {}"]),
        "mscoco": entry("CLIP paper, appendix E.1: captions are prefixed with 'a photo of'", [], ["a photo of {}"]),
        "objectnet": entry(f"{own}the 80 ImageNet templates", [], eighty, count=113),
        "imagenet_vid": entry(
            f"{choice}the data set's class names, the 80 ImageNet templates", spaced(vid), eighty, vid
        ),
        "youtube_bb": entry(f"{choice}the data set's class names, the 80 ImageNet templates", ytbb, eighty, ytbb),
    }


def imagenet(p: Packages) -> dict[str, dict[str, Any]]:
    """ImageNet and the sets over its classes. Duplicate names (missile, sunglasses) stay, as in OpenAI's numbers."""
    wnids = p.labels("datasets/imagenet2012/labels.txt")
    names = dict(zip(wnids, p.imagenet_names, strict=True))
    found = {}
    for key, subset in (
        ("imagenet", wnids),
        ("imagenet_a", p.wnids("imagenet_a_wnids")),
        ("imagenet_r", p.wnids("imagenet_r_wnids")),
    ):
        found[key] = entry(OPEN_CLIP, [names[w] for w in subset], p.imagenet_templates, subset)
    return found | {"imagenet_sketch": {"as": "imagenet"}, "imagenetv2": {"as": "imagenet", "own": "positions"}}


def main(lists: str) -> None:
    """Writes every file whole, by way of a temporary name."""
    packages, folder = Packages(Path(lists)), ROOT / "clipjax" / "data" / "prompts"
    tables = paper_suite(packages) | own_lists(packages) | unpublished(packages) | imagenet(packages)
    for key, content in tables.items():
        temporary = folder / f".{key}.json.tmp"
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, folder / f"{key}.json")
        classes, templates = content.get("classes", ()), content.get("templates", ())
        print(f"{key}.json: {len(classes) or content.get('count', 0)} classes, {len(templates)} templates")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
