"""Classify images into your classes: print probabilities for each image.

    clipjax classify cat.jpg dog.png --classes=cat,dog
    clipjax classify *.jpg --classes=names.txt --model=ViT-B/32 --template="a photo of a {}." --top=3

The default model is the small embedded demo model, which was trained on emoji artwork only. An image that cannot be
read is named on stderr and the others are classified. If no image can be read, the command fails.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from clipjax.skipping import Skipped

AT_ONCE = 64  # images decoded at a time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax classify`."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument("--classes", required=True, help="a,b,c or a text file with one class per line")
    parser.add_argument(
        "--model", help="released name, weights file, folder, hf://org/name or py:FILE.py (default: the demo model)"
    )
    parser.add_argument(
        "--template", action="append", help='prompt around the class (default: "a photo of a {}."); repeatable'
    )
    parser.add_argument("--top", type=int, default=5, help="number of classes to show (default: 5)")
    parser.add_argument(
        "--max-skipped", type=float, default=1.0, metavar="SHARE",
        help="fail if more than this share of the images cannot be read (default: 1; one image is always allowed)",
    )  # fmt: skip
    from clipjax import loading
    from clipjax.probes.zeroshot import PROBABILITIES

    parser.add_argument(
        "--probability", choices=PROBABILITIES,
        help="softmax over the classes, or sigmoid of each by itself (default: what the model was trained for)",
    )  # fmt: skip
    loading.add_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON list instead of the table")


def run(args: argparse.Namespace) -> None:
    """Checks the classes and the first images before it loads the model, then classifies."""
    from clipjax import design, image, loading, skipping
    from clipjax.classes import read_classes
    from clipjax.errors import InputError, some
    from clipjax.progress import say
    from clipjax.runs import account

    if args.top < 1:
        raise InputError(f"--top={args.top} shows nothing; choose 1 or more")
    skipping.allowed(1, args.max_skipped)
    asked = design.of_classes(read_classes(args.classes), args.template or (design.TEMPLATE,))
    classes, templates = asked.names, asked.templates
    prompts = dict(zip(classes, asked.prompts(), strict=True))
    skipped: list[Skipped] = []
    chunks = _opened(args.images, image.usable_processors(), skipped)
    first = next(chunks)  # report unreadable images before the model is loaded
    skipping.check(skipped, len(args.images), args.max_skipped, "the command line", "--max-skipped")
    model = loading.load(args.model or loading.DEMO, options=loading.options_of(args))
    probability = args.probability or model.probability
    answers: list[dict[str, Any]] = []
    for files, images in itertools.chain([first], chunks):
        skipping.check(skipped, len(args.images), args.max_skipped, "the command line", "--max-skipped")
        rows = model.classify(images, classes, templates, probability) if images else []
        for file, row in zip(files, rows, strict=True):
            best = sorted(range(len(classes)), key=lambda i: -row[i])[: args.top]
            top = [{"class": classes[i], "probability": float(row[i])} for i in best]
            answers.append({"file": file, "probability": probability, "top": top})
    weights = account.weights_of(args.model or loading.DEMO, model.source)
    demo = "" if args.model else account.DEMO
    for line in account.describe(model.name, *weights, some(args.images, 3), len(answers), skipped, prompts, demo):
        say(line)
    if probability == "sigmoid":
        say("probabilities: sigmoid, of each class by itself; --probability=softmax makes them sum to 1")
    if args.json:
        print(json.dumps(answers, indent=2, ensure_ascii=False))
        return
    width = max(len(c) for c in classes)
    for answer in answers:
        print(answer["file"])
        for guess in answer["top"]:
            bar = "#" * round(30 * guess["probability"])
            print(f"  {guess['probability']:7.2%}  {guess['class']:<{width}}  {bar}".rstrip())


def _opened(
    files: Sequence[str], threads: int, skipped: list[Skipped]
) -> Iterator[tuple[list[str], list[Image.Image]]]:
    """The names and the readable images in chunks; unreadable images are appended to `skipped`."""
    from clipjax import image
    from clipjax.errors import InputError
    from clipjax.skipping import Skipped

    def opened(file: str) -> Image.Image | str:
        try:
            return image.open_image(file)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(files), AT_ONCE):
            part = files[start : start + AT_ONCE]
            found = list(zip(part, pool.map(opened, part), strict=True))
            for i, (file, what) in enumerate(found):
                if isinstance(what, str):
                    skipped.append(Skipped(start + i, file, what))
            good = [(file, what) for file, what in found if not isinstance(what, str)]
            yield [file for file, _ in good], [what for _, what in good]
