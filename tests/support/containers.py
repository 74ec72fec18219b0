"""One small world, written in every container that clipjax reads: 24 test and 24 training images of known labels.

`write` puts rows into a container and returns the overrides that read it; `Bench` runs probes on them in this process
and gives back what must not depend on the container: records, and the answer for every image.
"""

import dataclasses
import functools
import io
import json
import re
import tarfile
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipjax import image, loading, testing
from clipjax.data import prepared
from clipjax.errors import InputError
from clipjax.runs import config, data, engine, finetune_input, runner
from clipjax.text import tokenize

CLASSES = ("cat", "dog", "ship", "tree", "sea lion", "ant")
SIZES = (6, 5, 4, 4, 3, 2)  # unequal, so that an exchange of two classes shows
TABLES = ("csv", "tsv", "jsonl", "table.parquet")
KINDS = (
    *TABLES,
    "folder",
    "parquet",
    "webdataset",
    "shards",
    "imagefolder.csv",
    "imagefolder.jsonl",
    "prepared",
    "tfds",
)
BARE = ("folder",)  # containers that hold images and labels and nothing else
WORDS = {name: str(CLASSES.index(name)) for name in CLASSES}


@dataclasses.dataclass(frozen=True)
class Row:
    stem: str
    data: bytes
    label: str
    tags: tuple[str, ...]
    captions: tuple[str, ...]
    race: str
    gender: str
    person: str


def rows(part: str, sizes=SIZES) -> list[Row]:
    """The images of a part, in no order of anything: labels, tags, captions and groups are drawn from a seed."""
    rng = np.random.default_rng({"train": 1, "test": 2}[part])
    found = []
    for c, (name, count) in enumerate(zip(CLASSES, sizes, strict=True)):
        colour = np.random.default_rng(c).integers(0, 256, 3)
        for i in range(count):
            coarse = np.clip(colour + rng.normal(0, 90, (5, 5, 3)), 0, 255).astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(coarse).resize((34 + i, 33), Image.Resampling.BILINEAR).save(file, "PNG")
            tags = tuple(sorted({name, CLASSES[int(rng.integers(len(CLASSES)))]}))
            captions = (f'a {name}, said "{part} {i}"', f"one of {count}; {name}")
            race, gender = ("White", "Black", "Indian")[int(rng.integers(3))], ("Male", "Female")[int(rng.integers(2))]
            person = f"person {(c * 5 + i) % 8}"
            found.append(Row(f"{part}{c}{i}", file.getvalue(), name, tags, captions, race, gender, person))
    return [found[i] for i in rng.permutation(len(found))]


def write(kind, folder, listed, *, label=lambda row: row.label, tags=lambda row: "|".join(row.tags), declared=None):
    """Rows in a container below `folder` -> overrides that read it, without the source's kind.

    label: how a row's label is spelled; tags: how its several labels are; declared: class names of a ClassLabel.
    """
    folder.mkdir(parents=True)
    if kind == "folder":
        for row in listed:
            _put(folder / str(label(row)) / f"{row.stem}.png", row.data)
        return [f"data.path={folder}"]
    records = [_record(row, label(row), tags(row)) for row in listed]
    if kind in TABLES:
        for row in listed:
            _put(folder / "images" / f"{row.stem}.png", row.data)
        table = folder / f"table.{kind.removeprefix('table.')}"
        _table(
            table, [{"file": f"images/{row.stem}.png"} | r for row, r in zip(listed, records, strict=True)], declared
        )
        return [f"data.csv={table}"]
    if kind.startswith("imagefolder"):
        for row in listed:
            _put(folder / "a" / f"{row.stem}.png", row.data)
        table = folder / f"metadata.{kind.partition('.')[2]}"
        _table(
            table, [{"file_name": f"a/{row.stem}.png"} | r for row, r in zip(listed, records, strict=True)], declared
        )
        return [f"data.path={folder}"]
    if kind == "parquet":
        images = [{"bytes": row.data, "path": f"{row.stem}.png"} for row in listed]
        half = len(listed) // 2
        for number, part in enumerate((slice(0, half), slice(half, None))):
            _parquet(folder / f"part-{number}.parquet", records[part], declared, image=images[part])
        return [f"data.path={folder}"]
    if kind in ("webdataset", "shards"):
        count = 1 if kind == "webdataset" else 3
        for shard in range(count):
            _shard(
                folder / f"part-{shard}.tar",
                listed,
                records,
                len(listed) * shard // count,
                len(listed) * (shard + 1) // count,
            )
        return [f"data.path={folder}/part-{{0..{count - 1}}}.tar"]
    raise ValueError(kind)


def _record(row, label, tags):
    first, second = row.captions
    return {
        "label": label, "tags": tags, "caption": first, "other": second, "race": row.race, "gender": row.gender,
        "person": row.person,
    }  # fmt: skip


def _put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _table(path, records, declared):
    if path.suffix == ".parquet":
        return _parquet(path, records, declared)
    if path.suffix == ".jsonl":
        return path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    separator = "\t" if path.suffix == ".tsv" else ","

    def cell(value):
        text = "" if value is None or value != value else str(value)
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in f'"{separator}\n') else text

    lines = [list(records[0]), *([cell(v) for v in r.values()] for r in records)]
    return path.write_text("".join(separator.join(line) + "\n" for line in lines), encoding="utf-8")


def _parquet(path, records, declared, **columns):
    table = pa.table({name: [r[name] for r in records] for name in records[0]} | columns)
    if declared:
        features = {"label": {"names": list(declared), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=5)


def _shard(path, listed, records, start, stop):
    with tarfile.open(path, "w") as tar:
        for row, record in list(zip(listed, records, strict=True))[start:stop]:
            members = {"png": row.data, "txt": "\n".join(row.captions).encode(), "json": json.dumps(record).encode()}
            if record["label"] is not None and record["label"] == record["label"]:
                members["cls"] = str(record["label"]).encode()
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{row.stem}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@functools.cache  # TFDS keeps a list of its builders, in which a name comes once
def builder():
    """TFDS's builder of the rows in `Things.parts`, {split: rows}; it writes without TensorFlow."""
    import tensorflow_datasets as tfds

    class Things(tfds.core.GeneratorBasedBuilder):
        """The rows as given."""

        VERSION = tfds.core.Version("1.0.0")
        parts: ClassVar = {}

        def _info(self):
            text = tfds.features.Text()
            features = {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=list(CLASSES)),
                "tags": tfds.features.Sequence(text),
                "captions": tfds.features.Sequence({"text": text}),
                "race": text, "gender": text, "person": text, "file_name": text,
            }  # fmt: skip
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(listed) for split, listed in self.parts.items()}

        def _generate_examples(self, listed):
            for row in listed:
                yield row.stem, {
                    "image": io.BytesIO(row.data), "label": row.label, "tags": list(row.tags),
                    "captions": [{"text": c} for c in row.captions], "race": row.race, "gender": row.gender,
                    "person": row.person, "file_name": f"{row.stem}.png",
                }  # fmt: skip

    return Things


def tfds_folder(folder, parts):
    """TFDS's own layout: {split: rows} -> overrides."""
    builder().parts = parts
    builder()(data_dir=folder, file_format="array_record").download_and_prepare()
    return [f"data.path={folder}", "data.name=things"]


def source_of(kind):
    """`data.source` of a container."""
    if kind in TABLES:
        return "csv"
    if kind == "shards":
        return "webdataset"
    return kind.partition(".")[0]


class Bench:
    """A tiny model with its programs compiled once, and a feature cache: runs of the same images encode nothing."""

    def __init__(self, folder):
        self.folder, self.number = folder, 0
        self.model = testing.tiny_model(folder / "tiny.safetensors")

    def config(self, probe, overrides, kind="probes"):
        """A resolved config of a shipped probe."""
        own = (
            [f"model={self.model}", "batch_size=2", f"cache_dir={self.folder / 'features'}"] if kind == "probes" else []
        )
        return config.load(probe, [f"--config.{one}" for one in (*own, *overrides)], kind)

    def typed(self, probe, overrides, kind="probes"):
        """The same, as its probe or fine-tuning reads it."""
        return config.typed(config.plain(self.config(probe, overrides, kind)))

    def run(self, probe, overrides):
        """-> the run's folder."""
        self.number += 1
        out = self.folder / f"run-{self.number}"
        runner.run(self.config(probe, overrides), out)
        return out

    def features(self, images, texts):
        """Unit features [N, E] of encoded images and [T, E] of texts, without anything of a probe's run."""
        model = loading.load(self.model, dtype="float32")
        options = {"dtype": "float32", "batch_size": 2, "full_batches": True}
        encoder = engine.Encoder(model.config, model.params, **options, mapping="shard_map", placement="replicated")
        opened = [Image.open(io.BytesIO(data)) for data in images]
        pixels = image.preprocess_uint8(opened, model.preprocessing)
        found = encoder.images(pixels), encoder.texts(tokenize(texts, model.config.text.context_length))
        return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in found)

    def result(self, probe, overrides, names=lambda name: name):
        """What a run says: records in no order, and {image: answer}; `names` undoes a renaming."""
        out = self.run(probe, overrides)
        return records_of(out, names), answers_of(out, names)


def records_of(out, names=lambda name: name):
    """Every number of a run as text, sorted: equal lists are equal numbers to the last digit."""
    records = json.loads((out / "metrics.json").read_text())["records"]
    return sorted(json.dumps(_named(r, names), sort_keys=True) for r in records)


def _named(record, names):
    renamed = {k: names(v) if k in ("class", "label", "more") and isinstance(v, str) else v for k, v in record.items()}
    if isinstance(record.get("group"), dict):
        renamed["group"] = {k: names(v) for k, v in record["group"].items()}
    if "undefined" in renamed:
        renamed["undefined"] = sorted(map(names, renamed["undefined"]))
    for key in ("worst", "highest", "lowest"):  # a group; of equal ones the first by name
        renamed.pop(key, None)
    return renamed


def answers_of(out, names=lambda name: name):
    """{stem of the image: what the run says of it}, probabilities as {class: value} left out."""
    table = pq.read_table(out / "predictions.parquet").to_pylist()
    kept = {}
    for row in table:
        stem = row.pop("file").rpartition("/")[2].removesuffix(".png")
        row.pop("probabilities", None)
        kept[stem] = {k: sorted(map(names, v.split("|"))) if isinstance(v, str) else v for k, v in row.items()}
    return kept


def same(one, other, what=""):
    """Asserts that two results are equal: records to the last digit, answers for every image."""
    for mine, theirs in zip(one[0], other[0], strict=False):
        assert mine == theirs, (what, mine, theirs)
    assert len(one[0]) == len(other[0]), what
    assert one[1].keys() == other[1].keys(), what
    for stem, answer in one[1].items():
        shared = answer.keys() & other[1][stem].keys()
        assert {k: answer[k] for k in shared} == {k: other[1][stem][k] for k in shared}, (what, stem)


ROLES = {
    "label": {},
    "tags": {"label": "tags"},
    "captions": {"captions": "caption,other"},
    "groups": {"groups": "race,gender"},
    "person": {"label": "person"},
}


class Places:
    """Both parts of the world in every kind of container; `variant` changes what is written."""

    def __init__(self, folder, bench):
        self.folder, self.bench, self._known = folder, bench, {}

    def part(self, kind, role, part, *, variant="", change=lambda listed: listed, **spelling):
        """Overrides that read one part for a role, the source's kind included."""
        key = (kind, role if kind == "prepared" else "", part, variant)
        if key not in self._known:
            self._known[key] = self._write(kind, role, part, variant, change, spelling)
        split = ["data.split=train"] if (kind, part) == ("tfds", "train") else []
        return [f"data.source={source_of(kind)}", *self._known[key], *split, *columns(kind, role)]

    def parts(self, kind, role, **options):
        """Overrides that read a training and a test part, each of its own path."""
        if kind == "tfds":
            return self.part(kind, role, "test", **options)
        train, test = (self.part(kind, role, part, **options) for part in ("train", "test"))
        place = "data.csv=" if kind in TABLES else "data.path="
        found = []
        for part, listed in (("train", train), ("test", test)):
            value = next(one for one in listed if one.startswith(place)).removeprefix(place)
            found.append(f"data.{part}_path={value}")
        return [*(one for one in test if not one.startswith(place)), *found]

    def _write(self, kind, role, part, variant, change, spelling):
        folder = self.folder / "-".join(filter(None, [kind, role * (kind == "prepared"), part, variant]))
        if kind == "tfds":
            folder = self.folder / f"tfds{variant}"
            listed = {p: change(rows(p)) for p in ("train", "test")}
            for p in listed:
                self._known[kind, "", p, variant] = [f"data.path={folder}", "data.name=things"]
            return tfds_folder(folder, listed)
        if kind == "prepared":
            original = self.part("csv", role, part, variant=variant, change=change, **spelling)
            source = data.open_source(self.bench.typed("zeroshot", original).data).source
            prepared.write(source, 32, folder)
            return [f"data.path={folder}"]
        return write(kind, folder, change(rows(part)), **spelling)


def columns(kind, role):
    """The overrides that name a role's columns in a kind of container."""
    asked = {"label": "label", "captions": "", "groups": ""} | ROLES[role]
    if kind == "folder":
        return []
    found = [f"data.group_columns={asked['groups']}"] if asked["groups"] else []
    if kind == "prepared":
        return found
    if asked["captions"]:
        if kind == "tfds":
            return [*found, "data.caption_columns=captions/text"]
        return [*found, *([] if kind in ("webdataset", "shards") else [f"data.caption_columns={asked['captions']}"])]
    if asked["label"] != "label" or kind not in ("webdataset", "shards"):
        found.append(f"data.label_column={asked['label']}")
    return found


NAMES = ("airplane", "cat", "ship")  # of the class folders of `Box.folders`


class Box:
    """A folder that a test fills as the author of a report had filled it, and what clipjax makes of it."""

    def __init__(self, folder, bench):
        self.folder, self.bench = folder, bench
        self.rows = rows("test")
        self._of = {}

    def put(self, name, i):
        """Image `i` under this name."""
        _put(self.folder / name, self.rows[i].data)
        self._of[(self.folder / name).stem] = i
        return self.folder / name

    def folders(self, names=NAMES, each=2, suffix="png"):
        """Class folders with `each` images; {stem: class}."""
        truth = {}
        for c, name in enumerate(names):
            for i in range(each):
                self.put(f"{name}/{name}{i}.{suffix}", c * each + i)
                truth[f"{name}{i}"] = name
        return truth

    def images(self, *names):
        """Images 0, 1, ... under these names."""
        for i, name in enumerate(names):
            self.put(name, i)
        return self.folder

    def text(self, name, text):
        """A text file, written as it is."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.folder / name

    def table(self, text, n=3, name="t.csv"):
        """A table beside images 0.png, 1.png, ...; the overrides that read it."""
        self.images(*(f"{i}.png" for i in range(n)))
        return ["data.source=csv", f"data.csv={self.text(name, text)}"]

    def tar(self, name, members):
        """A shard of these members; a whole number stands for that image."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(self.folder / name, "w") as tar:
            for member, data in members:
                if isinstance(data, int):
                    self._of[member.rpartition("/")[2].rpartition(".")[0]] = data
                    data = self.rows[data].data
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data if isinstance(data, bytes) else data.encode()))
        return ["data.source=webdataset", f"data.path={self.folder / name}"]

    def parquet(self, name, columns, features, n=4):
        """Hugging Face's layout, images 0 to n - 1; the overrides that read it."""
        self._of |= {str(i): i for i in range(n)}
        images = [{"bytes": self.rows[i].data, "path": f"{i}.png"} for i in range(n)]
        about = {key: {"names": list(names), "_type": "ClassLabel"} for key, names in features.items()}
        table = pa.table(columns | {"image": images})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": about}})})
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self.folder / name)
        return ["data.source=parquet", f"data.path={self.folder / name}"]

    def answers(self, probe, *overrides):
        """{stem: what predictions.parquet says}, and the records, of a run."""
        out = self.bench.run(probe, overrides)
        found = {}
        for row in pq.read_table(out / "predictions.parquet").to_pylist():
            row.pop("probabilities", None)
            found[row.pop("file").replace("\\", "/").rpartition("/")[2].rpartition(".")[0]] = row
        return found, json.loads((out / "metrics.json").read_text())["records"]

    def check(self, truth, classes, *overrides, template="a photo of a {}."):
        """A zero-shot run reads these labels, asks these classes, and its accuracy is that of the features.

        truth: {stem: class, "" for none, or a tuple of several}. Computed beside clipjax: features, a product, argmax.
        """
        found, records = self.answers("zeroshot", *overrides)
        assert found.keys() == truth.keys()
        image, text = self.bench.features(
            [self.rows[self._of[stem]].data for stem in truth], [template.replace("{}", c) for c in classes]
        )
        best = {stem: classes[int(row.argmax())] for stem, row in zip(truth, image @ text.T, strict=True)}
        assert {stem: row["prediction"] for stem, row in found.items()} == best
        for stem, label in truth.items():
            given = found[stem].get("label", "")
            assert (tuple(sorted(given.split("|"))) if isinstance(label, tuple) else given) == label, stem
        if all(isinstance(label, str) for label in truth.values()) and any(truth.values()):
            known = [stem for stem, label in truth.items() if label]
            top1 = next(r for r in records if r["metric"] == "top1")
            assert (top1["k"], top1["n"]) == (sum(best[stem] == truth[stem] for stem in known), len(known))
        return found, records

    def refused(self, probe, *overrides):
        """The one line that a probe says of bad input, before the model is loaded."""
        found = self.bench.typed(probe, overrides)
        with pytest.raises(InputError) as error:
            config.probe_module(found.probe).prepare(found)
        return _one_line(error)

    def captions(self, *overrides):
        """{stem: captions} that fine-tuning would train on."""
        found = self.bench.typed("lit", overrides, "finetune")
        pairs, _ = finetune_input.training_pairs(found)
        files = [pairs.source.files[row].rpartition("/")[2].rpartition(".")[0] for row in pairs.rows]
        return dict(zip(files, pairs.captions, strict=True))

    def mistyped(self, probe, *overrides, kind="probes"):
        """The one line about keys."""
        with pytest.raises(InputError) as error:
            self.bench.config(probe, overrides, kind)
        return _one_line(error)


def _one_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


def remedies(message):
    """The overrides that a message names, as a shell would hand them over; what lies in quotation marks is whole."""
    found = re.findall(r"""--config\.([\w.]+)=("[^"]*"|'[^']*'|\S*)""", message)
    plain = [
        value[1:-1] if value[:1] in "\"'" and value else value.rstrip(";:.").removesuffix(",") for _, value in found
    ]
    return [f"{key}={value}" for (key, _), value in zip(found, plain, strict=True)]
