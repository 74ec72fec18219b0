"""One image classified in a warm process: from PIL image to probabilities, beside every peer.

    python benchmarks/latency.py --model=ViT-B/32 --work=/dev/shm/work

The same weights and the same image everywhere, float32. Once with the class features of 10 classes computed before
(as a server does; clipjax caches them), once with the classes encoded at each call. Answers are compared.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import released_files
import side_by_side
from side_by_side import OURS, Row, interleave

CLASSES = ["dog", "cat", "tree", "house", "car", "boat", "plane", "horse", "child", "street"]
TEXTS = [f"a photo of a {name}." for name in CLASSES]
BAR = 1.1


def measure(args: argparse.Namespace) -> Iterator[Row]:
    count = side_by_side.threads()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as temporary:
        files = released_files.make(Path(args.work or temporary), args.model)
        import numpy as np
        import torch
        from PIL import Image

        torch.set_num_threads(count)
        picture = Image.open(files["photo"])
        picture.load()
        kept: dict[str, Callable[[], Any]] = {}
        encoded: dict[str, Callable[[], Any]] = {}
        for name, make in {
            OURS: ours, "open_clip": open_clip, "clip-anytorch": openai, "transformers": transformers
        }.items():  # fmt: skip
            kept[name], encoded[name] = make(files, args.model, picture)
        want = kept[OURS]()
        for name, call in (kept | {f"{k} encoding": v for k, v in encoded.items()}).items():
            found = call()
            if np.abs(found - want).max() > 1e-3:  # float32 here and there, times a scale of up to 100
                raise SystemExit(f"{name} answers {found}, clipjax {want}")
        rounds = args.rounds * 4  # a call takes a twentieth of a second
        for case, calls in (("cached class features", kept), ("10 classes encoded at each call", encoded)):
            yield Row("latency", f"{args.model}, {case}", interleave(calls, rounds), unit="image", bar=BAR)


def ours(files: dict[str, Path], name: str, picture: Any) -> tuple[Callable, Callable]:
    import clipjax

    model = clipjax.load(files["clipjax"])

    def encoding() -> Any:
        model._classifiers.clear()
        return model.classify(picture, CLASSES)

    return lambda: model.classify(picture, CLASSES), encoding


def open_clip(files: dict[str, Path], name: str, picture: Any) -> tuple[Callable, Callable]:
    import open_clip as peer

    stem = name.replace("/", "-").replace("@", "-").removesuffix("px") + "-quickgelu"
    model, _, preprocess = peer.create_model_and_transforms(stem, pretrained=str(files["open_clip"]))
    return _torch(model.eval(), preprocess, peer.get_tokenizer(stem), picture)


def openai(files: dict[str, Path], name: str, picture: Any) -> tuple[Callable, Callable]:
    import clip

    model, preprocess = clip.load(str(files["torchscript"]), device="cpu")
    return _torch(model.eval(), preprocess, clip.tokenize, picture)


def _torch(model: Any, preprocess: Callable, tokenize: Callable, picture: Any) -> tuple[Callable, Callable]:
    """Both have OpenAI's interface; every step follows their README."""
    import torch

    @torch.inference_mode()
    def classes() -> Any:
        features = model.encode_text(tokenize(TEXTS))
        return features / features.norm(dim=-1, keepdim=True)

    @torch.inference_mode()
    def answer(text: Any) -> Any:
        features = model.encode_image(preprocess(picture).unsqueeze(0))
        features = features / features.norm(dim=-1, keepdim=True)
        return (model.logit_scale.exp() * features @ text.T).softmax(-1).numpy()

    before = classes()
    return lambda: answer(before), lambda: answer(classes())


def transformers(files: dict[str, Path], name: str, picture: Any) -> tuple[Callable, Callable]:
    import torch
    from transformers import CLIPModel, CLIPProcessor

    model = CLIPModel.from_pretrained(files["huggingface"]).eval()
    processor = CLIPProcessor.from_pretrained(files["huggingface"])

    def unit(output: Any) -> Any:
        features = output if isinstance(output, torch.Tensor) else output.pooler_output  # since transformers 5
        return features / features.norm(dim=-1, keepdim=True)

    @torch.inference_mode()
    def classes() -> Any:
        return unit(model.get_text_features(**processor(text=TEXTS, return_tensors="pt", padding=True)))

    @torch.inference_mode()
    def answer(text: Any) -> Any:
        image = unit(model.get_image_features(**processor(images=picture, return_tensors="pt")))
        return (model.logit_scale.exp() * image @ text.T).softmax(-1).numpy()

    before = classes()
    return lambda: answer(before), lambda: answer(classes())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="ViT-B/32")
    parser.add_argument("--work", metavar="DIR", help="keeps the files there (default: a temporary folder)")


if __name__ == "__main__":
    side_by_side.main(__doc__, measure, add_arguments)
