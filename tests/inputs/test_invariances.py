"""What must not change a number: containers, shards, spellings, orders and names.

Every probe is run on the same images in every kind of container, and each result is compared with that of a csv: all
records to the last digit, and the answer for every image.
"""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.amount import amount
from support.containers import BARE, CLASSES, KINDS, rows, same

from clipjax import classes
from clipjax.analysis import intervals
from clipjax.data import labels, prepared, tars
from clipjax.errors import InputError
from clipjax.probes import order
from clipjax.runs import finetune_input, parts

DESIGN = """
name: sets
classes:
  - {name: White man, sets: [person], race: White, gender: Male}
  - {name: Black woman, sets: [person], race: Black, gender: Female}
  - {name: ant, sets: [animal]}
  - {name: sea lion, sets: [animal]}
  - {name: thief, prompt: "a thief", sets: [crime]}
"""
RACES = "name: races\nclasses:\n" + "".join(
    f"  - {{name: {n} person, race: {n}}}\n" for n in ("White", "Black", "Indian")
)
GENDERS = "name: genders\nclasses:\n" + "".join(
    f"  - {{name: a {n} person, gender: {n}}}\n" for n in ("Male", "Female")
)


@pytest.fixture(scope="module")
def designs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("designs")
    for name, text in {"sets": DESIGN, "races": RACES, "genders": GENDERS}.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def asked(probe, designs):
    """The role that a probe reads, its overrides, and whether it has a training part."""
    return {
        "zeroshot": ("label", ["templates=a photo of a {}.|an image of the {}"], False),
        "zeroshot:groups": ("groups", ["method=bootstrap", "min_n=1"], False),
        "zeroshot:several": ("tags", [], False),
        "linear": ("label", ["max_iter=100", "C=1.0"], True),
        "linear:sweep": ("label", ["max_iter=100"], True),
        "linear:several": ("tags", ["max_iter=100", "C=1.0"], True),
        "fewshot": ("label", ["shots=(1,2)", "max_iter=100"], True),
        "tip_adapter": ("label", ["shots=(1,)", "training.epochs=3", "training.batch_size=4"], True),
        "coop": ("label", ["shots=(1,)", "context.epochs=2", "context.tokens=2", "context.batch_size=4"], True),
        "retrieval": ("captions", [], False),
        "rates": ("groups", [f"design={designs}/sets.yaml", "method=bootstrap"], False),
        "congress": ("groups", [f"design={designs}/sets.yaml", "thresholds=0.1,0.2"], False),
        "fairface_attributes": (
            "groups",
            [f"attributes=race={designs}/races.yaml,gender={designs}/genders.yaml", "C=1.0", "max_iter=100", "groups="],
            True,
        ),
        "celeba": ("person", ["sizes=3,6"], False),
    }[probe]


PROBES = (
    "zeroshot", "zeroshot:groups", "zeroshot:several", "linear", "linear:sweep", "linear:several", "fewshot",
    "retrieval", "rates", "congress", "fairface_attributes", "celeba", "tip_adapter",
    "coop",
)  # fmt: skip
# By default `zeroshot` and `linear` are run with every container, and the others with one of each kind of reader: a
# probe knows its source's columns only. Probes that fit for long have fewer.
READERS = ("jsonl", "table.parquet", "shards", "prepared", "tfds")
FEW = {probe: READERS for probe in PROBES if probe not in ("zeroshot", "linear")} | {
    "linear:sweep": ("shards",), "fewshot": ("folder", "shards", "prepared", "tfds"),
    "fairface_attributes": ("jsonl", "shards", "prepared", "tfds"), "tip_adapter": ("shards",),
    "coop": (),
}  # fmt: skip


def some(kinds):
    """Containers as parameters, of which one of each kind of reader is run by default."""
    few = ("folder", "csv", *READERS, "parquet")
    return [pytest.param(kind, marks=[pytest.mark.exhaustive] * (kind not in few)) for kind in kinds]


def cases(kinds):
    """Every probe with every container, those of FEW with few of them by default."""
    left_out = {(probe, kind) for probe, few in FEW.items() for kind in kinds if kind not in few}
    return [
        pytest.param(probe, kind, marks=[pytest.mark.exhaustive] * ((probe, kind) in left_out))
        for probe in PROBES
        for kind in kinds
    ]


def result(bench, places, designs, probe, kind, more=(), names=lambda name: name, **options):
    role, own, fitted = asked(probe, designs)
    own = [one for one in own if one.partition("=")[0] not in {m.partition("=")[0] for m in more}]
    if probe == "fairface_attributes":
        test, train = (places.part(kind, role, part, **options) for part in ("test", "train"))
        place = next(one for one in train if one.startswith(("data.csv=", "data.path=")))
        data = test if kind == "tfds" else [*test, f"data.train_path={place.partition('=')[2]}"]
    else:
        data = places.parts(kind, role, **options) if fitted else places.part(kind, role, "test", **options)
    return bench.result(probe.partition(":")[0], [*data, *own, *more], names)


@pytest.fixture(scope="module")
def reference(bench, places, designs):
    known = {}

    def of(probe):
        if probe not in known:
            known[probe] = result(bench, places, designs, probe, "csv")
        return known[probe]

    return of


@pytest.mark.parametrize(("probe", "kind"), cases([kind for kind in KINDS if kind != "csv"]))
def test_the_container_changes_nothing(bench, places, designs, reference, probe, kind):
    if kind in BARE and asked(probe, designs)[0] != "label":
        pytest.skip("holds labels alone")
    same(result(bench, places, designs, probe, kind), reference(probe), f"{probe} {kind}")


@pytest.mark.parametrize(("probe", "kind"), cases(["csv", "shards", "parquet", "imagefolder.csv", "tfds"]))
def test_the_order_of_rows_changes_nothing(bench, places, designs, reference, probe, kind):
    """To the last digit: a row's features depend on no other row (`Encoder.full_batches`), and what is drawn is drawn
    from the images in the order of their digests, or from numbers in the order of their values.
    """
    other = {"variant": "backwards", "change": lambda listed: listed[::-1]}
    same(result(bench, places, designs, probe, kind, **other), reference(probe), f"{probe} {kind}")


@pytest.mark.parametrize("order", [(3, 5, 0, 4, 1, 2), (5, 4, 3, 2, 1, 0)])
@pytest.mark.parametrize("probe", ["zeroshot", "zeroshot:several", "linear:sweep", "linear:several", "fewshot"])
def test_the_order_of_classes_changes_nothing(bench, places, designs, reference, probe, order):
    asked_as = "classes=" + ",".join(CLASSES[c] for c in order)
    same(result(bench, places, designs, probe, "csv", [asked_as]), reference(probe), probe)


@given(
    st.sampled_from(PROBES),
    st.sampled_from(["csv", "shards", "parquet", "imagefolder.csv"]),
    st.permutations(range(len(CLASSES))),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=amount(15, 5), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_orders_in_any_container_change_nothing(bench, places, designs, reference, probe, kind, order, seed):
    """All at once: the container, the order of its rows in both parts, and the order of the classes."""
    shuffled = {
        "variant": f"seed {seed}",
        "change": lambda listed: [listed[i] for i in np.random.default_rng(seed).permutation(len(listed))],
    }
    by_class = asked(probe, designs)[0] in ("label", "tags")
    more = ["classes=" + ",".join(CLASSES[c] for c in order)] if by_class else []
    same(result(bench, places, designs, probe, kind, more, **shuffled), reference(probe), f"{probe} {kind}")


@pytest.mark.parametrize("probe", ["rates", "congress", "fairface_attributes"])
def test_the_order_of_a_design_changes_nothing(bench, places, designs, reference, probe):
    turned = designs / "turned"
    turned.mkdir(exist_ok=True)
    for path in designs.glob("*.yaml"):
        head, _, classes = path.read_text().partition("classes:\n")
        (turned / path.name).write_text(head + "classes:\n" + "".join(classes.splitlines(True)[::-1]))
    same(result(bench, places, turned, probe, "csv"), reference(probe), probe)


CODES = dict(zip(CLASSES, ("k3", "k10", "k1", "k7", "k0", "k2"), strict=True))  # sorted in another order


@pytest.mark.parametrize("kind", some(kind for kind in KINDS if kind not in ("prepared", "tfds")))
@pytest.mark.parametrize("probe", ["zeroshot", "zeroshot:several", "linear"])
def test_a_renaming_in_the_config_changes_nothing(bench, places, designs, reference, probe, kind):
    """The data say k3, `data.class_names` says that k3 is a cat."""
    if kind in BARE and probe == "zeroshot:several":
        pytest.skip("holds one label each")
    renamed = "data.class_names=" + ",".join(f"{code}={name}" for name, code in CODES.items())
    spelled = {"label": lambda row: CODES[row.label], "tags": lambda row: "|".join(CODES[tag] for tag in row.tags)}
    found = result(bench, places, designs, probe, kind, [renamed], variant="codes", **spelled)
    same(found, reference(probe), f"{probe} {kind}")


def test_people_may_be_written_as_codes(bench, places, designs, reference, tmp_path):
    """The draw of candidates goes by name, not by the order of the codes."""
    codes = {f"person {p}": f"id{(p * 5) % 8}" for p in range(8)}
    (tmp_path / "names.txt").write_text("".join(f"{code}={name}\n" for name, code in codes.items()))

    def change(listed):
        return [dataclasses.replace(row, person=codes[row.person]) for row in listed]

    named = [f"data.class_names={tmp_path}/names.txt"]
    found = result(bench, places, designs, "celeba", "jsonl", named, variant="ids", change=change)
    same(found, reference("celeba"))


@pytest.mark.parametrize("probe", ["linear", "fewshot"])
def test_what_classes_are_called_changes_nothing(bench, places, designs, reference, probe):
    """A probe that is fitted asks no names: any other names give the same numbers under other names."""
    other = dict(zip(CLASSES, ("zebra", "y", "x", "a b", "0", "ship"), strict=True))
    back = {new: old for old, new in other.items()}
    renamed = "data.class_names=" + ",".join(f"{old}={new}" for old, new in other.items())
    found = result(bench, places, designs, probe, "csv", [renamed], names=lambda name: back.get(name, name))
    same(found, reference(probe), probe)


def test_what_groups_are_called_changes_nothing(bench, places, designs, reference):
    """Group values in another alphabetical order, with resampled intervals."""
    other = {"White": "z", "Black": "y", "Indian": "x", "Male": "n", "Female": "m"}
    back = {new: old for old, new in other.items()}

    def change(listed):
        return [dataclasses.replace(row, race=other[row.race], gender=other[row.gender]) for row in listed]

    for probe in ("zeroshot:groups", "rates"):
        found = result(
            bench, places, designs, probe, "csv", names=lambda name: back.get(name, name), variant="groups",
            change=change,
        )  # fmt: skip
        same(found, reference(probe), probe)


NUMBER = {name: i for i, name in enumerate(CLASSES)}
SPELLINGS = {
    "integers": ({"label": lambda row: NUMBER[row.label]}, "given"),
    "text": ({"label": lambda row: str(NUMBER[row.label])}, "given"),
    "floats": ({"label": lambda row: float(NUMBER[row.label])}, "given"),
    "a list beside the data": ({"label": lambda row: NUMBER[row.label]}, "classnames.txt"),
    "JSON beside the data": ({"label": lambda row: CODES[row.label]}, "classes.json"),
    "positions in the classes": ({"label": lambda row: NUMBER[row.label]}, "classes"),
    "ClassLabel": ({"label": lambda row: NUMBER[row.label], "declared": CLASSES}, ""),
    "names": ({}, ""),
}


@pytest.mark.parametrize("kind", some(kind for kind in KINDS if kind not in ("prepared", "tfds")))
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_spelling_of_a_label_changes_nothing(bench, places, designs, reference, spelling, kind, tmp_path):
    if spelling == "ClassLabel" and "parquet" not in kind:
        pytest.skip("only parquet declares class names")
    spelled, named = SPELLINGS[spelling]
    variant = spelling.replace(" ", "-")
    options = {"variant": variant, **spelled}
    place = dict(one.split("=", 1) for one in places.part(kind, "label", "test", **options))
    more = []
    if named == "given":
        more = ["data.class_names=" + ",".join(CLASSES)]
    if named == "classes":
        more = ["classes=" + ",".join(CLASSES)]
    if named.endswith((".txt", ".json")):
        path = Path(place.get("data.csv") or place["data.path"])
        beside = path if path.is_dir() else path.parent
        text = "\n".join(CLASSES) if named.endswith(".txt") else json.dumps({code: n for n, code in CODES.items()})
        (beside / named).write_text(text)
    same(result(bench, places, designs, "zeroshot", kind, more, **options), reference("zeroshot"), f"{kind} {spelling}")


def test_missing_labels_are_missing_in_every_container(bench, places, designs):
    """Images without a label are not scored; pandas writes a whole number beside a missing one as a float."""

    def label(row):
        return None if row.stem.endswith("0") else float(NUMBER[row.label])

    found = {}
    for kind in ("csv", "tsv", "jsonl", "table.parquet", "parquet", "webdataset", "imagefolder.csv"):
        named = ["data.class_names=" + ",".join(CLASSES)]
        found[kind] = result(bench, places, designs, "zeroshot", kind, named, variant="missing", label=label)
        assert any('"n": 18' in record for record in found[kind][0])
        same(found[kind], found["csv"], kind)


def trained_on(bench, overrides):
    """{stem: captions} that fine-tuning draws from."""
    found = bench.typed("lit", [*overrides, "templates={}"], "finetune")
    pairs = finetune_input.training_pairs(found)[0]
    stems = [pairs.source.files[row].rpartition("/")[2].removesuffix(".png") for row in pairs.rows]
    return dict(zip(stems, pairs.captions, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_fine_tuning_reads_the_same_captions_from_every_container(bench, places, kind):
    listed = rows("train")
    if kind not in BARE:
        found = trained_on(bench, places.part(kind, "captions", "train"))
        assert found == {row.stem: row.captions for row in listed}
    if kind == "webdataset":
        return  # its captions come before its labels
    names = {row.stem: (row.label,) for row in listed}
    if kind not in ("shards", "prepared"):
        for more in ([], ["classes=" + ",".join(CLASSES[::-1])], ["classes=zebra," + ",".join(CLASSES)]):
            assert trained_on(bench, [*places.part(kind, "label", "train"), *more]) == names


# each relation seen to fail


def as_listed(digests, labels):
    return parts.Ordered(np.arange(len(digests)), np.arange(len(labels.names)), labels.column)


def by_index(labels, asked, where):
    """wise-ft#25: the data set's numbers used in the config's list."""
    return dataclasses.replace(labels, names=tuple(asked), ids=())


def together(k, n, level=0.95, seed=0):
    """All cells drawn at once, as intervals.bootstrap_rate once did."""
    k, n = np.broadcast_arrays(np.asarray(k), np.asarray(n))
    share = k / np.maximum(n, 1)
    drawn = np.random.default_rng(seed).binomial(n, share, (50, *np.shape(n))) / np.maximum(n, 1)
    return tuple(np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0))


def shifted(self, extension, right=tars.Index.texts):
    values, why = right(self, extension)
    return np.roll(values, 1), why


def by_place(path, table):
    return np.repeat(np.arange(len(table["file"]), dtype=np.uint8)[:, None], 32, axis=1)


def as_they_come(*columns):
    return np.arange(len(columns[0]))


def unnamed(self, ids, mapping, where):
    return tuple(ids)


BACKWARDS = {"variant": "backwards", "change": lambda listed: listed[::-1]}
TURNED = ["classes=" + ",".join(CLASSES[::-1])]
NAMED = "data.class_names="
CODED, FLOATS = {"variant": "codes"}, {"variant": "floats"}
# what -> (where it is, its name, what it becomes, the probe, the container, more overrides, what is written)
BREAKS = {
    "shots drawn in the order of rows": (parts, "ordered", as_listed, "fewshot", "csv", [], BACKWARDS),
    "classes fitted in the order of the list": (parts, "ordered", as_listed, "fewshot", "csv", TURNED, {}),
    "examples drawn in the order of rows": (
        order,
        "of_examples",
        as_they_come,
        "zeroshot:several",
        "csv",
        [],
        BACKWARDS,
    ),
    "numbers of one list in another": (labels.Labels, "align", by_index, "zeroshot", "csv", TURNED, {}),
    "the same, several labels": (labels.Labels, "align", by_index, "zeroshot:several", "csv", TURNED, {}),
    "a mapping is not read": (classes.Naming, "_mapped", unnamed, "zeroshot", "csv", [NAMED + "k3=cat"], CODED),
    "labels of the next sample": (tars.Index, "texts", shifted, "zeroshot", "shards", [], {}),
    "a prepared image is known by its place": (prepared, "_digests", by_place, "fewshot", "prepared", [], {}),
    "3.0 is not 3": (
        labels,
        "_WHOLE_AS_FLOAT",
        re.compile("x"),
        "zeroshot",
        "csv",
        [NAMED + ",".join(CLASSES)],
        FLOATS,
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_shows(bench, places, designs, reference, monkeypatch, name):
    where, what, wrong, probe, kind, more, options = BREAKS[name]
    expected = reference(probe)
    spelled = {"codes": {"label": lambda row: CODES[row.label]}, "floats": SPELLINGS["floats"][0]}
    options = options | spelled.get(options.get("variant"), {})
    monkeypatch.setattr(where, what, wrong)
    with pytest.raises((AssertionError, InputError)):
        same(result(bench, places, designs, probe, kind, more, **options), expected)


def test_a_break_shows_in_the_names_of_groups(bench, places, designs, monkeypatch):
    """Cells drawn together: another alphabetical order of the values is another interval."""
    monkeypatch.setattr(intervals, "bootstrap_rate", together)
    monkeypatch.setattr("clipjax.analysis.intervals.METHODS", intervals.METHODS | {"bootstrap": together})
    first = result(bench, places, designs, "rates", "csv")
    with pytest.raises(AssertionError):
        test_what_groups_are_called_changes_nothing(bench, places, designs, lambda probe: first)
