"""Classify pictures into classes you name: probabilities per image.

    clipjax classify cat.jpg dog.png --classes=cat,dog
    clipjax classify *.jpg --classes=names.txt --model=ViT-B/32 --template="a photo of a {}." --top=3

Without --model the small embedded demo model answers; it has only ever seen emoji artwork.
"""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax classify`."""
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--classes", required=True, help="a,b,c or a text file with one class a line")
    parser.add_argument(
        "--model", help="released name, weights file, folder or hf://org/name (default: the demo model)"
    )
    parser.add_argument(
        "--template", action="append", help='prompt around the class (default: "a photo of a {}."); repeatable'
    )
    parser.add_argument("--top", type=int, default=5, help="how many classes to show (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of the table")


def run(args: argparse.Namespace) -> None:
    """Checks classes and pictures before the model is loaded, then answers."""
    from clipjax import design, image, loading
    from clipjax.classes import read_classes
    from clipjax.errors import InputError
    from clipjax.progress import say

    if args.top < 1:
        raise InputError(f"--top={args.top} shows nothing; choose 1 or more")
    asked = design.of_classes(read_classes(args.classes), args.template or (design.TEMPLATE,))
    classes, templates = asked.names, asked.templates
    pictures = [image.open_image(path) for path in args.images]
    if args.model is None:
        say("model: the embedded demo (emoji artwork only); --model=ViT-B/32 answers with OpenAI's weights")
    model = loading.load(args.model or loading.DEMO)
    probabilities = model.classify(pictures, classes, templates)
    answers: list[dict[str, Any]] = []
    for file, row in zip(args.images, probabilities, strict=True):
        best = sorted(range(len(classes)), key=lambda i: -row[i])[: args.top]
        answers.append({"file": file, "top": [{"class": classes[i], "probability": float(row[i])} for i in best]})
    if args.json:
        print(json.dumps(answers, indent=2, ensure_ascii=False))
        return
    width = max(len(c) for c in classes)
    for answer in answers:
        print(answer["file"])
        for guess in answer["top"]:
            bar = "#" * round(30 * guess["probability"])
            print(f"  {guess['probability']:7.2%}  {guess['class']:<{width}}  {bar}".rstrip())
