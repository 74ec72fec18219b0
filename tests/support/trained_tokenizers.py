"""Small tokenizers in the formats of the families, trained on generated text, and strings to try them on.

The real vocabularies are their owners'. What is tested is cleaning, padding, cutting and relabelling, and that a file
of each kind is read; the kinds are those of SigLIP (T5's Unigram), SigLIP 2 (Gemma's BPE with byte fallback), CLIPA
(BERT's WordPiece), MetaCLIP 2 (XLM-V's Unigram) and OpenVision (WordPiece, framed by the model).
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from clipjax.models.inputs import Tokens

WORDS = (
    "a photo of the dog cat horse golden retriever fire engine truck itap my there is not in scene old young red blue "
    "wooden wild smiling sleeping person doctor judge thief woman man child café naïve über straße Ελλάδα Москва 東京 "
    "don't it's e-mail T-shirt 3D 42 1,000 100% $5.99 (left) [right] {} hello_world snake_case good, bad; ugly! really?"
).split()
ODD = [
    "", " ", "\t\n ", "a photo of a dog.", "A PHOTO of a DOG", "golden_retriever", "don't stop!", "100% &amp; more",
    "caf\u00c3\u00a9", "r\u00e9sum\u00e9", "re\u0301sume\u0301", "\u201cquoted\u201d", "\u2026", "\u3000wide\u3000",
    "ΑΣ ΟΔΟΣ", "İstanbul ẞ", "\u2028line", "x" * 200, "word " * 300, "&lt;b&gt;", "tab\tbed", "!!!", "e\u0323\u0301",
    "\U0001f44d\U0001f3fd", "中文 ひらがな", "عربى", "हिन्दी", "\ufb01ne", "ＡＢＣ", "a\u00adb", "_", "- - -",
    "\u00a0non\u00a0breaking",
]  # fmt: skip
SPECIAL = {
    "siglip": ["<pad>", "</s>", "<unk>"],
    "siglip2": ["<pad>", "<eos>", "<bos>", "<unk>"],
    "clipa": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "metaclip2": ["<s>", "<pad>", "</s>", "<unk>"],
    "openvision": ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "[CLS]"],
}
CONTEXT = {"siglip": 64, "siglip2": 64, "clipa": 32, "metaclip2": 77, "openvision": 80}


def rules(family: str, clean: str | None = None) -> Tokens:
    """What the configuration of a family says of texts; `clean` where a container says otherwise."""
    said = {
        "siglip": ("canonicalize", 1, None, None),
        "siglip2": ("canonicalize", 0, None, None),
        "clipa": ("whitespace", 0, (3, 0), None),
        "metaclip2": ("whitespace", 1, None, None),
        "openvision": ("whitespace", 0, None, (1, 2, 4)),
    }[family]
    return Tokens("file", clean or said[0], said[1], None, said[2], said[3])


def sentences(n: int, seed: int = 0) -> list[str]:
    """Texts of known and made-up words in any case, with punctuation and entities in between."""
    rng = random.Random(seed)
    marks = [*".,;:!?'\"()[]{}_-/&%$#@", " ", "  ", "\n", "&amp;", "&#39;", "\u2019", "\u2026", "\u00e9", "\u0301"]
    out = []
    for _ in range(n):
        words = []
        for _ in range(rng.choice([1, 3, 8, 20, 90])):
            word = rng.choice(WORDS) if rng.random() < 0.8 else "".join(rng.choices("abcdefghijklmnopqrstuvwxyzé", k=6))
            words.append(
                rng.choice([str.lower, str.upper, str.title, str])(word) + rng.choice(["", "", rng.choice(marks)])
            )
        out.append(rng.choice([" ", " ", "  ", "\t"]).join(words))
    return out


def train(family: str, folder: Path) -> Path:
    """folder/tokenizer.json, and tokenizer_config.json as the libraries read it; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {"siglip": _unigram, "siglip2": _gemma, "clipa": _wordpiece, "metaclip2": _unigram, "openvision": _wordpiece}
    tokenizer = made[family](family)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path), pretty=False)
    special = SPECIAL[family]
    ends = {
        "siglip": {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"},
        "siglip2": {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"},
        "clipa": {"pad_token": "[PAD]", "sep_token": "[SEP]", "cls_token": "[CLS]", "unk_token": "[UNK]"},
        "metaclip2": {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"},
        "openvision": {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "cls_token": "[CLS]",
                       "unk_token": "[UNK]"},
    }[family]  # fmt: skip
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "right", "model_max_length": CONTEXT[family]}
    assert set(ends.values()) <= set(special)
    (folder / "tokenizer_config.json").write_text(json.dumps(about | ends))
    return path


def _unigram(family: str) -> Tokenizer:
    """T5's and XLM's: NFKC, a mark before every word, the end of text behind (and, of XLM, the start before)."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = SPECIAL[family]
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(sentences(2000), trainer)
    start = "<s> " if family == "metaclip2" else ""
    ids = [(token, special.index(token)) for token in (["<s>", "</s>"] if start else ["</s>"])]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start}$A </s>", special_tokens=ids)
    return tokenizer


def _gemma(family: str) -> Tokenizer:
    """Spaces are marks, bytes stand in for characters that are not in the vocabulary, the end of text behind."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [*SPECIAL[family], *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sentences(2000), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return tokenizer


def _wordpiece(family: str) -> Tokenizer:
    """BERT's: lower case, accents removed, words cut at punctuation, [CLS] and [SEP] around (not in OpenVision)."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIAL[family], show_progress=False)
    tokenizer.train_from_iterator(sentences(2000), trainer)
    if family == "clipa":
        pair = [("[CLS]", 2), ("[SEP]", 3)]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=pair)
    return tokenizer
