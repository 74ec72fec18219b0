"""Token ids against OpenAI's (golden/tokens.json), and the promises that hold for any text."""

import gzip
import hashlib
import html
import json
import runpy
import subprocess
import sys
from heapq import heappop
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import ftfy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipjax.errors import InputError
from clipjax.text import END, START, cleaning, decode, encode, merges, tokenize, tokenize_with_lengths, vocabulary
from clipjax.text import tokenizer as implementation

ROOT = Path(__file__).parents[2]
trim = runpy.run_path(str(ROOT / "experiments" / "data_files" / "make_vocabulary.py"))["trim"]

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "tokens.json").read_text(encoding="ascii"))
KINDS = sorted({case["kind"] for case in GOLDEN["encode"]})
PRINTABLE_ASCII = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
# Pieces of special tokens, entities and contractions, which random text hardly ever spells.
PITFALLS = st.lists(
    st.sampled_from(["<|endoftext|>", "<|STARTOFTEXT|>", "<|", "|>", "&lt;", "&amp;", "'s", "ſ", "\u0345", " ", "a"])
).map("".join)
ANY_TEXT = st.text() | PRINTABLE_ASCII | PITFALLS


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_openais(kind):
    cases = [case for case in GOLDEN["encode"] if case["kind"] == kind]
    assert {case["text"]: encode(case["text"]) for case in cases} == {case["text"]: case["ids"] for case in cases}


def test_decoded_text_is_openais():
    for case in GOLDEN["encode"]:
        assert decode(case["ids"]) == case["decoded"], case["text"]


def test_rows_are_openais():
    for case in GOLDEN["tokenize"]:
        row = tokenize(case["text"], case["context_length"], truncate=True)
        np.testing.assert_array_equal(row, [case["ids"]], err_msg=case["text"][:40])


def test_golden_file_covers_the_known_differences():
    assert len(GOLDEN["encode"]) >= 150
    assert {"curly quotes", "entities", "mojibake", "long s", "iota", "case", "special", "jamo"} <= set(KINDS)


def test_one_text_gives_one_row_and_no_texts_give_none():
    row = tokenize("a photo of a dog")
    assert (row.shape, row.dtype) == ((1, 77), np.int32)
    assert row[0].tolist() == [START, 320, 1125, 539, 320, 1929, END] + [0] * 70
    assert tokenize([]).shape == (0, 77)
    assert tokenize(["a", ""], context_length=3).tolist() == [[START, 320, END], [START, END, 0]]


@given(st.lists(ANY_TEXT, max_size=4), st.integers(2, 24))
def test_rows_hold_the_ids_between_start_and_end(texts, length):
    ids, lengths = tokenize_with_lengths(texts, length)
    assert ids.shape == (len(texts), length)
    assert ids.dtype == lengths.dtype == np.int32
    for text, row, count in zip(texts, ids.tolist(), lengths.tolist(), strict=True):
        whole = encode(text)
        assert count == len(whole) + 2
        assert row == ([START, *whole[: length - 2], END] + [0] * length)[:length]
    np.testing.assert_array_equal(tokenize(texts, length, truncate=True), ids)


@given(st.lists(st.from_regex(r"[a-z]{1,12}", fullmatch=True), max_size=8))
def test_words_come_back(words):
    assert decode(encode(" ".join(words))) == "".join(word + " " for word in words)


@given(PRINTABLE_ASCII)
def test_decoded_ascii_has_the_same_ids(text):
    ids = encode(text)
    assert encode(decode(ids)) == ids


@given(ANY_TEXT)
def test_only_white_space_and_u0345_are_lost(text):
    mended = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    expected = implementation._SPACES.sub("", mended).lower().replace("\u0345", "")
    assert decode(encode(text)).replace(" ", "") == expected


@given(PRINTABLE_ASCII.filter(lambda text: "&" not in text))
def test_the_short_cut_for_ascii_changes_nothing(text):
    assert implementation._pieces(text) == implementation._pieces(text + " é")[:-1]


def _merge_as_openai_describes_it(word: bytes) -> list[int]:
    ids, rank = vocabulary(), {pair: i for i, pair in enumerate(merges())}
    byte_symbols = list(vocabulary())[:256]
    symbols = [next(s for s in byte_symbols if decode([ids[s]]).encode() == bytes([b])) for b in word]
    symbols[-1] += "</w>"
    while any(pair in rank for pair in pairwise(symbols)):
        best = min((pair for pair in pairwise(symbols) if pair in rank), key=rank.__getitem__)
        i = 0
        while i < len(symbols) - 1:
            if (symbols[i], symbols[i + 1]) == best:
                symbols[i : i + 2] = ["".join(best)]
            i += 1
    return [ids[symbol] for symbol in symbols]


@given(st.text("aehinostr!-", min_size=1, max_size=40))
def test_merges_are_those_of_the_plain_loop(word):
    assert implementation._merge(word.encode()) == _merge_as_openai_describes_it(word.encode())


def test_work_on_a_long_word_is_bounded(monkeypatch):
    word = "".join(chr(ord("a") + i * i % 26) for i in range(10_000))
    pops = []
    monkeypatch.setattr(implementation, "heappop", lambda heap: pops.append(1) or heappop(heap))
    ids = encode(word)
    # A byte starts one pair at most, and a merge removes a symbol and makes two pairs at most.
    assert 0 < len(pops) <= 3 * len(word)
    assert decode(ids) == word + " "


def test_a_word_of_100_000_letters_and_a_megabyte_of_marks_come_through():
    assert decode(encode("a" * 100_000)) == "a" * 100_000 + " "
    # Alternating marks in the wrong order: hours of comparisons if they are left to be sorted by insertion.
    assert len(encode("\u0301\u0316" * 500_000)) == 2_000_000


@given(st.lists(st.sampled_from("a é \u0301 \u0316 \u0344 \u0f73 \u0f71 \u093c \u20dd \u034f".split(" ")), max_size=30))
def test_ordering_marks_first_changes_nothing(characters):
    text = "".join(characters)
    ordered = cleaning._MARKS.sub(cleaning._in_canonical_order, text)
    assert ftfy.fix_text(ordered) == ftfy.fix_text(text)


def test_the_caches_are_bounded():
    for cached in implementation._PIECE_IDS.values():
        assert 0 < cached.cache_info().maxsize <= 1 << 16
        before = cached.cache_info().currsize
        encode("x" * 65 + "never seen", "openai" if cached is implementation._PIECE_IDS["openai"] else "text")
        encode("y" * 65, "openai" if cached is implementation._PIECE_IDS["openai"] else "text")
        assert cached.cache_info().currsize <= before + 1  # "seen", and not the words of 65 letters and more


CUT_SHORT = "a dog <|endoftext|> and a cat"


def test_a_special_token_in_a_text_ends_it_as_in_openais():
    row = tokenize(CUT_SHORT)[0].tolist()
    assert row[:5] == [START, 320, 1929, END, 537]
    assert int(np.argmax(row)) == 3  # where CLIP reads its features


@pytest.mark.parametrize(
    "text", [CUT_SHORT, CUT_SHORT.upper(), "a &lt;|endoftext|&gt; b", "<|startoftext|><|endoftext|>"]
)
def test_special_tokens_as_text_do_not_end_it(text):
    ids, lengths = tokenize_with_lengths(text, special_tokens="text")
    assert int(np.argmax(ids[0])) == lengths[0] - 1
    assert START not in ids[0, 1:]
    np.testing.assert_array_equal(tokenize(text, special_tokens="text"), ids)


def test_special_tokens_as_text_are_ordinary_words():
    expected = encode("a dog <|") + encode("endoftext") + encode("|> and a cat")
    assert encode(CUT_SHORT, special_tokens="text") == expected


@given(ANY_TEXT)
def test_as_text_only_special_tokens_differ(text):
    plain = encode(text, special_tokens="text")
    assert max(plain, default=0) < START
    if max(encode(text), default=0) < START and "ſ" not in text:  # <|ſtartoftext|> is one word in OpenAI's
        assert encode(text) == plain


def test_too_long_names_the_text_its_place_and_its_count():
    texts = ["a dog", "very\nlong " * 50, "x1" * 60]
    with pytest.raises(InputError) as error:
        tokenize(texts)
    message = str(error.value)
    assert message.startswith(r"texts[1] 'very\nlong very\nlong ")
    assert "has 102 tokens" in message
    assert "context length 77 (and 1 more too long)" in message
    assert message.endswith("shorten it or pass truncate=True")
    assert "\n" not in message
    assert len(message) < 300
    with pytest.raises(ValueError, match=r"^texts\[0\] 'a+'\.\.\. has 12503 tokens"):
        tokenize("a" * 100_000)


def test_what_just_fits_is_neither_refused_nor_cut():
    assert tokenize("dog " * 75)[0].tolist() == [START] + [1929] * 75 + [END]
    assert tokenize(["dog " * 74, "a dog"])[:, -2:].tolist() == [[END, 0], [0, 0]]
    with pytest.raises(InputError, match="has 78 tokens"):
        tokenize("dog " * 76)


def test_cut_texts_can_be_counted():
    ids, lengths = tokenize_with_lengths(["a dog", "dog " * 75, "dog " * 76, "dog " * 200])
    assert lengths.tolist() == [4, 77, 78, 202]
    assert (lengths > ids.shape[1]).sum() == 2


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], r"^texts\[1\] is NoneType, not a string: None$"),
        ([b"a dog"], r"^texts\[0\] is bytes, not a string: b'a dog'$"),
        (["a", ["b"]], r"^texts\[1\] is list"),
        (b"a dog", "^texts is bytes, not a string or a sequence of strings$"),
        (7, "^texts is int"),
        (None, "^texts is NoneType"),
        (np.zeros((1, 9, 9)), r"^texts\[0\] is ndarray, not a string: array\(\[\[0\.[]0., []+\.\.\.$"),
    ],
)
def test_what_is_no_text_is_named(texts, message):
    with pytest.raises(InputError, match=message):
        tokenize(texts)


def test_a_text_that_is_no_text_is_named_by_encode():
    with pytest.raises(InputError, match=r"^text is bytes, not a string: b'a'$"):
        encode(b"a")


def test_wrong_settings_are_named():
    with pytest.raises(InputError, match="context_length 1 has no room"):
        tokenize("a", context_length=1)
    with pytest.raises(InputError, match="special_tokens 'ignore' is unknown: pass 'openai' or 'text'"):
        tokenize("a", special_tokens="ignore")
    for wrong in (-1, 49_408):
        with pytest.raises(InputError, match=rf"ids\[1\] is {wrong}: no such token"):
            decode([320, wrong])


def test_decode_reads_arrays_and_broken_bytes():
    assert decode(np.array([320, 1929])) == "a dog "
    assert decode([START, 320, END]) == "<|startoftext|>a <|endoftext|>"
    lone_lead_byte = encode("é")[0]
    assert decode([lone_lead_byte, lone_lead_byte]) == "é é "
    assert decode([vocabulary()["Ã"], 320]) == "\ufffda "


def test_vocabulary_is_openais():
    text = gzip.decompress(files("clipjax.text").joinpath("vocabulary.txt.gz").read_bytes())
    # Lines 2 to 48,895 of the file whose sha256 make_vocabulary.py checks.
    assert hashlib.sha256(text).hexdigest() == "f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a"
    ids = vocabulary()
    assert list(ids.values()) == list(range(49_408))
    assert (ids["!"], ids["!</w>"], ids["in"], ids["dog</w>"]) == (0, 256, 512, 1929)
    assert (ids["<|startoftext|>"], ids["<|endoftext|>"]) == (START, END)
    assert len(merges()) == 48_894
    assert [ids[left + right] for left, right in merges()] == list(range(512, START))


def test_what_is_handed_out_is_a_copy():
    vocabulary().clear()
    merges().clear()
    assert len(vocabulary()) == 49_408
    assert len(merges()) == 48_894
    assert encode("zebra crossing") == encode("Zebra  crossing")


def test_another_vocabulary_file_is_refused():
    with pytest.raises(SystemExit, match="not OpenAI's vocabulary: sha256"):
        trim(gzip.compress(b"a b\n"))


def test_importing_reads_no_vocabulary_and_no_jax():
    code = (
        "import sys, clipjax.text as text; from clipjax.text import vocabulary as v; "
        "from clipjax.text.vocabulary import _merges; "
        "print([m for m in ('jax', 'flax', 'ftfy') if m in sys.modules], _merges.cache_info().currsize)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "[] 0\n"
