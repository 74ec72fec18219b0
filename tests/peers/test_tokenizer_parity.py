"""Our ids beside those of OpenAI's own SimpleTokenizer (clip-anytorch), string by string: none may differ.

CLIPJAX_TEST_DATA=FOLDER adds every text in the .csv files below that folder (captions, names, keywords).
Each test prints how many strings it compared.
"""

import csv
import gzip
import itertools
import os
import random
import runpy
import sys
import unicodedata
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from clipjax.text import encode, merges, tokenize, vocabulary

ROOT = Path(__file__).parents[2]
trim = runpy.run_path(str(ROOT / "experiments" / "data_files" / "make_vocabulary.py"))["trim"]

pytestmark = [pytest.mark.peers]

# Where the rules meet: contractions, entities, special tokens, quotes, mojibake, marks, case, width, white space.
FRAGMENTS = [
    *"'s 't 're 've 'm 'll 'd ' '' ’s ‘ ’ “ ” ′ ʼ 'ſ 'S 'LL & &amp; &amp;amp; &lt; &gt; &#39; &#x27; &quot;".split(" "),
    *"&eacute; &EACUTE; &nbsp; &hellip; &notit; &# &#128; &#0; ; <|endoftext|> <|startoftext|> <|ENDOFTEXT|>".split(
        " "
    ),
    *"<| |> <|ſtartoftext|> &lt;| |&gt; </w> Ã© â€™ â€œ Ã Â© ï»¿ \x85 \x1b[31m \x00 \x1c \ufeff \u200d \u200b".split(
        " "
    ),
    *"\xad e\u0301 e\u0323\u0301 e\u0301\u0323 \u0301 \ufb01 \u0149 \u01c4 ＡＢＣ ，。 Σ ΑΣ σς İ ı ſ ẞ".split(" "),
    *"\u0345 \u1fb3 \u212a \u212b \u1100\u1161 \uac00 か\u3099 が 中文 ひらがな عربى हिन्दी ไทย".split(" "),
    *"\U0001f468\u200d\U0001f469 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f ١٢ Ⅻ ½ ²".split(" "),
    *"a B dog DOGS 7 42 . , ! ? !! -- … _ / \\ ~ ` ^ |".split(" "),
    *[" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028"],
]
KINDS = "small large old young red blue wooden plastic wild tame smiling sleeping".split()
THINGS = (
    "dog,fire engine,coffee mug,St. Bernard,cart-horse,sports car,grand piano,chow chow,T-shirt,iPod,3D print".split(
        ","
    )
)
TEMPLATES = ["a photo of a {}.", "A {}!", "itap of my {}", "there isn't a {} in the scene", "the {}, 10 of them"]


@cache
def openai():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clip-anytorch imports pkg_resources
        import clip
        from clip import simple_tokenizer
    return clip, simple_tokenizer, simple_tokenizer.SimpleTokenizer()


@cache
def assigned_characters() -> list[str]:
    # Surrogates included: lone ones reach tokenizers through careless JSON.
    return [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) not in ("Cn", "Co")]


def compare(kind: str, texts: Iterable[str]) -> None:
    reference = openai()[2].encode
    texts = list(texts)
    different = [text for text in texts if encode(text) != reference(text)]
    print(f"{kind}: {len(different)} of {len(texts)} strings differ ({len(set(texts))} distinct)")
    assert not different, [ascii(text) for text in different[:10]]


def test_every_assigned_character():
    compare("every assigned character", (f"{character} x{character}Y" for character in assigned_characters()))


def test_random_characters():
    rng = random.Random(0)
    compare(
        "fuzz, any assigned character",
        ("".join(rng.choices(assigned_characters(), k=rng.randint(1, 24))) for _ in range(20_000)),
    )


def test_random_latin_1():
    # Dense in mojibake, control characters and entities' "&".
    rng = random.Random(1)
    latin = [chr(c) for c in range(256)]
    compare("fuzz, Latin-1", ("".join(rng.choices(latin, k=rng.randint(1, 24))) for _ in range(10_000)))


def test_random_fragments():
    rng = random.Random(2)
    compare(
        "fuzz, contractions and entities", ("".join(rng.choices(FRAGMENTS, k=rng.randint(1, 9))) for _ in range(30_000))
    )


def test_random_mojibake():
    rng = random.Random(3)

    def garbled(text: str) -> str:
        for _ in range(rng.randint(1, 2)):
            text = text.encode("utf-8").decode(rng.choice(["latin-1", "cp1252", "cp1251", "cp437"]), errors="ignore")
        return text

    compare(
        "fuzz, mojibake",
        (
            garbled(" ".join(rng.choices("café “naïve” Straße дом 犬 don’t über 5 € ✔".split(), k=4)))
            for _ in range(5_000)
        ),
    )


def test_random_words():
    # Words that no cache has seen: the merges themselves.
    rng = random.Random(4)
    letters = "eeeetaoinshrdluetaoin-'"
    compare("fuzz, words", ("".join(rng.choices(letters, k=rng.randint(2, 40))) for _ in range(20_000)))


def test_long_words():
    rng = random.Random(5)
    kinds = ["aehin", "abcdefghijklmnopqrstuvwxyz", "a", "ab", "!-", "é犬", "\U0001f600\u200d"]
    compare("words of up to 2,000 letters", ("".join(rng.choices(k, k=rng.randint(200, 2000))) for k in kinds * 10))


def test_names_of_characters():
    names = (unicodedata.name(character, "") for character in assigned_characters())
    compare(
        "names of symbols and emoji", (n.title() for n in names if n and "IDEOGRAPH" not in n and "HANGUL" not in n)
    )


def test_prompts():
    filled = (t.format(f"{k} {thing}") for t, k, thing in itertools.product(TEMPLATES, KINDS, THINGS))
    compare("prompts", filled)


def test_rows():
    clip = openai()[0]
    rng = random.Random(6)
    texts = ["".join(rng.choices(FRAGMENTS, k=rng.randint(0, 60))) for _ in range(3_000)]
    for length in (2, 16, 77):
        np.testing.assert_array_equal(
            tokenize(texts, length, truncate=True), clip.tokenize(texts, length, truncate=True).numpy()
        )
    print(f"rows: {3 * len(texts)} compared")


def test_vocabulary_and_merges():
    reference = openai()[2]
    assert list(vocabulary().items()) == list(reference.encoder.items())
    assert merges() == list(reference.bpe_ranks)


def test_vocabulary_file_is_the_trimmed_one():
    source = Path(openai()[1].default_bpe()).read_bytes()
    committed = Path(sys.modules["clipjax.text"].__file__).with_name("vocabulary.txt.gz").read_bytes()
    assert gzip.decompress(trim(source)) == gzip.decompress(committed)


@pytest.mark.skipif("CLIPJAX_TEST_DATA" not in os.environ, reason="CLIPJAX_TEST_DATA names no folder of captions")
def test_real_texts():
    tables = sorted(Path(os.environ["CLIPJAX_TEST_DATA"]).rglob("*.csv"))
    assert tables, "no .csv file below CLIPJAX_TEST_DATA"
    for table in tables:
        with table.open(encoding="utf-8", newline="") as lines:
            cells = [cell for row in csv.reader(lines) for cell in row if cell]
        compare(f"{table.parent.name}/{table.name}", dict.fromkeys(cells))
