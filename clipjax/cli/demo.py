"""Show the main job offline: a small embedded model answers about drawings and photographs.

    clipjax demo

Prints a table, writes demo.png and answers.json to --out, and says what to try next.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

ABOUT = """\
The embedded model is tiny and has only seen emoji artwork: another artist's drawings of these 24 things, never
these, and no photograph at all. It shows how the tool works, not how well CLIP does."""

NEXT = """\
Next, with OpenAI's weights (351 MB, downloaded once):
  clipjax classify {photo} --model=ViT-B/32 --classes="a cat,a dog,a rocket,an astronaut"
  clipjax models"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax demo`."""
    parser.add_argument("--out", default="clipjax-demo", metavar="DIR", help="where files go (default: clipjax-demo)")


def run(args: argparse.Namespace) -> None:
    """Answers, prints, draws."""
    from clipjax import demo, loading
    from clipjax.errors import InputError
    from clipjax.models.weights import write_atomically
    from clipjax.progress import Progress

    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror}); choose another --out") from error
    sections, answers = [], []
    pictures_of = (demo.drawings(), demo.photographs())
    with Progress("demo", sum(len(p.images) for p in pictures_of), "images") as progress:
        model = loading.load(loading.DEMO)
        for pictures in pictures_of:
            probabilities = model.classify(pictures.images, pictures.classes)
            sections.append((pictures, probabilities))
            progress.update(len(pictures.images))
            for truth, row in zip(pictures.truth, probabilities, strict=True):
                ranked = dict(sorted(zip(pictures.classes, map(float, row), strict=True), key=lambda x: -x[1]))
                answers.append({"set": pictures.title, "truth": truth, "probabilities": ranked})
    print("\n\n".join(demo.table(*section) for section in sections))
    print(f"\n{ABOUT}\n")
    text = json.dumps({"model": model.name, "answers": answers}, indent=1, ensure_ascii=False) + "\n"
    write_atomically(out / "answers.json", lambda path: path.write_text(text, encoding="utf-8"))
    write_atomically(out / "demo.png", lambda path: demo.draw(path, sections))
    photo = out / "cat.jpg"
    cat = pictures_of[1].images[pictures_of[1].truth.index("cat")]
    write_atomically(photo, lambda path: cat.save(path, format="JPEG", quality=90))
    print(f"Written: {out / 'demo.png'} (a picture of all answers), {out / 'answers.json'}, {photo}\n")
    print(NEXT.format(photo=photo))
