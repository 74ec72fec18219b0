"""Show the main job offline: a small embedded model answers about drawings, and one more class moves its answers.

    clipjax demo
    clipjax demo --explore                                            # and then its class design in the browser

First what the model says, then who has no word in a list of classes and what one more class changes for whom, with
tests. Everything it writes lies in --out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import textwrap
import threading
from pathlib import Path

ABOUT = """\
The embedded model is tiny and has only seen emoji artwork, by another artist. It shows how the tool works, not how
well CLIP does. A zero-shot model always answers: shown {n} photographs, of which it can know nothing, it calls the
{truth} {answer!r} at {probability:.0%}."""

CLASS_DESIGN = """
2. Who has no word
290 drawings of people, asked with roles and fantasy beings (A: people-roles, 27 classes, no word for a child), then
with 'child' as well (B: people-roles-child). {moved} of {images} drawings got another answer:
"""

NEXT = """
3. What to do next
Read     {out}/comparison/report.html and {out}/people-roles/report.html
Change   the classes in the browser, and see who moves:
           clipjax explore {out}/people-roles --open
Measure  your own images and classes, with OpenAI's weights (--config.model=ViT-B/32: 351 MB, downloaded once):
           clipjax probe rates --config.data.csv={listing} --config.data.group_columns=age,skin_tone \\
             --config.design=people-roles+teenager --out={out}/mine
           clipjax compare {out}/people-roles {out}/mine
Ask      about one image:
           clipjax classify {photo} --classes="a cat,a dog,a rocket,an astronaut" --model=ViT-B/32"""
AHEAD = ("scipy.stats", *(f"matplotlib.{name}" for name in ("figure", "backends.backend_svg")))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax demo`."""
    parser.add_argument("--out", default="clipjax-demo", metavar="DIR", help="where files go (default: clipjax-demo)")
    parser.add_argument("--explore", action="store_true", help="then open the explorer; Ctrl-C ends it")


def run(args: argparse.Namespace) -> None:
    """Answers, prints, draws, characterises."""
    from clipjax import demo
    from clipjax.analysis.report import head
    from clipjax.demo import people
    from clipjax.errors import InputError
    from clipjax.files import write_atomically, write_text
    from clipjax.progress import Progress
    from clipjax.runs.config import plain, typed
    from clipjax.runs.engine import Engines
    from clipjax.runs.features import Features

    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror}); choose another --out") from error
    sections, answers = [], []
    image_sets = (demo.drawings(), demo.photographs())
    with Progress("demo", sum(len(p.images) for p in image_sets), "images") as progress:
        engines, asked = Engines(), people.configs(people.unpack(out / "people"))
        first = typed(plain(asked[0]))
        threading.Thread(target=_import_ahead, daemon=True).start()
        features = Features(engines.get(first), first, quiet=True)
        for image_set in image_sets:
            probabilities = demo.answer(features, image_set)
            sections.append((image_set, probabilities))
            progress.update(len(image_set.images))
            for truth, row in zip(image_set.truth, probabilities, strict=True):
                ranked = dict(sorted(zip(image_set.classes, map(float, row), strict=True), key=lambda x: -x[1]))
                answers.append({"set": image_set.title, "truth": truth, "probabilities": ranked})
    (drawn, drawn_answers), (photographs, guesses) = sections
    print("1. What the model says\n" + textwrap.fill(demo.summary(drawn, drawn_answers), head.WIDTH))
    surest = int(guesses.max(1).argmax())
    about = {"truth": photographs.truth[surest], "answer": photographs.classes[int(guesses[surest].argmax())]}
    print(ABOUT.format(n=len(photographs.truth), probability=float(guesses[surest].max()), **about))
    text = json.dumps({"model": features.engine.model.name, "answers": answers}, indent=1, ensure_ascii=False) + "\n"
    write_text(out / "answers.json", text)
    write_atomically(out / "demo.png", lambda path: demo.draw(path, sections))
    photo = out / "cat.jpg"
    cat = image_sets[1].images[image_sets[1].truth.index("cat")]
    write_atomically(photo, lambda path: cat.save(path, format="JPEG", quality=90))
    found = people.characterise(asked, out, engines)
    print(CLASS_DESIGN.format(moved=found.moved, images=found.images))
    print(f"{people.table(found)}\n\n{head.terminal(found.findings, 2, head.COMPARE)}\n\n{people.ABOUT}")
    print(NEXT.format(photo=photo, listing=out / "people" / "people.csv", out=out))
    if args.explore:
        from clipjax.explore.serve import serve

        print()
        serve(out / people.DESIGNS[0], browse=True)


def _import_ahead() -> None:
    """What the probe and its reports need, while XLA compiles on another processor."""
    for name in AHEAD:
        importlib.import_module(name)
