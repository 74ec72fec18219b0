"""Cold start to an answer: `clipjax classify photo.jpg --classes=...` as a new process beside the peers' scripts.

    python benchmarks/cold_start.py --model=ViT-B/32 --work=/dev/shm/work

Every candidate is a complete process: interpreter, imports, weights from a local file, tokenizer, one image, softmax.
clipjax runs twice: with an empty folder of compiled programs, and with the programs of the first run, as on every later
start. Peers load their own formats (open_clip and transformers float32 safetensors, OpenAI's code its archive).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import released_files
import side_by_side
from side_by_side import OURS, Row, interleave

CLASSES = "dog,cat"
OPEN_CLIP = """
import sys, torch, open_clip
from PIL import Image
photo, path, name = sys.argv[1:]
model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=path)
model.eval()
texts = open_clip.get_tokenizer(name)(["a photo of a dog.", "a photo of a cat."])
with torch.inference_mode():
    image = model.encode_image(preprocess(Image.open(photo)).unsqueeze(0), normalize=True)
    text = model.encode_text(texts, normalize=True)
    print((model.logit_scale.exp() * image @ text.T).softmax(-1))
"""
OPENAI = """
import sys, warnings; warnings.filterwarnings("ignore")
import torch, clip
from PIL import Image
photo, path = sys.argv[1:]
model, preprocess = clip.load(path, device="cpu")
texts = clip.tokenize(["a photo of a dog.", "a photo of a cat."])
with torch.inference_mode():
    print(model(preprocess(Image.open(photo)).unsqueeze(0), texts)[0].softmax(-1))
"""
TRANSFORMERS = """
import sys, torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor
photo, path = sys.argv[1:]
model, processor = CLIPModel.from_pretrained(path).eval(), CLIPProcessor.from_pretrained(path)
texts = ["a photo of a dog.", "a photo of a cat."]
with torch.inference_mode():
    inputs = processor(text=texts, images=Image.open(photo), return_tensors="pt", padding=True)
    print(model(**inputs).logits_per_image.softmax(-1))
"""


def measure(args: argparse.Namespace) -> Iterator[Row]:
    side_by_side.threads()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.work or temporary)
        files = released_files.make(folder, args.model)
        photo, programs = str(files["photo"]), folder / "programs"
        ours = ["-m", "clipjax.cli.main", "classify", photo, f"--classes={CLASSES}", f"--model={files['clipjax']}"]
        name = args.model.replace("/", "-").replace("@", "-").removesuffix("px") + "-quickgelu"
        spent: dict[str, list[float]] = {k: [] for k in (OURS, "empty", "open_clip", "clip-anytorch", "transformers")}
        peers = {
            "open_clip": process("-c", OPEN_CLIP, photo, str(files["open_clip"]), name, processor=spent["open_clip"]),
            "clip-anytorch": process("-c", OPENAI, photo, str(files["torchscript"]), processor=spent["clip-anytorch"]),
            "transformers": process(
                "-c", TRANSFORMERS, photo, str(files["huggingface"]), processor=spent["transformers"]
            ),
        }
        os.environ["CLIPJAX_COMPILATION_CACHE"] = str(programs)

        def empty() -> None:
            shutil.rmtree(programs, ignore_errors=True)
            process(*ours, processor=spent["empty"])()

        candidates = {"empty": empty, OURS: process(*ours, processor=spent[OURS])} | peers
        seconds = interleave(candidates, args.rounds, warm=False)  # every call is a process of its own
        first = seconds.pop("empty")
        rest = {k: v for k, v in seconds.items() if k != OURS}
        extra = {"processor seconds": spent}
        bar = 1 / 0.6  # at most 0.6 of open_clip's time
        yield Row(
            "cold_start", f"{args.model}, one image, cached programs", seconds, unit="answer", bar=bar, extra=extra
        )
        yield Row(
            "cold_start", f"{args.model}, one image, no cached programs", {OURS: first} | rest, unit="answer", bar=bar
        )


def process(*arguments: str, processor: list[float] | None = None) -> Callable[[], None]:
    def call() -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if processor is not None:
            processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode:
            raise SystemExit(done.stderr)

    return call


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="ViT-B/32")
    parser.add_argument("--work", metavar="DIR", help="keeps the files there (default: a temporary folder)")


if __name__ == "__main__":
    side_by_side.main(__doc__, measure, add_arguments)
