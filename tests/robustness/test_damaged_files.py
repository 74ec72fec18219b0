"""Input from strangers: some hundred damaged files of every kind, and by name what was once found with more of them.

`python experiments/fuzzing/run.py` tries the same for as long as it is told to.
"""

import json
import pickle
import struct
import tracemalloc
import unicodedata
import zipfile
import zlib
from random import Random
from typing import NotRequired, TypedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.amount import amount
from support.hostile import all_targets, guard, image_files, mutators, run_files, weights_files
from support.hostile.target import Target, refusal

from clipjax import design, image, stored
from clipjax.analysis import report
from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.data import annotations, pickles, table
from clipjax.data.kinds import folder, parquet, webdataset
from clipjax.data.kinds.shared import Columns
from clipjax.errors import InputError, brief, one_line
from clipjax.models import config as configs
from clipjax.models import weights

INPUTS = {"run_folder": amount(4, 2), "matlab": amount(3, 1)}  # half a second each; all others OTHERS
OTHERS = amount(60, 20)
quickly = settings(max_examples=amount(100, 30), deadline=None, derandomize=True)


@pytest.mark.parametrize("name", all_targets.TARGETS)
def test_damaged_input_is_read_or_refused_in_one_line(name, tmp_path):
    target, draw, kinds = all_targets.TARGETS[name], Random(7), set()
    seeds = target.seeds()
    for i in range(INPUTS.get(name, OTHERS) + len(seeds)):
        data = seeds[i] if i < len(seeds) else target.mutate(draw, draw.choice(seeds), seeds)
        outcome = guard.tried(target, tmp_path / "x", data)
        kinds.add(outcome.kind)
        if outcome.kind not in ("read", "refused"):
            (tmp_path / "finding").write_bytes(data)
            pytest.fail(f"{outcome.kind}: {outcome.where}, with {tmp_path / 'finding'}\n{outcome.told}")
    assert "read" in kinds, "not one seed is read: the target tests nothing"


def _attempt(act):
    return Target("x", list, act)


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda folder, data: None, "read"),
        (lambda folder, data: (folder / "a").write_bytes(data), "read"),
        (lambda folder, data: (folder.parent / "a").write_bytes(data), "escape"),
        (lambda folder, data: (folder / "../b").mkdir(), "escape"),
        (lambda folder, data: __import__("os").system("true"), "escape"),
        (lambda folder, data: __import__("subprocess").run(["true"]), "escape"),
        (lambda folder, data: data[10], "crash"),
        (lambda folder, data: bytes(1 << 62), "memory"),
        (lambda folder, data: [None for _ in iter(int, 1)], "slow"),
        (lambda folder, data: (_ for _ in ()).throw(InputError("one line")), "refused"),
    ],
)
def test_the_guard_sees_what_it_is_there_for(act, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "SECONDS", 0.3)
    assert guard.tried(_attempt(act), tmp_path / "x", b"abc").kind == kind


# JSON of strangers


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


class Shape(TypedDict):
    a: stored.Whole
    b: NotRequired[list[str]]


class Deep(TypedDict):
    x: dict[str, float]


SHAPES = (Shape, list[tuple[stored.Whole, str, str]], dict[str, str | None], dict[str, dict[str, bool]], dict)


@quickly
@given(JSON, st.sampled_from(SHAPES))
def test_json_of_any_shape_is_checked_or_refused(value, shape):
    text = json.dumps(value)
    if message := refusal(stored.parse, text, "it", shape):
        assert message.startswith("it: ")
    else:
        kept = {name: value[name] for name in ("a", "b") if name in value} if shape is Shape else value
        assert json.loads(json.dumps(stored.parse(text, "it", shape))) == kept


@pytest.mark.parametrize(
    ("text", "shape", "part"),
    [
        ('{"a": "1"}', Shape, "a is 1: expected int, got str"),
        ('{"a": true}', Shape, "a is True: expected int, got bool"),
        ('{"a": 1e3}', Shape, "a is 1000.0: expected int, got float"),
        ('{"a": 18014398509481984}', Shape, "a is 18014398509481984: expected int <= 9007199254740992"),
        ("{}", Shape, "object missing required field a"),
        ("[1, 2]", list[tuple[int, str]], "[0] is 1: expected array, got int"),
        ('[[1, "x", 2]]', list[tuple[int, str, str]], "[0][2] is 2: expected str, got int"),
        ('{"x": {"y": null}}', Deep, "x[...]: expected float, got null"),
        ('"\\ud800"', str, "not JSON"),
        ('{"a": "\\ud800x"}', dict, "not JSON"),
        ('{"a": 1, "a": 2}', dict, "comes twice"),
        ("NaN", float, "not JSON"),
        ("1e999", float, "out of range"),
        ("9" * 5000, int, "not JSON"),
        ("[" * 100_000, list, "not JSON"),
        ("[" * 61 + "]" * 61, list, "levels of brackets"),
        ("[" * 60 + "]" * 60, list, None),
        ("{", dict, "not JSON"),
    ],
)
def test_what_json_may_not_hold_is_named(text, shape, part):
    if part is None:
        stored.parse(text, "f", shape)
        return
    with pytest.raises(InputError) as caught:
        stored.parse(text, "f", shape)
    assert part in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_json_file_that_is_too_large_or_not_there(tmp_path):
    (tmp_path / "x.json").write_text("[" + "1," * 100 + "1]")
    with pytest.raises(InputError, match="bytes exceed 100"):
        stored.read(tmp_path / "x.json", list, largest=100)
    with pytest.raises(InputError, match="no such file"):
        stored.read(tmp_path / "y.json")
    (tmp_path / "x.json").write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        stored.read(tmp_path / "x.json")


@quickly
@given(st.text() | st.binary() | st.integers() | JSON)
def test_foreign_values_are_shown_on_one_short_line(value):
    for text in (brief(value), one_line(value)):
        assert text.isprintable()
        assert len(text) <= 303


def _config(**changes):
    good = configs.to_dict(weights_files.tiny().config)
    for path, value in changes.items():
        *above, last = path.split("__")
        place = good
        for key in above:
            place = place[key]
        place[last] = value
    return good


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"text__layers": 10**9}, "layers of the text encoder"),
        ({"text__heads": 0}, "heads of the text encoder"),
        ({"image__width": "64"}, "width of the image encoder"),
        ({"image__patch_size": True}, "patch_size of the image encoder"),
        ({"image__eps": float("nan")}, "eps of the image encoder"),
        ({"embed_dim": 2.0}, "embed_dim"),
        ({"std": [0.1, 0, 0.1]}, "std"),
        ({"mean": 3}, "mean"),
        ({"image__kind": ["vit"]}, "kind of image encoder"),
        ({"image": [1]}, "image is [1]"),
        ({"image__swirl" + "x" * 5000: 1}, "unknown attribute"),
    ],
)
def test_impossible_configurations_are_refused_by_field(changes, part):
    with pytest.raises(InputError) as caught:
        configs.from_dict(_config(**changes))
    assert part in str(caught.value)
    assert len(str(caught.value)) < 300
    assert configs.from_dict(_config()) == weights_files.tiny().config


# Pictures and tables


def test_no_picture_starts_another_program(tmp_path):
    """Pillow would hand an EPS file, whatever its name, to Ghostscript: a PostScript program that reads files."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(/etc/passwd) run\n")
    outcome = guard.tried(_attempt(lambda folder, data: image.open_image(path)), tmp_path / "x", b"")
    assert outcome.kind == "refused"
    assert "not an image" in outcome.told


def test_every_suffix_that_is_looked_for_can_be_opened(tmp_path):
    known = {"JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "WEBP", "TIFF", "JPEG2000", "ICO", "QOI", "AVIF", "TGA"}
    Image.init()
    assert set(image.FORMATS) <= known
    found = {Image.EXTENSION.get(suffix) for suffix in image.SUFFIXES} - {None}
    assert found <= set(image.FORMATS)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    """A PNG of a few hundred bytes that says it has 10^10 pixels; Pillow's limit, with what to do about it."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 1, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match=r"bomb.png is refused: .*MAX_IMAGE_PIXELS"):
        image.open_image(tmp_path / "bomb.png")


def test_names_that_no_table_can_hold_are_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for name in ("a\\u0000.png", "\\ud800.png", "http://x/a.png", "gs://x/a.png"):
        (tmp_path / "t.jsonl").write_text(f'{{"file": "a.png"}}\n{{"file": "{name}"}}\n')
        with pytest.raises(InputError, match=r"row 1 .*not a path below a folder"):
            table.open_table(tmp_path / "t.jsonl")
    (tmp_path / "t.jsonl").write_text('{"file": "a.png", "race": "\\ud800"}\n')
    with pytest.raises(InputError, match="not UTF-8"):
        table.open_table(tmp_path / "t.jsonl", Columns(groups=("race",)))
    (tmp_path / "d").mkdir()
    with open(bytes(tmp_path / "d") + b"/\xff.png", "wb") as file:
        file.write((tmp_path / "a.png").read_bytes())
    with pytest.raises(InputError, match="not UTF-8"):
        folder.open_folder(tmp_path / "d")


@quickly
@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), min_size=1, max_size=5))
def test_any_text_of_a_csv_comes_back_as_written(tmp_path_factory, rows):
    """But for spaces around it and the spelling of its accents, which tell no two groups apart."""
    where = tmp_path_factory.mktemp("csv")
    Image.new("RGB", (2, 2)).save(where / "a.png")
    cell = lambda text: '"' + text.replace('"', '""') + '"'  # noqa: E731
    lines = ["file,x,y", *(f"{cell(f'{i}.png')},{cell(a)},{cell('t' + b)}" for i, (a, b) in enumerate(rows))]
    (where / "0.png").write_bytes((where / "a.png").read_bytes())
    (where / "t.csv").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + b"\n")
    if not refusal(table.open_table, where / "t.csv", Columns(groups=("x", "y"))):
        found = table.open_table(where / "t.csv", Columns(groups=("x", "y")))
        assert found.columns["y"].tolist() == [unicodedata.normalize("NFC", "t" + b).strip() for _, b in rows]


@pytest.mark.parametrize(
    ("kind", "size", "part"),
    [
        (b"x", b"77777777777\0", "a header of"),
        (b"L", b"\x80" + b"\x7f" * 11, "a header of"),
        (b"0", b"\xff" * 12, "negative"),
    ],
)
def test_what_a_tar_says_of_its_size_is_not_taken_from_memory(tmp_path, kind, size, part):
    """An extended header or a long name is read in one piece: of eight gigabytes, if that is what it says."""
    shard = bytearray(mutators.tar_of(a_jpg=image_files.picture("jpeg"), b_txt=b"one"))
    shard[124:136], shard[156:157], shard[148:156] = size, kind, b" " * 8
    shard[148:156] = b"%06o\0 " % sum(shard[:512])
    (tmp_path / "x.tar").write_bytes(shard)
    tracemalloc.start()
    try:
        assert part in refusal(webdataset.open_shards, tmp_path / "x.tar")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_tensor_of_seventy_axes_is_no_weight(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [1] * 70, "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(InputError, match="70 axes"), weights.open_tensors(tmp_path / "x.safetensors") as file:
        file.get_tensor("w")


def test_a_label_that_is_an_object_is_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "t.jsonl").write_text('{"file": "a.png", "label": {"name": "cat"}}\n')
    with pytest.raises(InputError, match='column "label" holds an object'):
        table.open_table(tmp_path / "t.jsonl", Columns(label="label"))


def test_class_names_in_a_parquet_file_may_be_anything(tmp_path):
    for data in image_files.pictures_seeds():
        (tmp_path / "x.parquet").write_bytes(data)
        refusal(parquet.open_files, tmp_path / "x.parquet")


# Pickles and MATLAB files of data sets


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        pickle.dumps(pytest.raises, protocol=2),
    ],
)
def test_pickles_that_would_take_memory_or_the_process_are_refused(data, tmp_path):
    (tmp_path / "batch").write_bytes(data)
    with pytest.raises(InputError, match=r"batch is not a CIFAR batch"):
        pickles.load(tmp_path / "batch")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02}r\xff\xff\xff\xff.",  # CPython's memo is an array: 64 GB
        b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"Ns.",  # a key whose hash overflows the C stack
    ],
)
def test_pickles_that_would_end_pythons_own_reader_are_only_data(data, tmp_path):
    (tmp_path / "batch").write_bytes(data)
    assert pickles.load(tmp_path / "batch") == {}


def test_a_matlab_file_that_crashes_its_reader_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "x.mat"
    for data in image_files.mat_seeds():
        path.write_bytes(data)
        x, y = annotations.read_mat(path, "X", "y")
        assert (x.shape, y.tolist()) == ((4, 4, 3, 2), [1, 2])
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    for end, words in ((crash, "signal 11"), ("1/0", "ZeroDivision")):
        monkeypatch.setattr(annotations, "_LOADMAT", end)
        with pytest.raises(InputError, match=words):
            annotations.read_mat(path, "X")


# Class designs


def _nested(depth):
    return "name: x\nclasses: " + "[" * depth + "]" * depth + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "name: x\nclasses: &a [cat, *a]\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nclasses: [*b, *b]\n",
        "name: !!python/object/apply:os.system [touch canary]\nclasses: [cat]\n",
        "name: !!python/name:os.system\nclasses: [cat]\n",
        "name: !<tag:yaml.org,2002:python/module:os> x\nclasses: [cat]\n",
        "name: x\nclasses: [2001-99-99]\n",
        "name: x\nclasses: [{name: cat, sets: {a: b}}]\n",
        "name: x\nname: y\nclasses: [cat, cat]\n",
        "name: x\nextends: " + "x" * 5000 + "\n",
        'name: x\nextends: "a\\0b"\n',
        "name: x\nclasses: [~]\n",
        "? [a]\n: b\n",
        "- a\n",
        "\0",
        _nested(200),
        _nested(100_000),
    ],
)
def test_designs_that_are_none_are_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        design.read_design("x.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.yaml"]


NAMES = st.text(min_size=1, max_size=12).filter(str.strip)


@quickly
@given(st.lists(NAMES, min_size=1, max_size=4, unique=True), st.lists(NAMES, max_size=2), st.text(max_size=20))
def test_a_class_may_be_called_anything(names, sets, note):
    """`<script>`, a number, an emoji: a name is a name, and comes back from the file as it went in."""
    made = design.Design("d", tuple(design.DesignClass(name, sets=sets) for name in names), note=note.strip())
    if not refusal(design.parse, made.yaml()):  # YAML has no way to write U+FFFE
        assert design.parse(made.yaml()) == made
    assert design.Design.from_manifest(json.loads(json.dumps(made.manifest()))) == made


# What the mutators themselves promise


@pytest.mark.parametrize("name", all_targets.TARGETS)
def test_mutators_give_the_same_inputs_for_the_same_seed(name):
    target = all_targets.TARGETS[name]
    seed = target.seeds()[0]
    first, second = ([target.mutate(Random(i), seed, [seed]) for i in range(5)] for _ in range(2))
    assert first == second
    assert any(data != seed for data in first)


def test_damaged_zips_still_have_a_right_sum():
    """Else every input would end at the door, and nothing behind it would be tested."""
    mutate = mutators.some_zip(mutators.some_bytes)
    seed, inside = weights_files.torch_seeds()[2], 0
    for i in range(40):
        try:
            with zipfile.ZipFile(__import__("io").BytesIO(mutate(Random(i), seed, [seed]))) as file:
                inside += file.testzip() is None
        except Exception:
            continue
    assert inside > 10


def test_the_arrays_behind_a_checkpoint_are_there():
    assert all(np.isfinite(np.asarray(array, np.float32)).all() for array in weights_files.tiny().flat.values())


@pytest.mark.parametrize("probe", ["rates.x", "a.b", "", ".", "__init__", "rates/../x", "os", "card", "page"])
def test_a_run_of_no_probe_is_read_as_numbers_or_refused(tmp_path, probe):
    """The name of a probe is the name of a module; what a manifest says must not lead anywhere else."""
    files = run_files.finished_run(tmp_path, "zeroshot")
    manifest = json.loads(files["manifest.json"])
    manifest["config"]["probe"] = probe
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "run" / "SHA256SUMS").unlink()
    if probe in ("os", "card", "page"):
        assert "Numbers" in [section.title for section in report.sections([read_run(tmp_path / "run")])]
    else:
        assert "there is no probe" in refusal(read_run, tmp_path / "run")


def test_a_named_data_set_with_other_annotations_is_one_line(tmp_path, capsys):
    """Forty readers, each of which trusts what its own data set's files hold."""
    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    for name in ("batches.meta", "test_batch"):
        (root / name).write_bytes(image_files.python2_pickle({b"label_names": 3, b"data": [[1]], b"labels": None}))
    tiny = tmp_path / "tiny.safetensors"
    weights.save(tiny, weights_files.tiny())
    words = ["probe", "zeroshot:cifar10", f"--config.data.path={tmp_path}", f"--config.model={tiny}"]
    assert main([*words, f"--out={tmp_path / 'run'}"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("clipjax probe: ")
    assert '"label_names" holds 3, as no CIFAR batch does' in err
    assert err.count("\n") == 1
