"""Checkpoints of every format: seeds and readers."""

from __future__ import annotations

import functools
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from support.hostile import mutators as m
from support.hostile.target import put, put_all, written

GOLDEN = Path(__file__).parents[2] / "golden"


@functools.cache
def tiny() -> Any:
    """A CLIP of eight tokens, float16: 200 kB."""
    from clipjax.models import catalog, shapes
    from clipjax.models.weights import Weights

    config = catalog.openai(16, catalog.vit(32, 16, 64, 1), catalog.text(64, 1, context_length=8, vocab_size=8))
    flat = {name: np.full(shape, 0.5, np.float16) for name, shape in shapes.shapes(config).items()}
    return Weights(flat, config, "tiny", {"format": "random"})


def torch_seeds() -> list[bytes]:
    return [(GOLDEN / "torchfile" / f"{name}.pt").read_bytes() for name in ("traced", "scripted", "views", "trainer")]


def torch(folder: Path, data: bytes) -> None:
    from checkpoints_convert import torchfile

    found = torchfile.read(put(folder, "x.pt", data))
    found.code()
    for array in found.tensors.values():
        array.sum()  # the pages behind it are there


def pickle_seeds() -> list[bytes]:
    import zipfile

    out = []
    for seed in torch_seeds():
        with zipfile.ZipFile(io.BytesIO(seed)) as file:
            out.append(file.read(next(n for n in file.namelist() if n.endswith("/data.pkl"))))
    return out


def torch_pickle(folder: Path, data: bytes) -> None:
    from checkpoints_convert import torchfile_pickle

    torchfile_pickle.loads(data)


def convert_seeds() -> list[bytes]:
    from checkpoints_convert import convert

    return [written(lambda path: convert.write(path, tiny(), "openai"), "x.pt")]


def checkpoint(folder: Path, data: bytes) -> None:
    from checkpoints_convert import convert

    convert.read(put(folder, "x.pt", data))


def safetensors_seeds() -> list[bytes]:
    from checkpoints_convert import convert, openai
    from clipjax.models import weights

    plain = openai.to_torch_layout(tiny().flat, "x")
    return [
        written(lambda path: weights.save(path, tiny()), "x.safetensors"),
        written(lambda path: convert.write(path, tiny(), "open_clip"), "x.safetensors"),
        written(lambda path: weights.save_tensors(path, plain, {}), "x.safetensors"),
    ]


def safetensors(folder: Path, data: bytes) -> None:
    from checkpoints_convert import convert

    options = convert.Options("quick_gelu")  # one of the seeds carries no configuration
    found = convert.read(put(folder, "x.safetensors", data), options).weights
    for array in found.flat.values():
        np.asarray(array, np.float32).sum()


def huggingface_seeds() -> list[bytes]:
    from checkpoints_convert import convert

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x"
        convert.write(out, tiny(), "huggingface")
        index = {"metadata": {}, "weight_map": {"logit_scale": "model.safetensors"}}
        names = ("config.json", "preprocessor_config.json", "model.safetensors")
        files = {name: (out / name).read_bytes() for name in names}
    return [m.packed(**files), m.packed(**files, **{"model.safetensors.index.json": json.dumps(index).encode()})]


def folder(folder: Path, data: bytes) -> None:
    from checkpoints_convert import convert

    put_all(folder, data)
    convert.read(folder)


def open_clip_seeds() -> list[bytes]:
    from checkpoints_convert import open_clip_config, openai
    from clipjax.models import weights

    plain = openai.to_torch_layout(tiny().flat, "x")
    content = written(lambda path: weights.save_tensors(path, plain, {}), "x.safetensors")
    config = open_clip_config.config_json(tiny().config)
    return [m.packed(**{"open_clip_config.json": json.dumps(config).encode(), "open_clip_model.safetensors": content})]


_OPCODES = [bytes([code]) for code in b"(.0Nq\x85\x86\x87}])tQRbsuehjJKM\x8a\x80\x81cX\x88\x89GaU"]
PICKLE_WORDS = (
    *_OPCODES, b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nSize\n", b"ctorch\nFloatStorage\n",
    b"c__torch__\nM\n)\x81",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"X\xff\xff\xff\x7f", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff",
    b"\x8a\xff",
    b"(" * 300, b"\x85" * 300, b"X\1\0\0\0a", b"q\0h\0",
)  # fmt: skip
