"""Building a zero-shot classifier: names x templates -> class weights, beside open_clip, clip-anytorch, transformers.

    python benchmarks/classifier.py [--names=25] [--model=ViT-B/32]

The names are ImageNet's first and the templates its 80, as in OpenAI's notebook; 1,000 names take 40 times as long as
25 in every library (each batches by class), so 25 are measured and the rate is per prompt. clipjax uses
`Model.classifier` without a cache; peers tokenize, encode all 77 positions in batches of one class, normalise, average.
The time includes the tokenizer. All must give the same classifier.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import released_files
import side_by_side

THREADS = side_by_side.threads()

import numpy as np  # noqa: E402

BAR = 5.0


def torch_classifier(encode: Callable, tokenize: Callable, names: list[str], templates: tuple[str, ...]) -> np.ndarray:
    """As OpenAI's notebook and open_clip's build_zero_shot_classifier do it, a class at a time."""
    import torch

    weights = []
    with torch.inference_mode():
        for name in names:
            features = encode(tokenize([t.replace("{}", name) for t in templates]))
            features = features / features.norm(dim=-1, keepdim=True)
            mean = features.mean(0)
            weights.append(mean / mean.norm())
    return torch.stack(weights).numpy()


def measure(args: argparse.Namespace) -> Iterator[side_by_side.Row]:
    """One row."""
    with tempfile.TemporaryDirectory() as temporary:
        files = released_files.make(Path(args.work or temporary), args.model)
        import clip
        import open_clip
        import torch
        from transformers import CLIPModel, CLIPTokenizerFast

        import clipjax
        from clipjax.data import info

        torch.set_num_threads(THREADS)
        asked = info.design("imagenet")
        names, templates = [c.texts[0] for c in asked.classes[: args.names]], asked.templates
        model = clipjax.load(files["clipjax"])
        stem = args.model.replace("/", "-").replace("@", "-").removesuffix("px") + "-quickgelu"
        second = open_clip.create_model(stem, pretrained=str(files["open_clip"])).eval()
        third, _ = clip.load(str(files["torchscript"]), device="cpu")
        fourth = CLIPModel.from_pretrained(files["huggingface"]).eval()
        fast = CLIPTokenizerFast.from_pretrained(files["huggingface"])
        open_tokens = open_clip.get_tokenizer(stem)

        def ours() -> np.ndarray:
            model._classifiers.clear()
            return model.classifier(names, templates)

        def hugging() -> np.ndarray:
            def ids(texts: list[str]) -> dict:
                return fast(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt")

            def encode(tokens: dict) -> torch.Tensor:
                pooled = fourth.text_model(**tokens).pooler_output
                return fourth.text_projection(pooled)

            return torch_classifier(encode, ids, names, templates)

        calls = {
            side_by_side.OURS: ours,
            "open_clip": lambda: torch_classifier(second.encode_text, open_tokens, names, templates),
            "clip-anytorch": lambda: torch_classifier(third.encode_text, clip.tokenize, names, templates),
            "transformers": hugging,
        }
        want = calls[side_by_side.OURS]()
        for who, call in calls.items():
            cosine = (call() * want).sum(1).min()
            if cosine < 1 - 1e-5:  # float32 sums in other orders; float16 weights are the same on all sides
                raise SystemExit(f"{who} builds another classifier: cosine {cosine}")
        seconds = side_by_side.interleave(calls, args.rounds, args.budget, warm=False)
        case = f"{args.model}, {len(names)} names x {len(templates)} templates"
        yield side_by_side.Row("classifier build", case, seconds, len(names) * len(templates), "prompt", BAR)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--names", type=int, default=25)
    parser.add_argument("--model", default="ViT-B/32")
    parser.add_argument("--budget", type=float, default=240)
    parser.add_argument("--work", help="where the weights files are made and kept (default: a temporary folder)")


if __name__ == "__main__":
    side_by_side.main(__doc__, measure, add_arguments)
