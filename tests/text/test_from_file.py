"""Tokenizers of a model's own file: open_clip's ids of every family's form, and files that cannot be used."""

import json
import string
from pathlib import Path

import numpy as np
import pytest

from clipjax.errors import InputError
from clipjax.models.inputs import Tokens
from clipjax.text import FileTokenizer, copy_beside, find
from clipjax.text.cleaning import clean

pytest.importorskip("tokenizers")
from support import trained_tokenizers

GOLDEN = Path(__file__).parents[1] / "golden" / "tokenizers"
FAMILIES = tuple(trained_tokenizers.CONTEXT)


def tokenizer(family, rules=None, folder=GOLDEN):
    rules = rules or trained_tokenizers.rules(family)
    return FileTokenizer(folder / family / "tokenizer.json", rules, trained_tokenizers.CONTEXT[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_open_clips(family):
    stored = json.loads((GOLDEN / "ids.json").read_text())
    ids, lengths = tokenizer(family).with_lengths(stored["texts"])
    expected = np.array(stored["ids"][family])
    assert ids.dtype == np.int32
    different = [text for text, a, b in zip(stored["texts"], ids, expected, strict=True) if (a != b).any()]
    assert different == []
    assert (lengths > ids.shape[1]).any()  # cut texts are among them
    assert len({tuple(row) for row in ids.tolist()}) > 40


@pytest.mark.parametrize("change", ["clean", "pad_id", "relabel", "clips"])
def test_each_rule_changes_ids(change):
    stored = json.loads((GOLDEN / "ids.json").read_text())
    family = {"clean": "siglip", "pad_id": "siglip", "relabel": "clipa", "clips": "openvision"}[change]
    rules = trained_tokenizers.rules(family)
    other = {"clean": "none", "pad_id": 0, "relabel": None, "clips": None}[change]
    changed = Tokens(**{**vars(rules), change: other})
    ids, _ = tokenizer(family, changed).with_lengths(stored["texts"])
    assert (ids != np.array(stored["ids"][family])).any()


def test_what_a_file_says_of_padding_and_cutting_is_left_aside(tmp_path):
    """Left padding to the longest of a batch, and 5 tokens: as a saved training tokenizer may say."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(GOLDEN / "siglip" / "tokenizer.json"))
    made.enable_padding(direction="left", pad_id=2, pad_token="<unk>")
    made.enable_truncation(5)
    (tmp_path / "siglip").mkdir()
    made.save(str(tmp_path / "siglip" / "tokenizer.json"))
    texts = ["a photo of a dog.", "dog", "word " * 300]
    for a, b in zip(
        tokenizer("siglip", folder=tmp_path).with_lengths(texts), tokenizer("siglip").with_lengths(texts), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_lengths_are_those_before_cutting(family):
    made = tokenizer(family)
    _, (short, long) = made.with_lengths(["dog", "dog " * 300])
    assert short < 12
    assert long >= 300


CLEANED = {
    "openai": [("A  Dog&amp;", "a dog&"), ("caf\u00c3\u00a9", "café")],
    "whitespace": [("A  Dog&amp;", "A Dog&"), (" x\ty ", "x y")],
    "canonicalize": [("A golden_retriever, no?", "a golden retriever no"), ("x…y", "x…y")],
    "remove_punctuation": [("A golden_retriever, no?", "a goldenretriever no"), ("&amp;", "amp")],
    "lower": [("A  Dog&amp;", "a  dog&amp;"), ("ΟΔΟΣ", "οδοσ")],
    "none": [(" A ", " A ")],
}


@pytest.mark.parametrize("rule", CLEANED)
def test_cleaning(rule):
    for text, expected in CLEANED[rule]:
        assert clean(text, rule) == expected
    if rule in ("canonicalize", "remove_punctuation"):
        assert clean(string.punctuation, rule) == ""


def test_sentencepiece_models(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "corpus.txt").write_text("\n".join(trained_tokenizers.sentences(500)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"), model_prefix=str(tmp_path / "spiece"), vocab_size=300, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    made = FileTokenizer(tmp_path / "spiece.model", trained_tokenizers.rules("siglip"), 64)
    ids, lengths = made.with_lengths(["a photo of a dog.", "dog " * 100])
    library = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    words = library.encode("a photo of a dog")  # canonicalize removes the full stop
    assert ids[0].tolist() == words + [1] * (64 - len(words))
    assert (ids[1, -1], lengths[1]) == (1, 1 + len(library.encode("dog " * 100)))
    assert lengths[0] == len(words) + 1


def test_a_damaged_file_and_what_is_not_text_are_one_line(tmp_path):
    (tmp_path / "siglip").mkdir()
    (tmp_path / "siglip" / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(InputError, match=r"cannot be read as a tokenizer\.json .*; copy it again"):
        tokenizer("siglip", folder=tmp_path)
    with pytest.raises(InputError, match=r"texts\[1\] is int"):
        tokenizer("siglip").with_lengths(["a", 1])


def test_where_a_tokenizer_lies(tmp_path):
    weights, folder = tmp_path / "model.safetensors", tmp_path / "folder"
    folder.mkdir()
    weights.write_bytes(b"")
    assert find(weights) is None
    assert find(folder) is None
    source = GOLDEN / "siglip" / "tokenizer.json"
    assert copy_beside(source, weights) == tmp_path / "model.tokenizer.json" == find(weights)
    assert copy_beside(source, folder) == folder / "tokenizer.json" == find(folder)
    other = tmp_path / "other.safetensors"
    assert find(other) is None
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    assert find(other) == tmp_path / "tokenizer.json"
    assert find(weights) == tmp_path / "model.tokenizer.json"
