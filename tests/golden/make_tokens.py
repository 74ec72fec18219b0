"""Makes tokens.json: OpenAI's ids for strings that tokenizers disagree about. Needs the extra [peers].

    python tests/golden/make_tokens.py

The strings stay clear of scripts and rules that differ between recent versions of Unicode, ftfy and regex.
"""

import json
from importlib.metadata import version
from pathlib import Path

import clip
from clip.simple_tokenizer import SimpleTokenizer

TARGET = Path(__file__).with_name("tokens.json")
PACKAGES = ["clip-anytorch", "ftfy", "regex"]

STRINGS = {
    "plain": ["a photo of a dog.", "A Photo  of a DOG", "x", "supercalifragilisticexpialidocious", "a1b22 333"],
    "empty": ["", " ", "\t\n \r\n", "\u00a0\u2003", "\u3000"],
    "punctuation": ["!!", "!?", "...!!!???", "a-b_c", "(a) [b] {c}", "--", "100%", "$5.99", "a\\b", "@#$%^*~`|"],
    "apostrophes": ["should've", "don't", "it's", "I'M", "we'll'd've", "'s", "' s", "x'y", "'re'real", "rock'n'roll"],
    "curly quotes": [
        "it\u2019s",
        "\u201cquoted\u201d",
        "\u2018tis",
        "l\u02bceau",
        "\u00ab oui \u00bb",
        "5\u2032 6\u2033",
    ],
    "long s": ["it'\u017f", "'\u017ftand", "<|\u017ftartoftext|>", "Congre\u017fs"],
    "mojibake": [
        "caf\u00c3\u00a9",
        "r\u00c3\u00a9sum\u00c3\u00a9",
        "itâ€™s",
        "âœ” No problems",
        "\u00c2\u00a9 2020",
        "\u00ef\u00bf\u00bd",
    ],
    "accents": [
        "r\u00e9sum\u00e9",
        "re\u0301sume\u0301",
        "A\u030angstro\u0308m",
        "\u212b",
        "na\u00efve",
        "e\u0323\u0301 e\u0301\u0323",
    ],
    "ligatures": [
        "\ufb01ne \ufb02ag",
        "o\ufb03ce",
        "\u0149go",
        "\u01c4ungla",
        "\u0132sselmeer",
        "\u0153uvre",
        "\ufb05",
    ],
    "width": [
        "\uff21\uff22\uff23\uff11\uff12",
        "\uff41\uff0c\uff42\u3002\uff01\uff1f",
        "\uff76\uff80\uff76\uff85",
        "\uffe5 500",
    ],
    "entities": [
        "&amp;",
        "&eacute;",
        "&EACUTE;",
        "it&#39;s",
        "&amp;lt;b&amp;gt;",
        "&amp;amp;amp;",
        "&lt;p&gt; &eacute;",
        "AT&T",
        "a & b",
        "&",
        "&notit;",
        "&#x1F600;",
        "&#0; &#128;",
        "&nbsp;a&nbsp;",
        "&#8217;s",
        "caf&Atilde;&copy;",
        "a < b &amp;amp; c",  # ftfy leaves entities alone beside a "<"
        "<i> &amp;eacute;",
    ],
    "emoji": [
        "\U0001f600",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f44d\U0001f3fd",
        "\u2764\ufe0f",
        "\u2764",
        "\U0001f1e9\U0001f1ea",
        "1\ufe0f\u20e3",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    ],
    "case": [
        "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3",
        "\u03a3 \u03a3a a\u03a3",
        "\u0130stanbul",
        "\u0131\u0130I",
        "STRASSE \u1e9e",
        "\u01c5",
    ],
    "iota": ["\u0345", "\u1fb3\u0345 a\u0345b", "\u1f88"],
    "jamo": ["\u1112\u1161\u11ab\u1100\u116e\u11a8", "\u314e\u314f\u3134", "\ud55c\uad6d\uc5b4"],
    "dakuten": ["\u304b\u3099", "\u30cf\u309a", "\uff8a\uff9f"],
    "control": [
        "a\x00b",
        "a\x07b\x1bc",
        "\x1b[31mred\x1b[0m",
        "\ufeffa",
        "a\x85b",
        "a\x0bb\x0cc",
        "a\x1cb\x1fc",
        "\x7f",
        "a\u200bb",
        "a\u00adb",
        "a\u2028b",
    ],
    "surrogates": ["\ud83d\ude00", "\ud800", "a\udc00b", "\ufffd", "\U0010ffff"],
    "special": [
        "<|endoftext|>",
        "<|startoftext|>",
        "a<|endoftext|>b",
        "<|EndOfText|> x",
        "&lt;|endoftext|&gt;",
        "<|endoftext|",
        "< |endoftext|>",
        "<<|endoftext|>>",
        "<|startoftext|><|endoftext|>",
        "</w>",
        "a</w>b",
        "\uff1c\uff5cendoftext\uff5c\uff1e",
    ],
    "scripts": [
        "\u0441\u043e\u0431\u0430\u043a\u0430 \u0432 \u041c\u043e\u0441\u043a\u0432\u0435",
        "\u9752\u86d9\u3002",
        "\u30ab\u30a8\u30eb\u3067\u3059",
        "\u0643\u0644\u0628 \u0643\u0628\u064a\u0631",
        "\u05db\u05dc\u05d1",
        "\u0915\u0941\u0924\u094d\u0924\u093e",
        "\u0e2b\u0e21\u0e32",
        "\u03c3\u03ba\u03cd\u03bb\u03bf\u03c2",
        "con ch\u00f3 \u0111\u1eb9p",
        "\U00010330\U0001033f",
        "\u0663\u0664 \u216b \u00bd \u00b2",
    ],
    "symbols": [
        "\u20ac\u00a3\u00a5",
        "\u2190\u2192\u2194",
        "a\u2013b\u2014c\u2026",
        "\u00b0C",
        "\u2122\u00ae",
        "\u221e\u2260\u2264",
        "\u266b\u2591\u2592",
    ],
    "long words": ["a" * 200, "ab" * 150, "!" * 99, "\u00e9" * 80, "the" * 70, "\u4e2d" * 60, "x1" * 60],
}
LONG = ["a very big dog " * 30, "dog " * 75, "dog " * 76, "<|endoftext|> " * 80, "caf\u00c3\u00a9 " * 90]


def main() -> None:
    """Writes the ids of every string, and rows of `clip.tokenize` for the ones too long for the context."""
    reference = SimpleTokenizer()
    golden = {
        "made_with": {name: version(name) for name in PACKAGES},
        "encode": [
            {"kind": kind, "text": text, "ids": ids, "decoded": reference.decode(ids)}
            for kind, texts in STRINGS.items()
            for text in texts
            for ids in [reference.encode(text)]
        ],
        "tokenize": [
            {"text": text, "context_length": length, "ids": clip.tokenize(text, length, truncate=True)[0].tolist()}
            for text in LONG
            for length in (2, 16, 77)
        ],
    }
    # A case a line, so that a change shows as one.
    TARGET.write_text(json.dumps(golden).replace(', {"', ',\n{"') + "\n", encoding="ascii")
    print(f"{TARGET.name}: {len(golden['encode'])} strings, {len(golden['tokenize'])} rows, {golden['made_with']}")


if __name__ == "__main__":
    main()
