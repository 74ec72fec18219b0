"""Show the main job offline: a small embedded model answers about drawings and photographs.

    clipjax demo
    clipjax demo --explore                                            # and then its class design in the browser

First it answers about pictures, then it characterises a class design: who is given which classes, and what one more
class changes. Everything it writes lies in --out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

ABOUT = """\
The embedded model is tiny and has only seen emoji artwork: another artist's drawings of these 24 things, never
these, and no photograph at all. It shows how the tool works, not how well CLIP does."""

CLASS_DESIGN = """\
Class design: 290 drawings of people, asked with roles and fantasy beings (people-roles), then with 'child' as well.
How often the answer is a fantasy being, with 95% intervals; drawings that left and joined the set; McNemar's p:
"""

NEXT = """\
The same with your own pictures and classes, and with OpenAI's weights (351 MB, downloaded once):
  clipjax classify {photo} --model=ViT-B/32 --classes="a cat,a dog,a rocket,an astronaut"
  clipjax probe rates --config.data.csv={listing} --config.data.group_columns=age,skin_tone \\
      --config.design=people-roles+teenager --out={out}/mine
  clipjax compare {out}/people-roles {out}/mine
Change the class design in the browser and see who moves (pip install 'clipjax[explore]'):
  clipjax explore {out}/people-roles --open"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax demo`."""
    parser.add_argument("--out", default="clipjax-demo", metavar="DIR", help="where files go (default: clipjax-demo)")
    parser.add_argument("--explore", action="store_true", help="then open the explorer; Ctrl-C ends it")


def run(args: argparse.Namespace) -> None:
    """Answers, prints, draws, characterises."""
    from clipjax import demo, loading
    from clipjax.cli import explore
    from clipjax.demo import people
    from clipjax.errors import InputError
    from clipjax.files import write_atomically, write_text
    from clipjax.progress import Progress

    if args.explore:
        explore.check_extra()  # before half a minute of work
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
    write_text(out / "answers.json", text)
    write_atomically(out / "demo.png", lambda path: demo.draw(path, sections))
    photo = out / "cat.jpg"
    cat = pictures_of[1].images[pictures_of[1].truth.index("cat")]
    write_atomically(photo, lambda path: cat.save(path, format="JPEG", quality=90))
    print(CLASS_DESIGN)
    records, moved, images = people.characterise(out)
    print(people.table(records))
    print(f"\n{moved} of {images} drawings got another answer.\n{people.ABOUT}\n")
    print(f"Written: {out / 'demo.png'} (a picture of all answers), {out / 'answers.json'}, {photo}")
    for name in (*people.DESIGNS, "comparison"):
        print(f"Report:  {out / name / 'report.html'}")
    print("\n" + NEXT.format(photo=photo, listing=out / "people" / "people.csv", out=out))
    if args.explore:
        from clipjax.explore.serve import serve

        print()
        serve(out / people.DESIGNS[0], browse=True)
