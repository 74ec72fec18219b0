"""Tokens per second beside OpenAI's SimpleTokenizer, in one process, alternating. Needs clip-anytorch for the ratio.

    python benchmarks/tokenizer.py [--rounds=7] [--texts=FILE]

Both tokenizers process every text once before the measurement, because OpenAI's caches every word. One thread.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import side_by_side

from clipjax.text import encode

KINDS = "small large old young red blue wooden plastic wild tame smiling sleeping".split()
THINGS = (
    "dog,cat,horse,fire engine,golden retriever,sports car,airliner,coffee mug,rocket,astronaut,grand piano,violin,"
    "hen,great white shark,goldfish,tree frog,box turtle,garter snake,tarantula,black swan,koala,sea anemone,"
    "hermit crab,flamingo,king penguin,sea lion,chow chow,tabby,lynx,brown bear,ladybug,monarch butterfly,hamster,"
    "zebra,hippopotamus,llama,orangutan,African elephant,giant panda,accordion,ambulance,backpack"
).split(",")
TEMPLATES = [
    "a photo of a {}.",
    "a blurry photo of the {}.",
    "a black and white photo of a {}.",
    "a low resolution photo of my {}.",
    "there is a {} in the scene.",
    "itap of a {}.",
    "a bright photo of many {}, one of them broken.",
    "the cartoon {}.",
    "a close-up photo of a {}, don't you think?",
    "A tattoo of the {}!",
]


def english_prompts() -> list[str]:
    """Class names in templates, 5,040 of them."""
    return [t.format(f"{k} {thing}") for t, k, thing in itertools.product(TEMPLATES, KINDS, THINGS)]


def reference() -> Callable[[str], list[int]]:
    """OpenAI's encoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clip-anytorch imports pkg_resources
        from clip.simple_tokenizer import SimpleTokenizer
    return SimpleTokenizer().encode


def compare(name: str, texts: list[str], rounds: int) -> side_by_side.Row:
    """One set of texts."""
    encoders = {side_by_side.OURS: encode, "clip-anytorch": reference()}
    ids = {who: [encoder(text) for text in texts] for who, encoder in encoders.items()}  # warms both
    calls = {who: (lambda encoder=encoder: [encoder(text) for text in texts]) for who, encoder in encoders.items()}
    different = sum(a != b for a, b in zip(*ids.values(), strict=True))
    tokens = sum(map(len, ids[side_by_side.OURS]))
    seconds = side_by_side.interleave(calls, rounds, warm=False)
    return side_by_side.Row("tokenizer", name, seconds, tokens, "token", extra={"texts with other ids": different})


def measure(args: argparse.Namespace) -> Iterator[side_by_side.Row]:
    """The built-in prompts, and the lines of a file if one is given."""
    yield compare("5,040 English prompts", english_prompts(), args.rounds)
    if args.texts:
        yield compare(args.texts.name, args.texts.read_text(encoding="utf-8").splitlines(), args.rounds)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--texts", type=Path, help="a UTF-8 file, one text a line")


if __name__ == "__main__":
    side_by_side.main(__doc__, measure, add_arguments)
