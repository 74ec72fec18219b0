"""Ids of tokenizer files beside open_clip's and transformers': none of 25,000 strings per family may differ."""

import random
import runpy
from pathlib import Path

import numpy as np
import pytest
import transformers
from support import trained_tokenizers

from clipjax.text import FileTokenizer

pytestmark = pytest.mark.peers
ROOT = Path(__file__).parents[2]
open_clip = runpy.run_path(str(ROOT / "tests" / "golden" / "make_tokenizers.py"))["open_clip"]
LATIN = [chr(c) for c in range(32, 0x250)]
ANY = [
    *LATIN,
    *(chr(c) for c in range(0x370, 0x500)),
    *(chr(c) for c in range(0x2000, 0x2070)),
    *"中文ひらが한국어عربى",
]


def strings(family: str) -> list[str]:
    """Without special tokens spelled out, which no rule can tell from the tokens themselves."""
    rng = random.Random(7)
    noise = ["".join(rng.choices(ANY, k=rng.randint(1, 40))) for _ in range(5000)]
    texts = [*trained_tokenizers.ODD, *trained_tokenizers.sentences(20_000, seed=3), *noise]
    return [text for text in texts if not any(token in text for token in trained_tokenizers.SPECIAL[family])]


def compare(texts: list[str], ours: np.ndarray, theirs: np.ndarray) -> None:
    different = [text for text, a, b in zip(texts, ours, theirs, strict=True) if (a != b).any()]
    print(f"{len(different)} of {len(texts)} strings differ ({len({tuple(r) for r in ours.tolist()})} distinct ids)")
    assert not different, [ascii(text) for text in different[:10]]


@pytest.mark.parametrize("family", trained_tokenizers.CONTEXT)
def test_open_clip(family, tmp_path):
    path, texts = trained_tokenizers.train(family, tmp_path), strings(family)
    made = FileTokenizer(path, trained_tokenizers.rules(family), trained_tokenizers.CONTEXT[family])
    assert len(texts) >= 20_000
    compare(texts, made.with_lengths(texts)[0], open_clip(family, tmp_path)(texts).numpy())


def test_transformers_siglip_2(tmp_path):
    """Its own class adds the lower case at run time; padding on the right, as the models were trained."""
    path, texts = trained_tokenizers.train("siglip2", tmp_path), strings("siglip2")
    theirs = transformers.Siglip2Tokenizer.from_pretrained(tmp_path, padding_side="right")
    ids = theirs(texts, padding="max_length", truncation=True, max_length=64, return_tensors="np").input_ids
    made = FileTokenizer(path, trained_tokenizers.rules("siglip2", "lower"), 64)
    compare(texts, made.with_lengths(texts)[0], ids)


def test_transformers_siglip(tmp_path):
    """Its class reads SentencePiece models, by the same library."""
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "corpus.txt").write_text("\n".join(trained_tokenizers.sentences(1000)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"), model_prefix=str(tmp_path / "spiece"), vocab_size=400, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    texts = strings("siglip")
    theirs = transformers.SiglipTokenizer(str(tmp_path / "spiece.model"), model_max_length=64)
    ids = theirs(texts, padding="max_length", truncation=True, max_length=64, return_tensors="np").input_ids
    made = FileTokenizer(tmp_path / "spiece.model", trained_tokenizers.rules("siglip", "remove_punctuation"), 64)
    compare(texts, made.with_lengths(texts)[0], ids)
