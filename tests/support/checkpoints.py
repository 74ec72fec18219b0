"""Small models and the files that people's tools make of them, without those tools."""

import json
import pickle
import zipfile

import numpy as np
from safetensors.numpy import save_file

from checkpoints_convert import huggingface, open_clip, open_clip_config, openai, rules, torchfile_write
from checkpoints_convert.dialects import huggingface as dialects
from clipjax.models import catalog, clip, families, weights
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, OPENAI_RESIZE, Pixels

TEXT = catalog.text(64, layers=2, context_length=16, vocab_size=96)
VIT = catalog.openai(32, catalog.vit(32, 8, 64, 2), TEXT)
RESNET = catalog.openai(32, catalog.resnet(64, 8, (1, 2, 1, 1)), TEXT)
# As open_clip's ViT-H-14: heads of 80, exact GELU, pixels of its own.
WIDE = CLIP(
    48, families.image("openai", 28, 14, 320, 2, 4, 1280, "gelu", 1e-5),
    families.text("openai", 16, 96, 128, 2, 2, 512, "gelu", 1e-5),
    Pixels((0.5, 0.4, 0.3), (0.25, 0.26, 0.27), **OPENAI_RESIZE), CLIP_BPE, False,
)  # fmt: skip


def random_weights(config=VIT, dtype=np.float32, seed=0) -> weights.Weights:
    """`dtype` None: as in OpenAI's archives, Linear and convolution weights in float16, everything else in float32."""
    rng = np.random.default_rng(seed)
    mixed = {k: np.float16 if openai.is_halved(k) else np.float32 for k in clip.shapes(config)}
    flat = {k: rng.normal(size=s).astype(dtype or mixed[k]) for k, s in clip.shapes(config).items()}
    return weights.Weights(flat, config, "random", {"format": "test"})


def openai_names(loaded: weights.Weights) -> dict[str, np.ndarray]:
    """As torch has them: contiguous."""
    return {k: np.array(v, order="C") for k, v in openai.to_torch_layout(loaded.flat, "x").items()}


def huggingface_names(loaded: weights.Weights) -> dict[str, np.ndarray]:
    found = rules.from_native(dialects.CLIP, loaded.flat, "x")
    return {k: np.array(v, order="C") for k, v in found.items()}


def torch_file(path, tree):
    """A .pt of any tree: mappings stay, arrays are tensors, all else is pickled by Python itself as torch.save does."""
    arrays = []

    def packed(value) -> bytes:
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return torchfile_write._tensor(str(len(arrays) - 1), value)
        if type(value) is dict:
            items = b"".join(packed(k) + packed(v) for k, v in value.items())
            return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
        return pickle.dumps(value, protocol=2).removeprefix(b"\x80\x02").removesuffix(b".")

    body = pickle.PROTO + b"\x02" + packed(tree) + pickle.STOP
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", body)
        for i, array in enumerate(arrays):
            file.writestr(f"archive/data/{i}", np.ascontiguousarray(array).tobytes())
    return path


def flax_file(path, loaded):
    """flax_model.msgpack as transformers' Flax classes wrote it, through flax's own writer."""
    from flax import serialization

    tree = {}
    for name, array in huggingface_names(loaded).items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        if leaf == "weight" and array.ndim == 4:
            node["kernel"] = array.transpose(2, 3, 1, 0)
        elif leaf == "weight" and name.endswith(("token_embedding.weight", "position_embedding.weight")):
            node["embedding"] = array
        elif leaf == "weight":
            node["kernel" if array.ndim == 2 else "scale"] = array.T
        else:
            node[leaf] = array
    path.write_bytes(serialization.to_bytes(tree))
    return path


def huggingface_folder(folder, config, processor="preprocessor_config.json"):
    """The configuration of a folder, and no weights."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(huggingface.config_json(config, "float32")))
    pixels = huggingface._preprocessor_json(config)
    if processor == "processor_config.json":
        pixels = {"image_processor": pixels, "processor_class": "CLIPProcessor"}
    if processor:
        (folder / processor).write_text(json.dumps(pixels))
    return folder


def open_clip_folder(folder, config):
    folder.mkdir(exist_ok=True)
    (folder / open_clip.CONFIG_FILE).write_text(json.dumps(open_clip_config.config_json(config)))
    return folder


def sharded(folder, tensors, ending, write):
    """Two shards and their index, as transformers writes them."""
    names, stem = sorted(tensors), {"safetensors": "model", "bin": "pytorch_model"}[ending]
    where = {n: f"{stem}-{1 + i % 2:05}-of-00002.{ending}" for i, n in enumerate(names)}
    for shard in sorted(set(where.values())):
        write(folder / shard, {n: tensors[n] for n in names if where[n] == shard})
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def edited(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def save_safetensors(path, tensors):
    save_file(tensors, path)
    return path
