"""Every key of every shipped config: listed with a meaning, and read where it is set, or refused with who reads it."""

import ast
import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.containers import KINDS, Box, source_of

import clipjax
from clipjax.analysis import intervals
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.keys import declared, flat
from clipjax.runs import config as configs
from clipjax.runs import data as opening
from clipjax.runs import finetune_config, finetune_input

SHIPPED = [(kind, name) for kind in ("probes", "finetune", "panels") for name in configs.shipped(kind)]
VERB = {"probes": "probe", "finetune": "finetune", "panels": "panel"}


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_keys_are_listed_with_type_default_and_meaning(kind, name, capsys):
    assert main([VERB[kind], name, "--keys=json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    config = flat(configs.plain(configs.load(name, [], kind)))
    assert set(listed) == set(config) - {"probe", "verb"}
    for key, row in listed.items():
        assert row["default"] == config[key]
        assert row["type"] == type(config[key]).__name__
        assert len(row["meaning"].split()) > 1 or row["meaning"] in ("steps", "updates", "AdamW"), key
        if key.startswith("data.") and key[5:] in opening.every_key() and key[5:] not in opening.GENERAL:
            assert row["sources"], key
    assert main([VERB[kind], name, "--keys"]) == 0
    text = capsys.readouterr().out
    assert all(f"--config.{key}=" in text and row["meaning"] in text for key, row in listed.items())


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_a_mistyped_key_names_the_nearest(kind, name):
    for key in flat(configs.plain(configs.load(name, [], kind))):
        if key in ("probe", "verb", "architecture", "probes"):
            continue
        wrong = f"{key}s" if not key.endswith("s") else key[:-1]
        with pytest.raises(InputError) as error:
            configs.load(name, [f"--config.{wrong}=1"], kind)
        assert "\n" not in str(error.value)
        assert f'nearest: "{key}"' in str(error.value) or "which is read by" in str(error.value), (
            wrong,
            str(error.value),
        )


def test_no_key_has_two_meanings():
    """One name, one default and one meaning over all kinds of sources and all probes; `path` is always a place on disk.

    C of few-shot is not swept, which is its other default; skew compares the groups of a column, and not everybody.
    """
    kinds = [opening.keys_of(kind) for kind in (*opening.kind_names(), "a named data set")]
    probes = [declared(configs.probe_module(probe).Config) for probe in configs.probe_names()]
    for tables, free in ((kinds, {"path"}), (probes, {"C", "groups"})):
        seen = {}
        for table in tables:
            for name, key in table.items():
                if name not in free:
                    assert seen.setdefault(name, key) == key, name


# what a source reads


def opened(bench, overrides):
    """What a source gives: all that a key of it can change."""
    found = opening.open_source(bench.typed("zeroshot", overrides).data).source
    labels = None if found.labels is None else [found.labels.names, found.labels.texts().tolist()]
    captions = None if found.captions is None else found.captions.tolist()
    columns = {name: values.tolist() for name, values in found.columns.items()}
    return repr([found.files.tolist(), labels, captions, columns, found.fingerprint])


OTHER = {  # values that matter in the world's containers
    "image_column": "other_image",
    "label_column": "tags",
    "label_separator": "",
    "caption_columns": "caption",
    "group_columns": "race",
    "class_names": "cat=kitten",
    "split_column": "nothing",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_source_matters_or_is_refused(bench, places, kind, tmp_path):
    name = source_of(kind)
    reads, base = opening.keys_of(name), places.part(kind, "label", "test")
    for key, spec in opening.every_key().items():
        if key in ("source", "limit", "max_skipped"):
            continue
        places_of = {"csv": tmp_path / "none.csv", "path": tmp_path, "name": "nothing", "split": "nothing"}
        value = (OTHER | places_of | {"options": "a=b"})[key]
        if kind == "prepared" and key == "group_columns":
            value = "nothing"  # a prepared folder has its own columns, all of them
        changed = [*(one for one in base if one.partition("=")[0] != f"data.{key}"), f"data.{key}={value}"]
        if key == "label_separator" and key in reads:  # of several labels
            changed = [*(one for one in changed if "label_column" not in one), "data.label_column=tags"]
            base_here = [*(one for one in base if "label_column" not in one), "data.label_column=tags"]
        else:
            base_here = base
        if key == "split_column" and name == "csv":
            changed.append("data.split=nothing")
        try:
            with warnings.catch_warnings():
                got = opened(bench, changed)
        except InputError as error:
            message = str(error)
            assert "\n" not in message
            if key not in reads:
                assert f"data.{key}={value} is not read by the source {name}; it is read by" in message, message
                if key != "options":
                    assert message.partition("--config.data.source=")[2].partition(",")[0] in opening.kind_names()
            else:
                assert str(value) in message or f"data.{key}" in message, message
            continue
        assert key in reads, key
        assert got != opened(bench, base_here), (kind, key, spec)


def test_a_limit_and_parts_matter(bench, places):
    base = places.part("csv", "label", "test")
    assert opened(bench, [*base, "data.limit=3"]) != opened(bench, base)
    with pytest.raises(InputError, match="negative"):
        opened(bench, [*base, "data.limit=-1"])


def test_a_key_that_a_source_reads_and_a_probe_does_not(bench, places):
    """The source would read it for other probes, so the probe says that it changes nothing."""
    for name, key in ((p, k) for p in configs.shipped() for k in getattr(module_of(p), "UNREAD", ())):
        base = [one for one in places.part("csv", "label", "test") if key not in one]
        with pytest.raises(InputError, match=f"data.{key}=race is not read by the probe .*; it is read by "):
            bench.run(name, [*base, f"data.{key}=race"])


def module_of(name):
    return configs.probe_module(configs.load(name, []).probe)


# what a probe reads


DESIGNS = {
    "d": "  - {name: a man, sets: [x], race: White, gender: Male}\n"
    "  - {name: b, race: Black, gender: Female}\n  - {name: c, sets: [y], race: Indian}\n",
    "e": "  - {name: a man, sets: [x]}\n  - {name: q, sets: [y]}\n",
    "ab": "  - {name: a, texts: [a dog]}\n  - {name: b}\n",
    "race": "".join(f"  - {{name: {race} one, race: {race}}}\n" for race in ("White", "Black", "Indian")),
    "race2": "".join(f"  - {{name: {race[0]}, race: {race}}}\n" for race in ("White", "Black", "Indian")),
    "gender": "".join(f"  - {{name: {gender} one, gender: {gender}}}\n" for gender in ("Male", "Female")),
}


# of association: images of one race against another's, which are as many or not
TESTS = {
    "tests": "    x: {texts: [a, b, c]}\n    y: {texts: [d, e, f]}\n    a: {images: {gender: Male}}\n"
    "    b: {images: {gender: Female}}\n",
    "more": "    x: {texts: [a, b, g]}\n    y: {texts: [d, e, f]}\n    a: {images: {gender: Male}}\n"
    "    b: {images: {gender: Female}}\n",
    "unequal": "    x: {texts: [a, b]}\n    y: {texts: [d, e, f]}\n    a: {images: {gender: Male}}\n"
    "    b: {images: {gender: Female}}\n",
}


@pytest.fixture(scope="module")
def room(bench, tmp_path_factory):
    """A table of three parts with everything that a probe may ask for, and designs."""
    box = Box(tmp_path_factory.mktemp("room"), bench)
    lines = ["file,part,label,caption,race,gender,age,person"]
    for i, row in enumerate(box.rows):
        box.put(f"{row.stem}.png", i)
        caption = " ".join(["long"] * 90) if i == 0 else row.captions[1].replace(",", "")
        part = ("train", "test", "more")[i % 3]
        lines.append(f"{row.stem}.png,{part},{'ab'[i // 3 % 2]},{caption},{row.race},{row.gender},{i % 4},{row.person}")
    box.text("t.csv", "\n".join(lines) + "\n")
    box.text("broken.csv", "\n".join([*lines, "none.png,test,a,x,White,Male,1,person 1", ""]))
    more = [line for line in lines if ",more," in line]
    box.text("more.csv", "\n".join([lines[0], *more]) + "\n")
    box.text("fewer.csv", "\n".join([lines[0], *more[:5]]) + "\n")
    asked = ["file,other,caption,also,wrong,race,gender"]
    for i, row in enumerate(box.rows):
        other = box.rows[i - 1].stem
        asked.append(f"{row.stem}.png,{other}.png,a {'ab'[i % 2]},the {i},a {'ba'[i % 2]},{row.race},{row.gender}")
    box.text("q.csv", "\n".join(asked) + "\n")
    box.text("q2.csv", "\n".join(asked[:-3]) + "\n")
    box.text("long.csv", "\n".join([asked[0], asked[1].replace("a a", " ".join(["long"] * 90))]) + "\n")
    first, second = box.rows[0].stem, box.rows[1].stem
    box.text("w.csv", f"image_0,image_1,caption_0,caption_1\n{first}.png,{second}.png,a b,b a\n")
    for name, text in TESTS.items():
        box.text(f"{name}.yaml", f"tests:\n  - name: {name}\n{text}")
    for name, text in DESIGNS.items():
        box.text(f"{name}.yaml", f"name: {name}\nclasses:\n{text}")
    return box


def base_of(probe, room):
    table = ["data.source=csv", f"data.csv={room.folder}/t.csv"]
    label, groups = "data.label_column=label", "data.group_columns=race,gender"
    return {
        "zeroshot": [*table, label, groups, "min_n=1"],
        "linear": [*table, label, groups, "max_iter=10", "min_n=1", "C=1.0"],
        "fewshot": [*table, label, groups, "max_iter=10", "min_n=1", "shots=(1,)", "draws=2"],
        "retrieval": [*table, "data.caption_columns=caption"],
        "rates": [*table, groups, f"design={room.folder}/d.yaml", "min_n=1"],
        "labels": [*table, groups, f"design={room.folder}/d.yaml", "thresholds=0.3", "min_n=1"],
        "attributes": [
            *table, groups, f"attributes=race={room.folder}/race.yaml,gender={room.folder}/gender.yaml", "C=1.0",
            "data.split=test", "max_iter=10", "min_n=1", "groups=",
        ],
        "identities": [*table, "data.label_column=person", "sizes=3,6", "data.group_columns="],
        "skew": [*table, groups, f"design={room.folder}/d.yaml", "min_n=1", "k=(6,)", "bias=gender=Male|Female"],
        "association": [*table, groups, f"tests={room.folder}/tests.yaml"],
        "captions": [*table, "data.group_columns=", f"instances={room.folder}/q.csv", "min_n=1", "by=race"],
        "tip_adapter": [*table, label, groups, "min_n=1", "shots=(1,)", "draws=2", "validation_split=more"],
        "coop": [*table, label, groups, "min_n=1", "shots=(1,)", "draws=2", "context.epochs=3"],
    }[probe]  # fmt: skip


SCORED = ["calibration.bins=3", "calibration.fit=0.5"]
# Key -> overrides that give it a value which matters, with what it takes to be read at all. ROOM: the folder of files.
VALUES = {
    "data.perturb": ["data.perturb=blur:5"],
    "group_weights": ["group_weights=gender: Male=0.9; Female=0.1"],
    "calibration.bins": ["calibration.bins=3"],
    "calibration.scheme": ["calibration.bins=3", "calibration.scheme=mass"],
    "calibration.fit": SCORED,
    "calibration.risk": [*SCORED, "calibration.risk=0.9"],
    "calibration.delta": [*SCORED, "calibration.risk=0.9", "calibration.delta=0.5"],
    "calibration.thresholds": [*SCORED, "calibration.risk=0.9", "calibration.thresholds=(0.95,)"],
    "sweep.rename": ["sweep.rename=b=a bird"],
    "project.prompts": ["project.prompts=x"],
    "project.pairs": ["project.prompts=x", "project.pairs=y|z"],
    "project.strength": ["project.prompts=x", "project.pairs=y|z", "project.strength=1.0"],
    "project.control": ["project.prompts=x", "project.control=True"],
    "k": ["k=(7,)"],
    "reference": ["reference=share"],
    "bias": ["bias=race=White|Black"],
    "tests": ["tests=ROOM/more.yaml"],
    "allow_unequal": ["tests=ROOM/unequal.yaml", "allow_unequal=True"],
    "instances": ["instances=ROOM/q2.csv"],
    "layout": ["instances=ROOM/w.csv", "layout=winoground", "by="],
    "image": ["image=other"],
    "right": ["right=also", "wrong=wrong"],
    "wrong": ["right=caption", "wrong=also"],
    "subset": ["subset=race"],
    "by": ["by=gender"],
    "template": ["template=a drawing of {}"],
    "templates": ["templates=a drawing of {}."],
    "bands": ["bands=new=race: one=White; two=Black|Indian"],
    "groups": ["groups=race"],
    "method": ["method=wilson"],
    "level": ["level=0.5"],
    "min_n": ["min_n=100"],
    "train_split": ["train_split=more"],
    "test_split": ["test_split=more"],
    "validation_split": ["validation_split=more"],
    "data.train_path": ["data.train_path=ROOM/more.csv"],
    "data.validation_path": ["data.validation_path=ROOM/more.csv"],
    "data.test_path": ["data.test_path=ROOM/more.csv"],
    "data.max_skipped": ["data.csv=ROOM/broken.csv", "data.max_skipped=0"],
    "data.source": ["data.source=folder"],
    "feature": ["feature=proj"],
    "C": ["C=0.001"],
    "max_iter": ["max_iter=1"],
    "shots": ["shots=(2,)"],
    "neighbours": ["neighbours=(2,)"],
    "draws": ["draws=3"],
    "prefix": ["prefix="],
    "thresholds": ["thresholds=0.5"],
    "contrast": ["contrast=race=White|Black"],
    "sizes": ["sizes=3,7"],
    "probability": ["probability=sigmoid"],  # refused: the model has no logit bias
    "attributes": ["attributes=race=ROOM/race2.yaml"],
    "binary": ["binary=race=Black"],
    "classifier": ["classifier=zero-shot"],
    "sweep.add": ["sweep.add=child"],
    "sweep.drop": ["sweep.drop=b"],
    "sweep.templates": ["sweep.templates=a {}|the {}"],
    "sweep.subsets": ["sweep.add=child,dog", "sweep.subsets=2"],
    "sweep.most": ["sweep.add=child,dog", "sweep.most=1"],
    "context.tokens": ["context.tokens=2"],
    "context.epochs": ["context.epochs=4"],
    "context.learning_rate": ["context.learning_rate=0.5"],
    "context.batch_size": ["context.batch_size=1"],
    "training.epochs": ["training.epochs=3"],
    "training.learning_rate": ["training.epochs=3", "training.learning_rate=0.5"],
    "training.batch_size": ["training.epochs=3", "training.batch_size=1"],
}
ABSTAINING = [*SCORED, "calibration.risk=0.95", "calibration.delta=0.9", "calibration.thresholds=(0.0,)"]
# Of one probe: three of the four fitting images are wrong; its base has a validation part.
VALUES_OF = {
    "linear": {
        "calibration.risk": ABSTAINING,
        "calibration.delta": ABSTAINING,
        "calibration.thresholds": ABSTAINING,
    },
    "tip_adapter": {
        "validation_split": ["validation_split="],
        "data.validation_path": ["data.validation_path=ROOM/fewer.csv"],
    },
}


def value_of(probe, key, room):
    """The overrides of VALUES for a probe."""
    classified = ("zeroshot", "linear", "fewshot", "tip_adapter", "coop")
    own = {
        "design": ["design=ROOM/ab.yaml" if probe == "zeroshot" else "design=ROOM/e.yaml"],
        "classes": ["classes=b,a"] if probe in classified else ["design=", "classes=b,q"],
        "seed": ["seed=3", *["method=bootstrap"] * ("method" in declared(configs.probe_module(probe).Config))],
        "data.limit": ["data.limit=20" if probe == "skew" else "data.limit=5"],
        "truncate": ["truncate=False", *["instances=ROOM/long.csv"] * (probe == "captions")],
    }
    found = (VALUES | own | VALUES_OF.get(probe, {}))[key]
    return [one.replace("ROOM", str(room.folder)) for one in found]


# Keys whose values here are refused, which shows that they are read.
REFUSED = ("truncate", "sweep.most", "data.max_skipped", "data.source", "probability")
# Of one probe: questions name the other images; a fifth of so few images is none; the part validates already.
REFUSED_BY = (
    ("captions", "data.limit"), ("tip_adapter", "validation_split"), ("tip_adapter", "test_split"),
    ("tip_adapter", "data.test_path"),
)  # fmt: skip
# Keys that decide where and how fast features are computed, and must not change them; `precision`, `model` and
# `placement` do, and are the encoder's for every probe: tests/runs and tests/test_encoder.py run them.
CIRCUMSTANCES = ("batch_size", "mapping", "placement", "cache_dir", "precision", "model")


def said(out):
    """All that a run says except its config."""
    manifest = json.loads((out / "manifest.json").read_text())
    for key in ("config", "command", "versions", "git_revision", "device", "mesh"):
        manifest.pop(key, None)
    table = pq.read_table(out / "predictions.parquet").to_pylist()
    return repr([manifest, (out / "metrics.json").read_text(), table])


@pytest.mark.parametrize(
    "probe",  # each key of coop is a training, half of them with programs of their own
    [pytest.param(name, marks=[pytest.mark.exhaustive] * (name == "coop")) for name in configs.probe_names()],
)
def test_every_key_of_a_probe_matters_or_is_refused(bench, room, probe, monkeypatch):
    for name in ("RESAMPLES", "RATE_RESAMPLES"):
        monkeypatch.setattr(intervals, name, 7)  # few draws, so that another seed shows with few images
    shipped = next(name for name in configs.shipped() if configs.load(name, []).probe == probe and name != "fairface")
    base = base_of(probe, room)
    if probe in ("linear", "fewshot", "attributes", "tip_adapter", "coop"):
        base.append("data.split_column=part")
    before = {}

    def run(overrides):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")  # "not at the optimum", where max_iter is one
            return said(bench.run(shipped, overrides)) + str({str(one.message) for one in heard})

    keys = [key for key in declared(configs.probe_module(probe).Config) if key not in CIRCUMSTANCES]
    keys = [key for key in keys if not key.startswith("weights.")]
    for key in keys:
        changed = value_of(probe, key, room)
        # Few images of the tiny model: nothing varies. Of retrieval, tests/probes/test_retrieval.py has another seed.
        if key == "seed" and probe in ("rates", "retrieval"):
            assert bench.typed(shipped, [*base, *changed]).seed == 3
            continue
        names = {one.partition("=")[0] for one in changed}
        overrides = [*(one for one in base if one.partition("=")[0] not in names), *changed]
        without = [one for one in overrides if one.partition("=")[0] != key]
        own = next((one for one in base if one.startswith(f"{key}=")), None)
        needs_others = key.startswith(("calibration.", "project.", "training.")) and len(changed) > 1
        if key in ("seed", "sweep.subsets") or needs_others:
            reference = [*without, own] if own else without
        else:
            reference = base
        try:
            got = run(overrides)
        except InputError as error:
            refused = key in REFUSED or (probe, key) in REFUSED_BY
            if not refused or "\n" in str(error):
                raise
            continue
        reference = tuple(reference)
        if reference not in before:
            before[reference] = run(reference)
        assert got != before[reference], key


def test_circumstances_are_keys_of_every_probe():
    """Options of weights files are what `model` is read with: tests of weights run them."""
    shared = {key for key in declared(configs.ProbeConfig) if not key.startswith(("weights.", "data."))}
    assert set(CIRCUMSTANCES) | {"seed"} == shared


# what fine-tuning reads

TABLE = "file,label,caption,name,weight\n0.png,cat,one,x,1\n1.png,dog,two,y,2\n2.png,cat,three,x,1\n"
# Read where the run is under way: by name of the module.
UNDER_WAY = {
    "threads": "runs/finetune_input.py", "devices": "runs/finetune_input.py", "fsdp": "runs/finetune_input.py",
    "log_every": "runs/finetune.py", "tensorboard": "runs/finetune.py", "batch_size": "runs/finetune.py",
    "seed": "runs/finetune.py", "checkpoints.every": "runs/finetune.py", "checkpoints.keep": "runs/finetune.py",
    "checkpoints.best": "runs/finetune.py", "profile.first": "runs/finetune.py", "profile.steps": "runs/finetune.py",
    "wandb.project": "runs/finetune.py", "wandb.name": "runs/finetune.py", "probes": "runs/finetune_config.py",
    "export.dtype": "runs/finetune.py", "export.average": "runs/finetune.py",
    "export.zero_unseen_tokens": "runs/finetune.py", "data.context": "runs/finetune_input.py",
    "resize.image_size": "runs/finetune_input.py", "resize.context": "runs/finetune_input.py",
    "resize.positions": "runs/finetune_input.py",
    "model": "runs/finetune_input.py", "architecture": "runs/finetune_input.py", "name": "runs/finetune.py",
    "data.max_skipped": "runs/finetune.py", "data.last_batch": "runs/finetune_input.py",
    "data.validation_path": "runs/finetune_input.py", "validation_split": "runs/finetune_input.py",
    "evaluate.every": "runs/finetune.py", "evaluate.batches": "runs/finetune.py",
    "evaluate.share": "runs/finetune_input.py", "early_stopping": "runs/finetune.py",
    "conventions": "runs/conventions.py",
}  # fmt: skip
FINE = {
    "loss": "sigmoid", "parts": 2, "remat": "dots", "scan": True, "ema": 0.9, "soft_targets": True, "steps": 7,
    "precision": "bfloat16", "epochs": 2.0, "augment.preset": "none", "augment.square": True,
    "optimizer.warmup_from": "first", "optimizer.decay": "matrices",
    "optimizer.batch_statistics": True, "ema_warmup": False, "optimizer.freeze": "visual",
    "optimizer.multipliers": "x=2", "tune": "biases", "optimizer.name": "lion", "optimizer.schedule": "linear",
    "optimizer.b1": 0.8, "optimizer.b2": 0.9, "optimizer.layer_decay": 0.5,
    "lora.rank": 3, "lora.alpha": 3.0, "lora.on": "mlp",
    "augment.background": "random",
    "augment.scale": "(0.5,1.0)", "augment.ratio": "(0.9,1.0)", "augment.jitter": "(0.1,0.0,0.0,0.0)",
}  # fmt: skip


def test_every_key_of_fine_tuning_matters(box):
    """Options of optimiser, step and augmentation, and the pairs; what runs read under way is read in its module."""
    table = [*box.table(TABLE), "data.label_column=label", "data.group_columns=name"]

    def derived(overrides):
        found = box.bench.typed("openai_vit_b32_csv", [*table, "soft_targets=False", *overrides], "finetune")
        pairs, _ = finetune_input.training_pairs(found)
        found = finetune_config.with_steps(dataclasses.replace(found, batch_size=1), len(pairs))
        options = finetune_config.optimiser_options(found), finetune_config.step_options(found)
        view = finetune_config.augmentation(found)
        said = [dataclasses.asdict(one) for one in options] + [view and dataclasses.asdict(view)]
        return repr(
            [said, pairs.captions, pairs.tables, pairs.ids.tolist(), pairs.weights.tolist(), pairs.hard_negatives]
        )

    base = derived([])
    for key, spec in configs.keys_of({"verb": "finetune"}).items():
        if key.startswith("weights.") or (
            key.startswith("data.") and key[5:] in opening.every_key() and key != "data.max_skipped"
        ):
            continue  # tested with the sources
        if key in UNDER_WAY:
            assert reads(UNDER_WAY[key], key.rpartition(".")[2]), key
            continue
        value = FINE.get(key)
        if key == "classes":
            names = {"classes": "cat,dog"}
            assert "cat" in derived([f"classes={names['classes']}"])
            with pytest.raises(InputError, match="label 'dog' is not among"):
                derived(["classes=cat,bird"])
            continue
        own = {"templates": "a {}", "data.id_column": "name", "data.balance": "label", "data.weight_column": "weight",
               "data.mixture": "weight=2; label_column=name", "data.hard_negative_columns": "name"}  # fmt: skip
        value = own.get(key, value)
        if value is None:
            value = spec.default + 0.125 if isinstance(spec.default, float) else spec.default + 1
        more = ["tune=lora"] if key.startswith("lora.") and key != "lora.on" else []
        if key == "lora.on":
            assert reads("models/lora.py", "on")
            continue
        beside = {"flip_safe": ["augment.flip=0.5"], "jitter_share": ["augment.jitter=(0.1,0.0,0.0,0.0)"]}
        more += beside.get(key.removeprefix("augment."), [])
        assert derived([f"{key}={value}", *more]) != (derived(more) if more else base), key


def reads(module, name):
    """Whether a module reads an attribute or a key of this name."""
    tree = ast.parse((Path(clipjax.__file__).parent / module).read_text())
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return name in attributes or name in {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}


def test_numbers_do_not_depend_on_the_circumstances(bench, places):
    """Another batch size and another mapping compute the same features, to rounding: other programs are compiled."""
    base = places.part("csv", "label", "test")
    found = []
    for more in ([], ["batch_size=3"], ["mapping=pmap"]):
        out = bench.run("zeroshot", [*base, *more, *(["cache_dir=none"] if more else [])])
        table = pq.read_table(out / "predictions.parquet").to_pylist()
        found.append(({row["file"]: row["prediction"] for row in table}, [row["probability"] for row in table]))
    for answers, probabilities in found[1:]:
        assert answers == found[0][0]
        np.testing.assert_allclose(probabilities, found[0][1], rtol=1e-4)
