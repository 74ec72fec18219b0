"""Write raw features of pictures and texts to one .npz, for your own analysis.

    clipjax embed --model=ViT-B/32 --images=photos/ --texts=captions.txt --out=features.npz

Arrays: image_features [B, E], files [B], text_features [C, E], texts [C], logit_scale (the parameter: similarity
is exp(logit_scale) times the cosine). Features are float32 and not normalised.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax embed`."""
    parser.add_argument("--model", required=True, help="released name, weights file, folder or hf://org/name")
    parser.add_argument(
        "--images", metavar="DIR_OR_LIST", help="a folder of pictures, or a text file with one path a line"
    )
    parser.add_argument("--texts", metavar="FILE", help="a text file, one text a line")
    parser.add_argument("--truncate", action="store_true", help="cut texts that are too long instead of stopping")
    parser.add_argument("--out", required=True, metavar="F.npz")


def run(args: argparse.Namespace) -> None:
    """Finds and checks all inputs first; the output appears whole or not at all."""
    import numpy as np

    from clipjax import image, loading, text
    from clipjax.errors import InputError
    from clipjax.files import write_atomically
    from clipjax.progress import Progress

    if not args.images and not args.texts:
        raise InputError("nothing to embed; give --images, --texts or both")
    if not args.out.endswith(".npz"):
        raise InputError(f"{args.out}: the output is a .npz file; name it so")
    files = [str(f) for f in image.find_images(args.images)] if args.images else []
    lines = _read_lines(args.texts) if args.texts else []
    model = loading.load(args.model)
    arrays: dict[str, Any] = {"logit_scale": np.asarray(model.params["logit_scale"], np.float32)}
    if args.texts:
        tokens = text.tokenize(lines, model.config.text.context_length, truncate=args.truncate)
        arrays |= {"texts": np.array(lines), "text_features": model.encoder.texts(tokens)}
    if args.images:
        parts, size = [], model.encoder.batch_size
        with Progress("embed", len(files), "images") as progress:
            for i in range(0, len(files), size):
                chunk = [image.open_image(f) for f in files[i : i + size]]
                parts.append(model.encoder.images(model.preprocess(chunk)))
                progress.update(len(chunk))
        arrays |= {"files": np.array(files), "image_features": np.concatenate(parts)}

    def save(path: Path) -> None:
        with open(path, "wb") as file:  # an open file: numpy would add .npz to the temporary name
            np.savez(file, **arrays)

    write_atomically(args.out, save)
    shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in arrays.items())
    print(f"{args.out}: {shapes} from {model.name}")


def _read_lines(path: str) -> list[str]:
    from clipjax.errors import InputError
    from clipjax.files import lines

    try:
        found = lines(Path(path).read_bytes().decode("utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as a text file ({error})") from error
    if not found:
        raise InputError(f"{path}: holds no text; write one a line")
    return found
