"""The catalogue of data sets against the paper's counts, its prompts, its published numbers, and `clipjax datasets`."""

import collections
import json
import re
from pathlib import Path

import pytest

from clipjax.cli import main
from clipjax.data import catalog
from clipjax.data.info import PROVENANCES, Info, _published, count, design, name_key, own_index, own_names, published
from clipjax.errors import InputError
from clipjax.models.catalog import names as models

# Copied from the collected protocols (split sizes, class and template counts of CLIP's Table 9 and prompts.md).
EXPECTED = json.loads(Path(__file__).with_name("catalog_expected.json").read_text())
MODEL_CARD = """
Food101; CIFAR10; CIFAR100; Birdsnap; SUN397; Stanford Cars; FGVC Aircraft; VOC2007; DTD; Oxford-IIIT Pet; Caltech101;
Flowers102; MNIST; SVHN; IIIT5K; Hateful Memes; SST-2; UCF101; Kinetics700; Country211; CLEVR Counting; KITTI Distance;
STL-10; RareAct; Flickr30; MSCOCO; ImageNet; ImageNet-A; ImageNet-R; ImageNet Sketch; ObjectNet; Youtube-BB;
ImageNet-Vid
"""
UNPUBLISHED = {
    "svhn",
    "iiit5k",
    "rareact",
    "youtube_bb",
    "imagenet_vid",
    "waterbirds",
    "geode",
    "dollar_street",
    "countbench",
}
RETRIEVAL = {"flickr30k", "mscoco"}
BIAS = {"fairface", "celeba", "congress", "utkface"}


def test_every_expected_data_set_is_there_and_no_other():
    assert set(catalog.names()) == set(EXPECTED) | BIAS


def test_the_model_card_is_complete():
    card = [catalog.info(key).name for key in catalog.names() if catalog.info(key).model_card]
    # The card prints "Flickr30"; the set's own name is Flickr30k.
    printed = [name.strip().replace("Flickr30", "Flickr30k") for name in MODEL_CARD.split(";")]
    assert sorted(map(name_key, card)) == sorted(map(name_key, printed))
    assert len(card) == 33


@pytest.mark.parametrize("key", sorted(EXPECTED))
def test_counts(key):
    info, stored, expected = catalog.info(key), design(key), EXPECTED[key]
    assert info.n == expected["n"]
    assert count(key) == len(stored.classes) or not stored.classes
    if expected["classes"] is not None:
        assert count(key) == expected["classes"]
    if expected["templates"] is not None:
        assert len(stored.templates) == expected["templates"]
    else:
        assert key in UNPUBLISHED | RETRIEVAL
    assert ("never published" in stored.source) == (key in UNPUBLISHED | {"objectnet"})


@pytest.mark.parametrize("key", sorted(EXPECTED))
def test_prompts_are_well_formed(key):
    stored, own = design(key), own_names(key)
    assert stored.templates
    assert all(template.count("{}") == 1 and template.format("x") for template in stored.templates)
    assert all(text.strip() == text and text for c in stored.classes for text in c.texts)
    assert len(set(stored.names)) == len(stored.names)
    assert not own or len(own) == len(stored.classes)
    # Labels are found through these names: two that fall together would merge two classes.
    assert len(own_index(key)) == len(own or stored.names)


@pytest.mark.parametrize("key", catalog.names())
def test_info_says_what_a_user_needs(key):
    info = catalog.info(key)
    assert info.key == key
    assert re.search(r"https?://[\w.-]+\.\w+", info.obtain), "no address of its own page"
    assert info.layout.strip()
    assert len(info.reading) > 20
    assert not re.search(r"[\n\t]|  ", info.obtain + info.reading + info.split)
    assert callable(catalog.module(key).open_source)


def test_names_are_found_however_they_are_spelt():
    for name in ("Food101", "food-101", "FOOD 101", "food101"):
        assert catalog.find(name) == "food101"
    assert catalog.find("Oxford-IIIT Pet") == catalog.find("pets") == "pets"
    assert catalog.info("Stanford Cars").metric == "top1"
    with pytest.raises(InputError, match="unknown data set 'imagnet'; nearest: \"imagenet\""):
        catalog.info("imagnet")


def test_an_info_with_an_unknown_metric_is_a_defect():
    rest = {"key": "k", "task": "classification", "split": "s", "n": 1, "obtain": "", "layout": "", "reading": ""}
    with pytest.raises(ValueError, match="metric 'top2' is none of"):
        Info(name="N", metric="top2", **rest)


def test_openai_wordings():
    ucf, kinetics, resisc = (design(k).templates for k in ("ucf101", "kinetics700", "resisc45"))
    assert ucf[0] == "a photo of a person {}."
    assert "a example of the person practicing {}." in ucf  # OpenAI's spelling
    assert kinetics[:2] == ("a photo of {}.", "a photo of a person {}.")
    assert set(ucf) & set(kinetics) == {t for t in kinetics if "person" in t}
    assert resisc[:2] == ("satellite imagery of {}.", "aerial imagery of {}.")
    assert all(len(set(t)) == len(t) for t in (ucf, kinetics, resisc))
    assert design("patch_camelyon").templates == ("this is a photo of {}",)
    assert design("clevr_counts").names == ("10", "3", "4", "5", "6", "7", "8", "9")
    assert design("kitti_distance").names[3] == "a photo i took with no car."
    assert design("ucf101").names[36] == "Hand Stand Pushups"
    assert sum(len(c.texts) for c in design("fer2013").classes) == 12


def test_known_traps_of_class_order_and_names():
    imagenet = design("imagenet")
    twice = [texts for texts, n in collections.Counter(c.texts for c in imagenet.classes).items() if n > 1]
    assert sorted(twice) == [("missile",), ("sunglasses",)]
    assert [imagenet.names[i] for i in (657, 744)] == ["missile", "missile (2)"]
    assert design("pets").names[:2] == ("Abyssinian", "Bengal")  # cats first
    assert design("pets").names[12] == "american bulldog"
    voc = design("voc2007").names
    assert voc.index("diningtable") == voc.index("sofa") + 1
    assert design("caltech101").names[own_index("caltech101")[name_key("Faces_easy")]] == "centered face"
    countries = dict(zip(own_names("country211"), design("country211").names, strict=True))
    assert countries["XK"] == "Kosovo"
    assert countries["SZ"] == "Eswatini"
    assert countries["GS"] == "South Georgia and South Sandwich Is."
    a, r, every = (set(own_names(k)) for k in ("imagenet_a", "imagenet_r", "imagenet"))
    assert a < every
    assert r < every
    assert a != r


@pytest.mark.peers
def test_imagenet_prompts_are_those_of_open_clip():
    import open_clip

    assert [c.texts[0] for c in design("imagenet").classes] == list(open_clip.IMAGENET_CLASSNAMES)
    theirs = [template("x y") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert [t.format("x y") for t in design("imagenet").templates] == theirs


def test_published_numbers_carry_their_provenance():
    stored = _published()
    evaluated = tuple(stored["models"])  # a later model may have no published numbers
    assert evaluated == tuple(name for name in models() if name in evaluated)
    assert len(evaluated) == 9
    assert set(stored["datasets"]) <= set(catalog.names())
    assert published("food101")["paper_zero_shot"]["RN50"] == {"value": 81.1, "provenance": "read"}
    assert published("kinetics700")["paper_zero_shot"]["RN50"] == {"value": 43.5, "provenance": "recalled"}
    assert published("food101")["open_clip_zero_shot"]["RN50"] == {"value": 80.8, "provenance": "read"}
    assert published("flickr30k")["paper_zero_shot"]["ViT-L/14@336px"]["value"]["text_R@1"] == 88.0
    suite = [k for k, tables in stored["datasets"].items() if len(tables.get("paper_zero_shot", ())) == 9]
    assert len(suite) == 27
    for table, recalled in (("paper_zero_shot", 160), ("paper_linear_probe", 195)):
        marks = [published(k)[table][m]["provenance"] for k in suite for m in evaluated]
        assert set(marks) <= set(PROVENANCES)
        assert marks.count("recalled") == recalled
    assert all(published(k)["paper_linear_probe"]["ViT-L/14"]["provenance"] == "read" for k in suite)
    imagenet = [published("imagenet")["paper_zero_shot"][m]["value"] for m in evaluated]
    assert imagenet == [59.6, 62.2, 65.8, 70.5, 73.6, 63.2, 68.6, 75.3, 76.2]


def test_datasets_prints_a_table(capsys):
    assert main.main(["datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line and not line.startswith(" ")}
    assert set(catalog.names()) <= set(rows)
    assert rows["food101"].split() == "food101 classification top1 25250 101 1 93.8 test".split()
    assert " 92.8? " in rows["caltech101"], "a recalled number is marked"
    assert "http" in lines[lines.index(rows["dtd"]) + 1]
    assert f"{len(catalog.names())} data sets, 33 of them" in "\n".join(lines)


def test_datasets_prints_one_in_full(capsys):
    assert main.main(["datasets", "Oxford-IIIT Pet"]) == 0
    shown = capsys.readouterr().out
    for part in ("pets", "3669", "images/Abyssinian_201.jpg", "cats first", "a type of pet", "american bulldog"):
        assert part in shown
    table = shown[shown.index("Published") :].splitlines()
    assert [line.split()[0] for line in table[2:11]] == _published()["models"]
    assert "93.5" in table[10]
    assert "oxford_iiit_pet" in shown


def test_datasets_as_json(capsys):
    assert main.main(["datasets", "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(catalog.names())
    assert rows["fer2013"]["classes"][3] == ["happy", "smiling"]
    assert rows["voc2007"]["published"]["cb_multilabel_map"]["ViT-L/14"]["value"] == 79.03
    assert rows["birdsnap"]["n_classes"] == 500
    assert main.main(["datasets", "sun397", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows["sun397"]


def test_datasets_suggests_the_nearest_name(capsys):
    assert main.main(["datasets", "eurosta"]) == 1
    assert 'nearest: "eurosat"' in capsys.readouterr().err
