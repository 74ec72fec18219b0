"""What must not change a number: containers, shards, spellings, orders and names.

Every probe is run on the same images in every kind of container, and each result is compared with that of a csv: all
records to the last digit, and the answer for every image.
"""

import numpy as np
import pytest
from world import BARE, CLASSES, KINDS, same

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
        "linear": ("label", ["max_iter=100"], True),
        "linear:several": ("tags", ["max_iter=100", "C=1.0"], True),
        "fewshot": ("label", ["shots=(1,2)", "max_iter=100"], True),
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
    "zeroshot", "zeroshot:groups", "zeroshot:several", "linear", "linear:several", "fewshot", "retrieval", "rates",
    "congress", "fairface_attributes", "celeba",
)  # fmt: skip


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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "csv"])
@pytest.mark.parametrize("probe", PROBES)
def test_the_container_changes_nothing(bench, places, designs, reference, probe, kind):
    if kind in BARE and asked(probe, designs)[0] != "label":
        pytest.skip("holds labels alone")
    same(result(bench, places, designs, probe, kind), reference(probe), f"{probe} {kind}")
