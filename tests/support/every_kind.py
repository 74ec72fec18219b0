"""A run, a report and a comparison of every kind that clipjax writes, over drawings with awkward names of groups."""

import csv
from pathlib import Path

from clipjax.cli.main import main
from clipjax.demo import people

# Values that programs like to read as something else: dates, numbers, truth values, nothing, formulas.
AGES = {"baby": "0-2", "child": "3-9", "adult": "1/2", "older": "more than 70"}
CODES = ("007", "1e5", "true", "2024-01-02", "NA", "=1+1", "5/5", "-3 [0] & χ²")
ROLES = ("artist", "astronaut", "cook", "farmer")
ASSOCIATION = """\
templates: ["a photo of a {}.", "a drawing of a {}."]
tests:
  - name: office_home
    x: {images: {gender: female}}
    y: {images: {gender: male}}
    a: {texts: [office worker, scientist]}
    b: {texts: [baby, elf]}
  - name: words & more
    x: {texts: [cook, farmer]}
    a: {images: {gender: female}}
    b: {images: {gender: male}}
"""


def table(root: Path) -> Path:
    """The embedded drawings of four roles and of children, older people and babies, with a label and a caption each."""
    listing = people.unpack(root)
    with open(listing, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["role"] in ROLES or row["age"] != "adult"]
    for i, row in enumerate(rows):
        row["age"] = AGES[row["age"]]
        row["code"] = CODES[i % len(CODES)]
        row["label"] = row["role"] or "man"
        row["split"] = "train" if i % 3 else "test"
        row["caption"] = row["name"].replace(":", ",")
        row["wrong"] = "a drawing of a bicycle"
    path = root / "table.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def build(root: Path) -> dict[str, Path]:
    """kind -> the folder that holds its tables."""
    path = table(root / "people")
    tests = root / "tests.yaml"
    tests.write_text(ASSOCIATION)
    labelled, grouped = "data.label_column=label", "data.group_columns=age,gender,code"
    attributes = "attributes=gender=gender.yaml"
    asked = {
        "rates": (grouped, "design=people-roles", "sweep.add=child,teenager"),
        "rates-child": (grouped, "design=people-roles+child:person"),
        "zeroshot": (labelled, grouped, "sweep.templates=a {}|the {}"),
        "calibration": (labelled, grouped, "calibration.bins=10", "calibration.fit=0.4", "calibration.risk=0.4"),
        "linear": (labelled, grouped, "C=1.0", "max_iter=50"),
        "fewshot": (labelled, grouped, "groups=age,gender,code", "shots=1,2", "max_iter=20"),
        "retrieval": ("data.caption_columns=caption",),
        "skew": (grouped, "classes=artist,cook,farmer", "k=20,50"),
        "association": (f"tests={tests}", grouped),
        "captions": (f"data.path={path.parent}", f"instances={path}", "by=gender", "subset=code"),
        "labels": (grouped, "contrast=gender=male|female", "thresholds=0.005,0.04"),
        "attributes": (grouped, attributes, "classifier=zero-shot,linear", "binary=", "groups=gender,age", "C=1.0"),
    }
    (root / "gender.yaml").write_text(
        'name: gender\ntemplates: ["a {}."]\nclasses:\n'
        + "".join(f"  - {{name: {g}, gender: {g}}}\n" for g in ("female", "male", "neutral"))
    )
    asked["attributes"] = tuple(one.replace("gender.yaml", str(root / "gender.yaml")) for one in asked["attributes"])
    names = {
        "labels": "congress:csv", "attributes": "fairface_attributes:csv", "calibration": "zeroshot",
        "rates-child": "rates",
    }  # fmt: skip
    folders = {}
    for kind, keys in asked.items():
        data = () if kind == "captions" else ("data.source=csv", f"data.csv={path}")
        words = [f"--config.{key}" for key in ("batch_size=32", *data, *keys)]
        folders[kind] = root / kind
        assert main(["probe", names.get(kind, kind), *words, f"--out={folders[kind]}"]) == 0, kind
        assert main(["report", str(folders[kind])]) == 0, kind
    folders["several"], folders["compare"] = root / "several", root / "compare"
    pair = [str(folders[name]) for name in ("rates", "rates-child")]
    assert main(["report", *pair, f"--out={folders['several']}"]) == 0
    assert main(["compare", *pair, f"--out={folders['compare']}"]) == 0
    return folders
