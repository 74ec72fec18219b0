"""The architectures of the registry that clipjax does not build, through the adapter of docs/other-models.md.

    python experiments/registry/adapter.py [--only=convnext_base,...]

Needs the extra [peers]; no weights and no network. One architecture after another: open_clip builds it with random
weights, clipjax loads it as `py:` model, makes its checks before the first batch (five images and five texts,
alone and together), and its features of a photograph and a text are compared with open_clip's own call. A text encoder
of Hugging Face is built from the sizes in HUB, with a small tokenizer trained here, and goes through a folder as
open_clip saves it. What needs more memory than is free is not run. Writes results/adapter.csv.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

FIELDS = ("architecture", "parameters", "embedding", "image", "text", "seconds", "message")
TABLE = HERE / "results" / "adapter.csv"
# Encoders of texts whose configuration lies on the hub: transformers' class of configuration, and sizes as published.
_ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_NLLB = {"vocab_size": 256_206, "d_model": 1024, "encoder_attention_heads": 16, "decoder_attention_heads": 16,
         "max_position_embeddings": 1024, "scale_embedding": True}  # fmt: skip
HUB: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta-base": ("RobertaConfig", _ROBERTA | {"vocab_size": 50_265}),
    "xlm-roberta-base": ("XLMRobertaConfig", _ROBERTA | {"vocab_size": 250_002}),
    "xlm-roberta-large": ("XLMRobertaConfig", _ROBERTA | _LARGE | {"vocab_size": 250_002}),
    "facebook/nllb-200-distilled-600M": (
        "M2M100Config", _NLLB | {"encoder_layers": 12, "decoder_layers": 1, "encoder_ffn_dim": 4096}),
    "facebook/nllb-200-distilled-1.3B": (
        "M2M100Config", _NLLB | {"encoder_layers": 24, "decoder_layers": 1, "encoder_ffn_dim": 8192}),
}  # fmt: skip
# Beside the page's file, whose `load` refuses a name without a tag: random weights, none of them a constant.
RANDOM = """
from open_clip_model import OpenClip
from support.peer_models import randomise

def load(argument):
    model = OpenClip(argument, None)
    randomise(model.net)
    return model
"""


def address(architecture: str, folder: Path) -> str:
    """Writes the page's file into the folder; under this address `clipjax.load` finds the architecture."""
    from support.docs_blocks import blocks

    (page,) = [b for b in blocks(ROOT / "docs" / "other-models.md") if b.title == "open_clip_model.py"]
    (folder / page.title).write_text(page.text)
    import open_clip

    model = open_clip.get_model_config(architecture)
    if hub := model["text_cfg"].get("hf_model_name"):
        saved(architecture, model, hub, folder)
        return f"py:{folder}/{page.title}:local-dir:{folder}/saved"
    (folder / "random_weights.py").write_text(RANDOM)
    sys.path.insert(0, str(folder))
    return f"py:{folder}/random_weights.py:{architecture}"


def saved(architecture: str, model: dict[str, Any], hub: str, folder: Path) -> None:
    """folder/saved as open_clip's hub push writes it, its text encoder and tokenizer from here."""
    import open_clip
    import transformers
    from open_clip.push_to_hf_hub import save_for_hf
    from support import peer_models, trained_tokenizers

    kind, sizes = HUB[hub]
    getattr(transformers, kind)(**sizes).save_pretrained(folder / "text")
    model["text_cfg"] |= {"hf_model_name": str(folder / "text"), "hf_tokenizer_name": str(folder / "saved")}
    path = folder / f"{architecture}-here.json"
    path.write_text(json.dumps(model))
    open_clip.add_model_config(path)
    net = open_clip.create_model(path.stem, pretrained=None, pretrained_text=False)
    peer_models.randomise(net)
    trained_tokenizers.train("metaclip2", folder / "saved")  # XLM's: start 0, padding 1, end 2

    class Tokenizer:
        def save_pretrained(self, target: Path) -> None:
            assert (target / "tokenizer.json").is_file()

    save_for_hf(net, Tokenizer(), model, folder / "saved", safe_serialization=True)


def judge(architecture: str) -> dict[str, Any]:
    """One row of the table."""
    import numpy as np
    import torch

    import clipjax
    from clipjax.custom import CustomModel
    from clipjax.runs import custom_checks

    begin = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        model = clipjax.load(address(architecture, Path(name)))
        assert isinstance(model, CustomModel)
        definition: Any = model.definition
        image, text = custom_checks.image_features(model, "proj"), custom_checks.text_features(model)
        net = definition.net
        photo = definition.transform(custom_checks.photograph())
        with torch.inference_mode():
            theirs = net.encode_image(photo[None])[0].numpy()
            words = net.encode_text(definition.tokenizer(list(custom_checks.TEXTS))).numpy()
        assert model.fingerprint
        sizes = {"parameters": sum(p.numel() for p in net.parameters()), "embedding": len(image)}
    return {
        "architecture": architecture, **sizes, "image": f"{difference(image, theirs, np):.1e}",
        "text": f"{difference(text, words, np):.1e}", "seconds": round(time.process_time() - begin), "message": "",
    }  # fmt: skip


def difference(ours: Any, theirs: Any, np: Any) -> float:
    """The largest, of the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def needed(architecture: str) -> float:
    """Gigabytes: the parameters, once more while they are read or hashed, and half a gigabyte for the rest."""
    import open_clip
    import torch

    if hub := open_clip.get_model_config(architecture)["text_cfg"].get("hf_model_name"):
        return 12.0 if "1.3B" in hub or "large" in hub else 6.0
    with torch.device("meta"):
        model = open_clip.create_model(architecture, pretrained=None, device="meta")
    return 2 * 4 * sum(p.numel() for p in model.parameters()) / 2**30 + 1.5


def free() -> float:
    """Gigabytes that are available."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) / 2**20


def row(architecture: str) -> dict[str, Any]:
    """`judge`; a row with a message where that fails or there is no memory."""
    needs = needed(architecture)
    if needs > free():
        return {"architecture": architecture, "message": f"not run: {needs:.1f} GB needed, {free():.1f} free"}
    try:
        return judge(architecture)
    except Exception as error:
        return {"architecture": architecture, "message": f"{type(error).__name__}: {error}"}
    finally:
        gc.collect()


def stored() -> dict[str, dict[str, Any]]:
    """The rows of results/adapter.csv by architecture."""
    if not TABLE.is_file():
        return {}
    with open(TABLE, newline="", encoding="utf-8") as file:
        return {row["architecture"]: row for row in csv.DictReader(file)}


def measure(architectures: list[str]) -> None:
    """Runs these, one at a time, and writes their rows beside those that are stored."""
    rows = stored()
    for architecture in architectures:
        rows[architecture] = row(architecture)
        print(rows[architecture], flush=True)
        TABLE.parent.mkdir(exist_ok=True)
        with open(TABLE, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[name] for name in sorted(rows))


def refused() -> list[str]:
    """Architectures of the registry that clipjax does not build."""
    from support import peer_registry

    native = {architecture for architecture, _ in peer_registry.native()}
    return sorted({architecture for architecture, _ in peer_registry.pairs()} - native)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="architectures, by commas")
    args = parser.parse_args()
    measure(args.only.split(",") if args.only else refused())


if __name__ == "__main__":
    main()
