"""Makes tokenizers/: a small tokenizer of each family, and open_clip's ids of strings. Needs the extra [peers].

PYTHONPATH=tests python tests/golden/make_tokenizers.py
"""

import json
from importlib.metadata import version
from pathlib import Path

from open_clip.tokenizer import HFTokenizer
from support import trained_tokenizers

TARGET = Path(__file__).with_name("tokenizers")
PACKAGES = ["open_clip_torch", "transformers", "tokenizers", "ftfy"]


def open_clip(family: str, folder: Path) -> HFTokenizer:
    """The peer's tokenizer of a folder, with what the family's open_clip configuration says."""
    rules = trained_tokenizers.rules(family)
    return HFTokenizer(
        str(folder), context_length=trained_tokenizers.CONTEXT[family], clean=rules.clean,
        strip_sep_token=rules.relabel is not None, tokenizer_mode="clips" if rules.clips else None,
    )  # fmt: skip


def main() -> None:
    """Writes FAMILY/tokenizer.json and ids.json."""
    texts = [*trained_tokenizers.ODD, *trained_tokenizers.sentences(40, seed=1)]
    found = {}
    for family in trained_tokenizers.CONTEXT:
        folder = TARGET / family
        trained_tokenizers.train(family, folder)
        found[family] = open_clip(family, folder)(texts).tolist()
        (folder / "tokenizer_config.json").unlink()
    about = {"packages": {name: version(name) for name in PACKAGES}, "texts": texts}
    lines = [f'"{family}": {json.dumps(ids)}' for family, ids in found.items()]
    head = json.dumps(about, ensure_ascii=True)[:-1]
    (TARGET / "ids.json").write_text(head + ', "ids": {\n' + ",\n".join(lines) + "}}\n")


if __name__ == "__main__":
    main()
