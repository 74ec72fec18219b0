"""Pictures, and what holds them: parquet, shards, and the files that data sets bring along."""

from __future__ import annotations

import functools
import io
import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from support.hostile import mutators as m
from support.hostile.target import put, put_all, refusal, written

ROWS = {
    "file": ["a.png", "b.png", "c.png"], "label": ["cat", "dog", "cat"], "caption": ["a cat, too", "ä dog", ""],
    "age": ["3-9", "more than 70", "10-19"], "race": ["1", "2", "3"],
}  # fmt: skip


def arrow_kinds() -> list[Any]:
    import pyarrow as pa

    return [
        pa.array(ROWS["file"]), pa.array([1, 2, 3]), pa.array([1.5, None, 2.0]), pa.array([True, None, False]),
        pa.array([None] * 3),
        pa.array([b"\xff", b"a", b""]), pa.array([[1], None, [2, 3]]), pa.array([{"a": 1}, {"a": 2}, None]),
        pa.array([10**17] * 3),
        pa.array(["a", "b", None]).dictionary_encode(), pa.array([1, 2, 3], pa.timestamp("ns")), pa.array([1, 2, 3],
        pa.duration("s")),
        pa.array(["1", "2", "3"]).cast(pa.decimal128(30, 2)), pa.array([{"bytes": b"x", "path": "a"}, None,
        {"bytes": None, "path": None}]),
        pa.array([2**63, 1, 2], pa.uint64()), pa.array(np.array([1, 2, 3], np.float16)),
        pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int8())),
    ]  # fmt: skip


def parquet_seeds() -> list[bytes]:
    """The good table first; then every column as every odd type."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    good: dict[str, Any] = {name: pa.array(values) for name, values in ROWS.items()}
    tables = [good, *({**good, name: kind} for name in good for kind in arrow_kinds())]
    return [written(lambda path, table=table: pq.write_table(pa.table(table), path)) for table in tables]


def pictures_seeds() -> list[bytes]:
    """Hugging Face's layout: pictures inside the table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"bytes": picture("png"), "path": "a.png"},
        {"bytes": picture("jpeg"), "path": "b.jpg"},
        {"bytes": None, "path": None},
    ]
    noted = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    good: dict[str, Any] = {"image": pa.array(rows), "label": pa.array([0, 1, 0])}
    odd = [{**good, name: kind} for name in good for kind in arrow_kinds()]
    tables = [pa.table(good).replace_schema_metadata({"huggingface": json.dumps(noted)}), *map(pa.table, odd)]
    for wrong in (
        {"info": {"features": {"label": {"names": 3, "_type": "ClassLabel"}}}},
        {"info": []},
        [],
        {"info": {"features": {"label": []}}},
    ):
        tables.append(pa.table(good).replace_schema_metadata({"huggingface": json.dumps(wrong)}))
    return [written(lambda path, table=table: pq.write_table(table, path)) for table in tables]


def pictures(folder: Path, data: bytes) -> None:
    from clipjax.data.kinds import parquet

    found = parquet.open_files(put(folder, "x.parquet", data))
    look_at(found)


def look_at(found: Any) -> None:
    for row in range(min(len(found), 3)):
        refusal(found.image, row)


# --- pictures --------------------------------------------------------------------------------------------------


@functools.cache
def picture(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    values = np.arange(20 * 14 * 3, dtype=np.uint8).reshape(14, 20, 3)
    out = io.BytesIO()
    Image.fromarray(values).convert(mode).save(out, kind, **options)
    return out.getvalue()


def picture_seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("P", (9, 9), i) for i in range(3)]
    animated = io.BytesIO()
    frames[0].save(animated, "gif", save_all=True, append_images=frames[1:])
    out = [
        animated.getvalue(),
        picture("jpeg", exif=exif.tobytes()),
        picture("jpeg", "CMYK"),
        picture("jpeg", "L", progressive=True),
    ]
    out += [picture("png", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "I;16")]
    out += [picture("tiff", compression=kind) for kind in (None, "tiff_lzw", "jpeg", "tiff_deflate", "packbits")]
    out += [picture(kind) for kind in ("bmp", "ico", "ppm", "tga", "webp", "jpeg2000", "dds", "pcx", "sgi")]
    for kind in ("avif", "qoi"):
        try:
            out.append(picture(kind))
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


def image(folder: Path, data: bytes) -> None:
    from clipjax import image

    spec = image.Preprocess(16, (0.5,) * 3, (0.5,) * 3)
    found = image.preprocess(image.open_image(put(folder, "x.jpg", data)), spec, threads=1)
    assert found.shape == (1, 16, 16, 3)
    assert np.isfinite(found).all()


def shard_seeds() -> list[bytes]:
    good = m.tar_of(
        a_jpg=picture("jpeg"),
        a_cls=b"0",
        a_txt=b"one\ntwo",
        b_png=picture("png"),
        b_cls=b"1",
        b_txt=b"dog",
        c_cls=b"0",
        c_txt=b"",
    )
    return [good, m.tar_of(**{"d/a_b_jpg": picture("jpeg"), "d/a_b_txt": "ä".encode(), "x" * 150 + "_jpg": b"x"})]


def shard(folder: Path, data: bytes) -> None:
    from clipjax.data.kinds import webdataset

    look_at(webdataset.open_shards(put(folder, "x.tar", data)))


# --- what data sets bring along --------------------------------------------------------------------------------


class _Python2Pickler(pickle._Pickler):  # pyrefly: ignore[missing-attribute]
    """Byte strings as Python 2 wrote them, which Python 3's pickler cannot."""

    dispatch = pickle._Pickler.dispatch.copy()  # pyrefly: ignore[missing-attribute]

    def _bytes(self, value: bytes) -> None:
        self.write(b"T" + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch[bytes] = _bytes


def python2_pickle(value: Any) -> bytes:
    out = io.BytesIO()
    _Python2Pickler(out, protocol=2).dump(value)
    return out.getvalue().replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")


def cifar_seeds() -> list[bytes]:
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1], b"filenames": [b"a.png", b"b.png"]}
    return [python2_pickle(batch), python2_pickle({b"label_names": [b"cat", b"dog"]})]


def cifar(folder: Path, data: bytes) -> None:
    from clipjax.data import pickles

    pickles.load(put(folder, "batch", data))


def mat_seeds() -> list[bytes]:
    from scipy.io import savemat

    values: dict[str, Any] = {
        "X": np.zeros((4, 4, 3, 2), np.uint8),
        "y": np.array([1, 2]),
        "s": {"a": "text", "b": [1.0, 2.0]},
    }
    return [
        written(lambda path, squeeze=squeeze: savemat(path, values, do_compression=squeeze), "x.mat")
        for squeeze in (False, True)
    ]


def mat(folder: Path, data: bytes) -> None:
    from clipjax.data import annotations

    annotations.read_mat(put(folder, "x.mat", data), "X", "y")


def prepared_seeds() -> list[bytes]:
    from clipjax.data import prepared
    from clipjax.data.kinds import folder as folders

    with tempfile.TemporaryDirectory() as where:
        for name in ("cat", "dog"):
            (Path(where) / "in" / name).mkdir(parents=True)
            (Path(where) / "in" / name / "a.png").write_bytes(picture("png"))
        (Path(where) / "in" / "dog" / "b.png").write_bytes(b"none")
        prepared.write(folders.open_folder(Path(where) / "in"), 8, Path(where) / "out", max_skipped=1.0, threads=1)
        return [m.packed(**{path.name: path.read_bytes() for path in sorted((Path(where) / "out").iterdir())})]


def prepared(folder: Path, data: bytes) -> None:
    from clipjax.data import prepared

    put_all(folder, data)
    found = prepared.open_prepared(folder).source
    spec = __import__("clipjax.image").image.Preprocess(8, (0.5,) * 3, (0.5,) * 3)
    for row in range(min(len(found), 3)):
        refusal(found.crop, row, spec)
