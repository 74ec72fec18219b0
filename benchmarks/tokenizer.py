"""Tokens a second beside OpenAI's SimpleTokenizer, in one process, in turns. Needs clip-anytorch for the ratio.

    PYTHONPATH=. python benchmarks/tokenizer.py [--rounds=7] [--texts=FILE]

Both tokenizers see every text once before the clock runs, as OpenAI's keeps every word it has seen. Each round
times both, in alternating order; the figures are medians over the rounds with the lowest and the highest. One
thread. DON'T COMPARE TOKENS PER SECOND ACROSS RUNS on a shared machine: the ratio is what holds.
"""

import argparse
import itertools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

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


def seconds(encoder: Callable[[str], list[int]], texts: list[str]) -> float:
    """Time for all texts one by one."""
    start = time.perf_counter()
    for text in texts:
        encoder(text)
    return time.perf_counter() - start


def reference() -> Callable[[str], list[int]] | None:
    """OpenAI's encoder where clip-anytorch is installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # clip-anytorch imports pkg_resources
            from clip.simple_tokenizer import SimpleTokenizer
    except ImportError:
        return None
    return SimpleTokenizer().encode


def spread(values: list[float], form: str) -> str:
    """Median with lowest and highest."""
    return f"{median(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def measure(name: str, texts: list[str], rounds: int) -> None:
    """Prints one line for one set of texts."""
    encoders = {"clipjax": encode}
    if openai := reference():
        encoders["OpenAI"] = openai
    ids = {who: [encoder(text) for text in texts] for who, encoder in encoders.items()}  # warms both
    tokens = sum(map(len, ids["clipjax"]))
    taken: dict[str, list[float]] = {who: [] for who in encoders}
    for turn in range(rounds):
        for who in list(encoders)[:: 1 if turn % 2 else -1]:
            taken[who].append(seconds(encoders[who], texts))
    print(f"{name}: {len(texts)} texts, {tokens} tokens, {rounds} rounds; thousand tokens a second:")
    for who, times in taken.items():
        print(f"  {who:8} {spread([tokens / t / 1e3 for t in times], '.0f')}")
    if openai:
        ratios = [o / c for o, c in zip(taken["OpenAI"], taken["clipjax"], strict=True)]
        different = sum(a != b for a, b in zip(ids["OpenAI"], ids["clipjax"], strict=True))
        print(f"  clipjax / OpenAI {spread(ratios, '.1f')}, texts with different ids: {different}")
    else:
        print("  no ratio: clip-anytorch is not installed (extra [peers])")


def main() -> None:
    """Times the built-in prompts, and the lines of a file if one is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=Path, help="a UTF-8 file, one text a line")
    arguments = parser.parse_args()
    measure("English prompts", english_prompts(), arguments.rounds)
    if arguments.texts:
        measure(arguments.texts.name, arguments.texts.read_text(encoding="utf-8").splitlines(), arguments.rounds)


if __name__ == "__main__":
    main()
