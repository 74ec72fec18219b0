"""What reads files from strangers, as functions of bytes: each works or raises InputError, and nothing else.

tests/trust/test_hostile.py tries some hundred inputs of each; experiments/fuzzing/run.py goes on for as long as it is
told. A target's seeds are good inputs, from the golden files or made here by the libraries that write the format.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutators as m
import numpy as np
from PIL import Image

from clipjax.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclasses.dataclass(frozen=True)
class Target:
    """`attempt(folder, data)` puts the input into an empty folder and reads it; `mutate` makes bad ones of `seeds`."""

    name: str
    seeds: Callable[[], list[bytes]]
    attempt: Callable[[Path, bytes], Any]
    mutate: m.Mutator = m.some_bytes


def refusal(call: Callable[..., Any], *given: Any, **named: Any) -> str:
    """The one line that a call is refused with; nothing where it works."""
    try:
        call(*given, **named)
    except InputError as error:
        message = str(error)
    else:
        return ""
    assert message
    assert "\n" not in message
    return message


def _put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _put_all(folder: Path, data: bytes) -> dict[str, bytes]:
    files = m.unpacked(data)
    if files is None:
        raise InputError("not packed")
    for name, content in files.items():
        if "/" not in name and "\0" not in name and len(name.encode("utf-8", "replace")) < 200:
            (folder / name).write_bytes(content)
    return files


def _written(write: Callable[[Path], Any], name: str = "x") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


# --- weights ---------------------------------------------------------------------------------------------------


@functools.cache
def _tiny() -> Any:
    """A CLIP of eight tokens, float16: 200 kB."""
    from clipjax.models import catalog, shapes
    from clipjax.models.weights import Weights

    config = catalog.openai(16, catalog.vit(32, 16, 64, 1), catalog.text(64, 1, context_length=8, vocab_size=8))
    flat = {name: np.full(shape, 0.5, np.float16) for name, shape in shapes.shapes(config).items()}
    return Weights(flat, config, "tiny", {"format": "random"})


def _torch_seeds() -> list[bytes]:
    return [(GOLDEN / "torchfile" / f"{name}.pt").read_bytes() for name in ("traced", "scripted", "views", "trainer")]


def _torch(folder: Path, data: bytes) -> None:
    from checkpoints_convert import torchfile

    found = torchfile.read(_put(folder, "x.pt", data))
    found.code()
    for array in found.tensors.values():
        array.sum()  # the pages behind it are there


def _pickle_seeds() -> list[bytes]:
    import zipfile

    out = []
    for seed in _torch_seeds():
        with zipfile.ZipFile(io.BytesIO(seed)) as file:
            out.append(file.read(next(n for n in file.namelist() if n.endswith("/data.pkl"))))
    return out


def _torch_pickle(folder: Path, data: bytes) -> None:
    from checkpoints_convert import torchfile_pickle

    torchfile_pickle.loads(data)


def _convert_seeds() -> list[bytes]:
    from checkpoints_convert import convert

    return [_written(lambda path: convert.write(path, _tiny(), "openai"), "x.pt")]


def _checkpoint(folder: Path, data: bytes) -> None:
    from checkpoints_convert import convert

    convert.read(_put(folder, "x.pt", data))


def _safetensors_seeds() -> list[bytes]:
    from checkpoints_convert import convert, openai
    from clipjax.models import weights

    plain = openai.to_torch_layout(_tiny().flat, "x")
    return [
        _written(lambda path: weights.save(path, _tiny()), "x.safetensors"),
        _written(lambda path: convert.write(path, _tiny(), "open_clip"), "x.safetensors"),
        _written(lambda path: weights.save_tensors(path, plain, {}), "x.safetensors"),
    ]


def _safetensors(folder: Path, data: bytes) -> None:
    from checkpoints_convert import convert

    found = convert.read(_put(folder, "x.safetensors", data)).weights
    for array in found.flat.values():
        np.asarray(array, np.float32).sum()


def _huggingface_seeds() -> list[bytes]:
    from checkpoints_convert import convert

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x"
        convert.write(out, _tiny(), "huggingface")
        index = {"metadata": {}, "weight_map": {"logit_scale": "model.safetensors"}}
        names = ("config.json", "preprocessor_config.json", "model.safetensors")
        files = {name: (out / name).read_bytes() for name in names}
    return [m.packed(**files), m.packed(**files, **{"model.safetensors.index.json": json.dumps(index).encode()})]


def _folder(folder: Path, data: bytes) -> None:
    from checkpoints_convert import convert

    _put_all(folder, data)
    convert.read(folder)


def _open_clip_seeds() -> list[bytes]:
    from checkpoints_convert import open_clip, openai
    from clipjax.models import weights

    plain = openai.to_torch_layout(_tiny().flat, "x")
    content = _written(lambda path: weights.save_tensors(path, plain, {}), "x.safetensors")
    config = open_clip.config_json(_tiny().config)
    return [m.packed(**{"open_clip_config.json": json.dumps(config).encode(), "open_clip_model.safetensors": content})]


_OPCODES = [bytes([code]) for code in b"(.0Nq\x85\x86\x87}])tQRbsuehjJKM\x8a\x80\x81cX\x88\x89GaU"]
_PICKLE_WORDS = (
    *_OPCODES, b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nSize\n", b"ctorch\nFloatStorage\n",
    b"c__torch__\nM\n)\x81",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"X\xff\xff\xff\x7f", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff",
    b"\x8a\xff",
    b"(" * 300, b"\x85" * 300, b"X\1\0\0\0a", b"q\0h\0",
)  # fmt: skip

# --- text and designs ------------------------------------------------------------------------------------------


def _token_seeds() -> list[bytes]:
    texts = (
        "a photo of a cat",
        "Ünïcödé &amp;lt; <|endoftext|> 🙂👩‍👩‍👧",
        "it's 10\u0345 ſs don't",
        "\u0301" * 50,
        "日本語のテキスト " * 8,
    )
    return [text.encode() for text in texts]


def _tokens(folder: Path, data: bytes) -> None:
    from clipjax.text import tokenize

    text = data.decode("utf-8", "surrogatepass" if data[:1] < b"\x80" else "replace")
    ids = tokenize([text, text[::-1]], truncate=True)
    assert ids.shape == (2, 77)
    assert ids.min() >= 0
    assert ids.max() == 49407


def _tokens_of_any(folder: Path, data: bytes) -> None:
    try:
        _tokens(folder, data)
    except UnicodeDecodeError:
        raise InputError("no text") from None


_DESIGN = b"""name: fairface-default
note: words
templates: ["a photo of a {}.", "{}"]
classes:
  - {name: "Black man", sets: [person], race: Black, gender: Male}
  - {name: thief, prompt: "a thief", sets: [crime]}
  - {name: cat, texts: [cat, kitten]}
  - orangutan
"""


def _design(folder: Path, data: bytes) -> None:
    from clipjax import design

    found = design.load(str(_put(folder, "x.yaml", data)))
    assert design.Design.from_manifest(json.loads(json.dumps(found.manifest()))) == found
    assert design.parse(found.yaml()) == found
    found.prompts()
    _ = found.sha256, found.sets


_DESIGN_WORDS = (
    "extends: fairface-default\n", "extends: x\n", "add: [child]\n", "drop: [animal]\n", "&a ", "*a",
    "!!python/object/apply:os.system ",
    "!!python/name:os.system ", "!!binary ", "!!set {a, b}", "!!timestamp ", "2001-99-99", "[", "]", "{", "}", "? ",
    ": ", "- ", "|\n", ">\n",
    "<<: ", "---\n", "...\n", "%YAML 9.9\n", "yes", "null", "~", "1e999", "0x", "1_000", ".nan", "\t", "\0", "\x85",
    "{}", "name: ", "sets: ",
    "[" * 500, "- " * 500, '"\\ud800"', "'", '"', "#", "1:1:1", "=", "!", "! ", "\u2028",
)  # fmt: skip

# --- tables ----------------------------------------------------------------------------------------------------


def _table(suffix: str) -> Callable[[Path, bytes], None]:
    def attempt(folder: Path, data: bytes) -> None:
        from clipjax.data import table

        pictures = folder / "pictures"
        pictures.mkdir()
        (pictures / "a.png").write_bytes(_picture("png"))
        (pictures / "b.png").write_bytes(b"")
        path = _put(folder, f"x.{suffix}", data)
        found = table.load(path, "file", "label", ["caption"], ["age", "race"], images=pictures)
        for row in range(min(len(found), 3)):
            refusal(found.image, row)

    return attempt


_ROWS = {
    "file": ["a.png", "b.png", "c.png"], "label": ["cat", "dog", "cat"], "caption": ["a cat, too", "ä dog", ""],
    "age": ["3-9", "more than 70", "10-19"], "race": ["1", "2", "3"],
}  # fmt: skip


def _csv_seeds() -> list[bytes]:
    lines = [
        ",".join(f'"{value}"' if "," in value else value for value in row) for row in zip(*_ROWS.values(), strict=True)
    ]
    plain = "\n".join([",".join(_ROWS), *lines]) + "\n"
    return [plain.encode(), plain.encode("utf-8-sig"), plain.replace("\n", "\r\n").encode(), plain.encode("utf-16")]


_CSV_WORDS = (
    '"', '""', ",", ",,,,", "\n", "\r", "\r\n", "\0", "\xef\xbb\xbf", "\xff", "x" * 5000, "../../etc/passwd",
    "/etc/passwd", "gs://a/b",
    "http://a/b", "9-Mar", "file", "NaN", "1e999", "9" * 400, "-0", "a.png", "\t", "=cmd()", "😀",
)  # fmt: skip


def _jsonl_seeds() -> list[bytes]:
    rows = [dict(zip(_ROWS, row, strict=True)) for row in zip(*_ROWS.values(), strict=True)]
    rows[0]["caption"] = ["one", "two"]
    return ["".join(json.dumps(row) + "\n" for row in rows).encode()]


def _some_lines(draw: Any, data: bytes, others: Any = ()) -> bytes:
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    lines[at] = m.some_json(draw, lines[at]) if lines[at] else b"null"
    return b"\n".join(lines) if draw.random() < 0.7 else m.some_bytes(draw, b"\n".join(lines))


def _arrow_kinds() -> list[Any]:
    import pyarrow as pa

    return [
        pa.array(_ROWS["file"]), pa.array([1, 2, 3]), pa.array([1.5, None, 2.0]), pa.array([True, None, False]),
        pa.array([None] * 3),
        pa.array([b"\xff", b"a", b""]), pa.array([[1], None, [2, 3]]), pa.array([{"a": 1}, {"a": 2}, None]),
        pa.array([10**17] * 3),
        pa.array(["a", "b", None]).dictionary_encode(), pa.array([1, 2, 3], pa.timestamp("ns")), pa.array([1, 2, 3],
        pa.duration("s")),
        pa.array(["1", "2", "3"]).cast(pa.decimal128(30, 2)), pa.array([{"bytes": b"x", "path": "a"}, None,
        {"bytes": None, "path": None}]),
        pa.array([2**63, 1, 2], pa.uint64()), pa.array([1, 2, 3], pa.float16()), pa.array([[("a", 1)], [], None],
        pa.map_(pa.string(), pa.int8())),
    ]  # fmt: skip


def _parquet_seeds() -> list[bytes]:
    """The good table first; then every column as every odd type."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    good: dict[str, Any] = {name: pa.array(values) for name, values in _ROWS.items()}
    tables = [good, *({**good, name: kind} for name in good for kind in _arrow_kinds())]
    return [_written(lambda path, table=table: pq.write_table(pa.table(table), path)) for table in tables]


def _pictures_seeds() -> list[bytes]:
    """Hugging Face's layout: pictures inside the table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"bytes": _picture("png"), "path": "a.png"},
        {"bytes": _picture("jpeg"), "path": "b.jpg"},
        {"bytes": None, "path": None},
    ]
    noted = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    good: dict[str, Any] = {"image": pa.array(rows), "label": pa.array([0, 1, 0])}
    odd = [{**good, name: kind} for name in good for kind in _arrow_kinds()]
    tables = [pa.table(good).replace_schema_metadata({"huggingface": json.dumps(noted)}), *map(pa.table, odd)]
    for wrong in (
        {"info": {"features": {"label": {"names": 3, "_type": "ClassLabel"}}}},
        {"info": []},
        [],
        {"info": {"features": {"label": []}}},
    ):
        tables.append(pa.table(good).replace_schema_metadata({"huggingface": json.dumps(wrong)}))
    return [_written(lambda path, table=table: pq.write_table(table, path)) for table in tables]


def _pictures(folder: Path, data: bytes) -> None:
    from clipjax.data import parquet

    found = parquet.load(_put(folder, "x.parquet", data))
    _look_at(found)


def _look_at(found: Any) -> None:
    for row in range(min(len(found), 3)):
        refusal(found.image, row)


# --- pictures --------------------------------------------------------------------------------------------------


@functools.cache
def _picture(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    values = np.arange(20 * 14 * 3, dtype=np.uint8).reshape(14, 20, 3)
    out = io.BytesIO()
    Image.fromarray(values).convert(mode).save(out, kind, **options)
    return out.getvalue()


def _picture_seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("P", (9, 9), i) for i in range(3)]
    animated = io.BytesIO()
    frames[0].save(animated, "gif", save_all=True, append_images=frames[1:])
    out = [
        animated.getvalue(),
        _picture("jpeg", exif=exif.tobytes()),
        _picture("jpeg", "CMYK"),
        _picture("jpeg", "L", progressive=True),
    ]
    out += [_picture("png", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "I;16")]
    out += [_picture("tiff", compression=kind) for kind in (None, "tiff_lzw", "jpeg", "tiff_deflate", "packbits")]
    out += [_picture(kind) for kind in ("bmp", "ico", "ppm", "tga", "webp", "jpeg2000", "dds", "pcx", "sgi")]
    for kind in ("avif", "qoi"):
        try:
            out.append(_picture(kind))
        except (KeyError, OSError):  # a Pillow built without it
            continue
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    return [
        *out,
        svg,
        b"<!doctype html><html></html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        b"%PDF-1.7\n",
    ]


def _image(folder: Path, data: bytes) -> None:
    from clipjax import image

    spec = image.Preprocess(16, (0.5,) * 3, (0.5,) * 3)
    found = image.preprocess(image.open_image(_put(folder, "x.jpg", data)), spec, threads=1)
    assert found.shape == (1, 16, 16, 3)
    assert np.isfinite(found).all()


def _shard_seeds() -> list[bytes]:
    good = m.tar_of(
        a_jpg=_picture("jpeg"),
        a_cls=b"0",
        a_txt=b"one\ntwo",
        b_png=_picture("png"),
        b_cls=b"1",
        b_txt=b"dog",
        c_cls=b"0",
        c_txt=b"",
    )
    return [good, m.tar_of(**{"d/a_b_jpg": _picture("jpeg"), "d/a_b_txt": "ä".encode(), "x" * 150 + "_jpg": b"x"})]


def _shard(folder: Path, data: bytes) -> None:
    from clipjax.data import webdataset

    _look_at(webdataset.load(_put(folder, "x.tar", data)))


# --- what data sets bring along --------------------------------------------------------------------------------


class _Python2Pickler(pickle._Pickler):  # pyrefly: ignore[missing-attribute]
    """Byte strings as Python 2 wrote them, which Python 3's pickler cannot."""

    dispatch = pickle._Pickler.dispatch.copy()  # pyrefly: ignore[missing-attribute]

    def _bytes(self, value: bytes) -> None:
        self.write(b"T" + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch[bytes] = _bytes


def _python2_pickle(value: Any) -> bytes:
    out = io.BytesIO()
    _Python2Pickler(out, protocol=2).dump(value)
    return out.getvalue().replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")


def _cifar_seeds() -> list[bytes]:
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1], b"filenames": [b"a.png", b"b.png"]}
    return [_python2_pickle(batch), _python2_pickle({b"label_names": [b"cat", b"dog"]})]


def _cifar(folder: Path, data: bytes) -> None:
    from clipjax.data import pickles

    pickles.load(_put(folder, "batch", data))


def _mat_seeds() -> list[bytes]:
    from scipy.io import savemat

    values: dict[str, Any] = {
        "X": np.zeros((4, 4, 3, 2), np.uint8),
        "y": np.array([1, 2]),
        "s": {"a": "text", "b": [1.0, 2.0]},
    }
    return [
        _written(lambda path, squeeze=squeeze: savemat(path, values, do_compression=squeeze), "x.mat")
        for squeeze in (False, True)
    ]


def _mat(folder: Path, data: bytes) -> None:
    from clipjax.data import annotations

    annotations.mat(_put(folder, "x.mat", data), "X", "y")


def _prepared_seeds() -> list[bytes]:
    from clipjax.data import folder as folders
    from clipjax.data import prepared
    from clipjax.models.weights import write_atomically

    with tempfile.TemporaryDirectory() as where:
        for name in ("cat", "dog"):
            (Path(where) / "in" / name).mkdir(parents=True)
            (Path(where) / "in" / name / "a.png").write_bytes(_picture("png"))
        (Path(where) / "in" / "dog" / "b.png").write_bytes(b"none")
        prepared.write(
            folders.load(Path(where) / "in"), 8, Path(where) / "out", write_atomically, max_skipped=1.0, threads=1
        )
        return [m.packed(**{path.name: path.read_bytes() for path in sorted((Path(where) / "out").iterdir())})]


def _prepared(folder: Path, data: bytes) -> None:
    from clipjax.data import prepared

    _put_all(folder, data)
    found = prepared.load(folder).source
    spec = __import__("clipjax.image").image.Preprocess(8, (0.5,) * 3, (0.5,) * 3)
    for row in range(min(len(found), 3)):
        refusal(found.crop, row, spec)


# --- what runs leave behind ------------------------------------------------------------------------------------


def _log_seeds() -> list[bytes]:
    from clipjax.cache import FeatureCache

    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder), 4, {"weights": "a"})
        cache.append(np.array([1, 0]), np.ones((2, 4), np.float32), [(2, "b.jpg", "damaged")])
        cache.append(np.array([3]), np.ones((1, 4), np.float32), [])
        cache.close()
        return [(Path(folder) / "0000.log").read_bytes()]


def _log(folder: Path, data: bytes) -> None:
    from clipjax.cache import FeatureCache

    (folder / "0000.log").write_bytes(data)
    (folder / "about.json").write_bytes(data[:50])
    with FeatureCache(folder, 4, {}) as cache:
        cache.append(np.array([7]), np.ones((1, 4), np.float32), [])
        found = cache.read()
        assert 7 in found.rows
        assert len(found.rows) == len(found.values) == len(set(found.rows.tolist()))
        assert all(
            isinstance(row, int) and isinstance(file, str) and isinstance(why, str) for row, file, why in found.skipped
        )


def _array_seeds() -> list[bytes]:
    return [_written(lambda path: np.savez(path, value=np.arange(6.0).reshape(2, 3)), "k.npz")]


def _array(folder: Path, data: bytes) -> None:
    from clipjax.cache import cached_array

    (folder / "k.npz").write_bytes(data)
    cached_array(folder, "k", lambda: np.zeros((2, 3)))


def finished_run(folder: Path, probe: str, name: str = "people-roles", groups: int = 2) -> dict[str, bytes]:
    """A small finished run of a class design in folder/run, through the folder that `clipjax probe` writes."""
    from clipjax import design
    from clipjax.analysis import rates
    from clipjax.runs.folder import RunFolder

    asked = design.load(name)
    answers = np.arange(40) % len(asked.names)
    columns = {
        "age": np.array(["3-9", "10-19"] * 20, object),
        "race": np.array(["Black"] * 15 + ["White"] * 25, object),
    }
    columns = {key: columns[key] for key in ("age", "race")[:groups]}
    names = np.array(asked.names, object)
    table = {
        "file": np.array([f"{i}.jpg" for i in range(40)], object), **columns, "label": names[::-1][answers],
        "prediction": names[answers],
        "probability": np.full(40, 0.5, np.float32), "probabilities": np.full((40, len(names)), 1 / len(names),
        np.float32),
    }  # fmt: skip
    record = {
        "metric": "top1",
        "k": 20,
        "n": 40,
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "level": 0.95,
        "method": "clopper-pearson",
    }
    records = (
        rates.rate_records(answers, asked, columns, rates.groupings("", list(columns)))
        if probe == "rates"
        else [record]
    )
    config = {"probe": probe, "min_n": 20, "data": {"source": "folder", "split": "", "options": "", "limit": 0}}
    out = RunFolder(folder / "run", config)
    out.write_table("predictions.parquet", table)
    out.write_records(records)
    shown = (
        asked.manifest()
        if probe == "rates"
        else {"classes": list(asked.names), "templates": list(asked.templates), "prompts": asked.prompts()}
    )
    image = {"image_size": 224, "kind": "vit"}
    out.write_json("manifest.json", {
        "config": config, "precision": "float32", "design": shown | {"sha256": asked.sha256},
        "result": {"groups": ["age"]},
        "model": {"name": "m", "weights_sha256": "a" * 64, "logit_scale": 100.0, "source": {},
        "config": {"image": image, "mean": [0.5] * 3, "std": [0.3] * 3}},
        "data": {"name": "d", "fingerprint": "f" * 64, "n": 40}, "counts": {"seen": 40, "skipped": 0,
        "skipped_files": []}, "versions": {},
    })  # fmt: skip
    out.close()
    return {
        name: (folder / "run" / name).read_bytes()
        for name in ("manifest.json", "metrics.json", "predictions.parquet", "config.json")
    }


@functools.cache
def _good_runs() -> dict[str, dict[str, bytes]]:
    out = {}
    for probe in ("rates", "zeroshot"):
        with tempfile.TemporaryDirectory() as folder:
            out[probe] = finished_run(Path(folder), probe)
    return out


def _run_seeds() -> list[bytes]:
    seeds = [m.packed(**files) for files in _good_runs().values()]
    with tempfile.TemporaryDirectory() as folder:  # matplotlib makes folders of its own the first time
        refusal(_report, Path(folder), seeds[0])
    return seeds


def _report(folder: Path, data: bytes) -> None:
    """Everything that `clipjax report` and `compare` say, but the drawing of it."""
    from clipjax.analysis import compare, report
    from clipjax.analysis.report import card, page
    from clipjax.analysis.run import read_run, reading
    from clipjax.runs.folder import finished, read_config

    for name in ("a", "b"):
        (folder / name).mkdir()
    _put_all(folder / "a", data)
    for name, content in _good_runs()["rates"].items():
        (folder / "b" / name).write_bytes(content)
    refusal(read_config, folder / "a")
    refusal(finished, folder / "a", {})
    run, good = read_run(folder / "a"), read_run(folder / "b")
    refused = None
    for runs in ([run], [run, good]):
        try:
            with reading(runs):
                found = report.sections(runs)
                card.text(runs, found)
                page.html(runs, [dataclasses.replace(section, drawings={}) for section in found])
            for table in (table for section in found for table in section.tables):
                _ = table.csv(), table.markdown(), table.latex(), table.html()
        except InputError as error:
            refused = error
    try:
        good.manifest["design"]["sha256"] = "other"
        compare.compare(run, good)
    except InputError as error:
        refused = refused or error
    if refused:
        raise refused


_RUN_FILES = m.one_of(
    manifest_json=m.some_json, metrics_json=m.some_json, config_json=m.some_json, predictions_parquet=m.some_bytes
)

TARGETS = {
    target.name: target
    for target in (
        Target("torch_archive", _torch_seeds, _torch, m.some_zip(m.with_tokens(*_PICKLE_WORDS))),
        Target("torch_pickle", _pickle_seeds, _torch_pickle, m.with_tokens(*_PICKLE_WORDS)),
        Target("openai_checkpoint", _convert_seeds, _checkpoint, m.some_zip(m.with_tokens(*_PICKLE_WORDS))),
        Target("safetensors", _safetensors_seeds, _safetensors, m.some_safetensors),
        Target("huggingface", _huggingface_seeds, _folder, m.one_of(
            config_json=m.some_json, preprocessor_config_json=m.some_json, model_safetensors=m.some_safetensors,
            model_safetensors_index_json=m.some_json)),
        Target("open_clip", _open_clip_seeds, _folder, m.one_of(open_clip_config_json=m.some_json)),
        Target("tokenizer", _token_seeds, _tokens_of_any, m.with_tokens("<|endoftext|>", "&amp;", "&#0;", "&#xd800;",
        "\u0301", "'", "\U0010ffff")),
        Target("design", lambda: [_DESIGN, b"extends: fairface-default\nadd: [child]\n"], _design,
        m.with_tokens(*_DESIGN_WORDS)),
        Target("csv", _csv_seeds, _table("csv"), m.with_tokens(*_CSV_WORDS)),
        Target("jsonl", _jsonl_seeds, _table("jsonl"), _some_lines),
        Target("parquet", _parquet_seeds, _table("parquet")),
        Target("parquet_pictures", _pictures_seeds, _pictures),
        Target("picture", _picture_seeds, _image),
        Target("webdataset", _shard_seeds, _shard, m.some_tar),
        Target("cifar_pickle", _cifar_seeds, _cifar, m.with_tokens(*_PICKLE_WORDS)),
        Target("matlab", _mat_seeds, _mat),
        Target("prepared", _prepared_seeds, _prepared, m.one_of(info_json=m.some_json, table_parquet=m.some_bytes, **{
            "pixels-00000-of-00001_array_record": m.some_bytes})),
        Target("feature_log", _log_seeds, _log, m.some_log),
        Target("cached_array", _array_seeds, _array, m.some_zip(m.some_bytes)),
        Target("run_folder", _run_seeds, _report, _RUN_FILES),
    )
}  # fmt: skip
