"""The tokenizer's files in a Hugging Face folder, compared with CLIP's own byte-pair vocabulary, which clipjax uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from clipjax import stored
from clipjax.errors import brief, converted

_CLASSES = (None, "CLIPTokenizer", "CLIPTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend")


class _Token(TypedDict):
    content: str


class _Settings(TypedDict, total=False):
    tokenizer_class: str | None
    bos_token: str | _Token | None
    eos_token: str | _Token | None
    do_lower_case: Any


class _Model(TypedDict, total=False):
    type: str | None
    vocab: dict[str, stored.Whole] | list
    merges: list


class _Tokenizer(TypedDict):
    model: _Model
    normalizer: NotRequired[dict[str, Any] | None]


def differences(folder: Path) -> list[str]:
    """How the folder's tokenizer differs from CLIP's, one reason each; empty where there is none, or CLIP's."""
    return list(_differences(folder))


def _differences(folder: Path) -> Iterator[str]:
    from clipjax.text import merges, vocabulary  # half a second of vocabulary, for folders that have one

    if (path := folder / "tokenizer_config.json").is_file():
        said = stored.read(path, _Settings)
        if said.get("tokenizer_class") not in _CLASSES:
            yield f"{path.name}: tokenizer_class {brief(said['tokenizer_class'])} is not CLIP's"
        if said.get("do_lower_case") is False:
            yield f"{path.name}: do_lower_case is false; CLIP's tokenizer lower-cases"
        for key, own in (("bos_token", "<|startoftext|>"), ("eos_token", "<|endoftext|>")):
            token = said.get(key)
            if (token["content"] if isinstance(token, dict) else token) not in (None, own):
                yield f"{path.name}: {key} is {brief(token)}, not {own}"
    if (path := folder / "vocab.json").is_file() and stored.read(path, dict[str, stored.Whole]) != vocabulary():
        yield f"{path.name} is not CLIP's vocabulary"
    if (path := folder / "merges.txt").is_file() and _merges(path) != [" ".join(pair) for pair in merges()]:
        yield f"{path.name} is not CLIP's list of merges"
    if (path := folder / "tokenizer.json").is_file():
        data = stored.read(path, _Tokenizer)
        model = data["model"]
        pairs = [" ".join(m) if isinstance(m, list) else m for m in model.get("merges", [])]
        if model.get("vocab") != vocabulary() or pairs != [" ".join(pair) for pair in merges()]:
            yield f"{path.name} ({brief(model.get('type'))}) is not CLIP's vocabulary"
        elif odd := sorted(set(_normalizers(data.get("normalizer"))) ^ {"Lowercase", "NFC", "Replace"}):
            yield f"{path.name}: its normalizer differs from CLIP's in {', '.join(map(brief, odd))}"
    for name in ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "vocab.txt"):
        if (folder / name).is_file():
            yield f"{name} is another kind of vocabulary than CLIP's"


def _merges(path: Path) -> list[str]:
    with converted(f"{path}: is not UTF-8", "fetch it again", UnicodeDecodeError):
        lines = path.read_text(encoding="utf-8").split("\n")
    return [line.rstrip("\r") for line in lines if line.strip() and not line.startswith("#version")]


def _normalizers(tree: Any) -> Iterator[str]:
    if not isinstance(tree, dict):
        return
    if isinstance(inner := tree.get("normalizers"), list):
        for one in inner:
            yield from _normalizers(one)
    else:
        yield str(tree.get("type"))
