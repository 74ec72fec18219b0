"""Makes vocabulary.txt.gz from OpenAI's bpe_simple_vocab_16e6.txt.gz.

    python experiments/data_files/make_vocabulary.py PATH/TO/bpe_simple_vocab_16e6.txt.gz

The source (openai/CLIP, MIT licence) is the same file in openai/CLIP, clip-anytorch and open_clip_torch. CLIP
uses lines 2 to 48,895 of its 262,146: a merge each, two symbols separated by a space. Only those are kept.
"""

import gzip
import hashlib
import os
import sys
from pathlib import Path

SOURCE_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
MERGES = 49_408 - 2 * 256 - 2  # the ids that are neither a byte, a byte that ends a word, nor a special token
TARGET = Path(__file__).resolve().parents[2] / "clipjax" / "text" / "vocabulary.txt.gz"


def trim(source: bytes) -> bytes:
    """The gzipped merges in use, one a line, from the bytes of OpenAI's file."""
    found = hashlib.sha256(source).hexdigest()
    if found != SOURCE_SHA256:
        raise SystemExit(f"not OpenAI's vocabulary: sha256 {found}, expected {SOURCE_SHA256}")
    lines = gzip.decompress(source).decode("utf-8").split("\n")[1 : 1 + MERGES]
    # mtime=0: the same source gives the same bytes.
    return gzip.compress("\n".join(lines).encode("utf-8"), compresslevel=9, mtime=0)


def main(source: str) -> None:
    """Writes the trimmed file into clipjax/text, whole or not at all."""
    trimmed = trim(Path(source).read_bytes())
    unfinished = TARGET.with_suffix(".part")
    unfinished.write_bytes(trimmed)
    os.replace(unfinished, TARGET)
    print(f"{TARGET.name}: {MERGES} merges, {len(trimmed)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
