"""Write the features of images and texts to one .npz file, for your own analysis.

    clipjax embed --model=ViT-B/32 --images=photos/ --texts=captions.txt --out=features.npz
    clipjax embed --model=mine.safetensors --texts=prompts.txt --out=prompts.npz
    clipjax embed --model=ViT-B/32 --images=million.txt --out=features/ --dtype=float16

Arrays: image_features [B, E], files [B], text_features [C, E], texts [C], scale (the factor of the cosine), logit_scale
(its logarithm, the parameter), and logit_bias of models that have one. Features are float32 and not normalised. Images
that cannot be read are omitted: skipped [M] has their names and skipped_reasons [M] the reasons. Too many of them
(--max-skipped) stop the command.

If --out ends with a slash, it is a folder of files of 10,000 images each, for any number of images: the same command
continues after a stop. features/*.npy [B, E], and rows/*.parquet with the names (docs/reference/files.md, a run in
units); texts.npz has the arrays of the texts. Each image is written once.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

from clipjax.skipping import SHARE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax embed`."""
    parser.add_argument(
        "--model", required=True, help="released name, weights file, folder, hf://org/name or py:FILE.py"
    )
    parser.add_argument(
        "--images", metavar="DIR_OR_LIST", help="a folder of images, an image, or a text file with one path per line"
    )
    parser.add_argument("--texts", metavar="FILE", help="a text file with one text per line")
    parser.add_argument("--truncate", action="store_true", help="truncate texts that are too long instead of stopping")
    parser.add_argument(
        "--max-skipped", type=float, default=SHARE, metavar="SHARE",
        help=f"stop if more than this share of the images cannot be read (default: {SHARE}; one is always allowed)",
    )  # fmt: skip
    parser.add_argument(
        "--out", required=True, metavar="F.npz", help="the file that is written, or a FOLDER/ (or gs://...)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="of features in a FOLDER/ (float32)"
    )
    from clipjax import loading

    loading.add_options(parser)


def run(args: argparse.Namespace) -> None:
    """Finds and checks all inputs first; the output appears completely or not at all."""
    import numpy as np

    from clipjax import image, loading, skipping
    from clipjax.errors import InputError, brief
    from clipjax.files import check_address, write_atomically
    from clipjax.progress import say
    from clipjax.runs import account, embedding
    from clipjax.runs.shards.store import Store

    if not args.images and not args.texts:
        raise InputError("nothing to embed; give --images, --texts or both")
    folder = args.out.endswith("/")
    if not folder:
        check_address(args.out, "--out")  # a .npz is written to a disk
    if not folder and not args.out.endswith(".npz"):
        raise InputError(f"{args.out}: the output is a .npz file, or a folder with a slash at its end; name it so")
    if folder and not args.images:
        raise InputError(f"{args.out}: a folder is for images; give --images, or write texts to a .npz file")
    if not folder and args.dtype != "float32":
        raise InputError(f"--dtype={args.dtype} is for features in a folder: --out=FOLDER/")
    skipping.allowed(1, args.max_skipped)
    listing = image.list_images(args.images) if args.images else image.Listing([], {})
    if note := image.passed_over_note(args.images, listing.passed_over):
        say(f"note: {note}")
    lines = _read_lines(args.texts) if args.texts else []
    model = loading.load(args.model, options=loading.options_of(args))
    arrays: dict[str, Any] = {"logit_scale": np.asarray(model.logit_scale), "scale": np.float32(model.scale)}
    if model.bias is not None:
        arrays["logit_bias"] = np.asarray(model.bias, np.float32)
    if args.texts:
        arrays |= {"texts": np.array(lines), "text_features": model.features_of_texts(lines, args.truncate)}
    n, skipped, shapes = 0, [], []
    files = [str(file) for file in listing.files]
    if folder:
        from clipjax.runs.shards import embed

        store, named = Store(args.out), (args.model, model, files, args.images)
        n, skipped = embed.embed(*named, args.max_skipped, "--max-skipped", store, args.dtype)
        shapes = [f"features of {n} images"]
    elif args.images:
        embedded = embedding.embed_images(args.model, model, files, args.images, args.max_skipped, "--max-skipped")
        arrays |= {
            "files": np.array(embedded.files),
            "image_features": embedded.features,
            "skipped": np.array([one.file for one in embedded.skipped], np.str_),
            "skipped_reasons": np.array([one.reason for one in embedded.skipped], np.str_),
        }
        n, skipped = len(embedded.files), embedded.skipped

    def save(path: Path) -> None:
        with open(path, "wb") as file:  # an open file: numpy would add .npz to the temporary name
            np.savez(file, **arrays)

    if folder:
        np.savez(texts := io.BytesIO(), **arrays)
        Store(args.out).write("texts.npz", texts.getvalue())
    else:
        write_atomically(args.out, save)
    weights = account.weights_of(args.model, model.source)
    for line in account.describe(model.name, *weights, args.images or "", n, skipped):
        say(line)
    if lines:
        say(f'texts: {args.texts}, {len(lines)}; the first: "{brief(lines[0], 80)}"')
    shown = ", ".join([*shapes, *(f"{k} {list(v.shape)}" for k, v in arrays.items())])
    lost = f"; {len(skipped)} of {n + len(skipped)} images skipped" if skipped else ""
    print(f"{args.out}: {shown} from {model.name}{lost}")


def _read_lines(path: str) -> list[str]:
    from clipjax.errors import InputError
    from clipjax.files import lines

    try:
        texts = lines(Path(path).read_bytes().decode("utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as a text file ({error})") from error
    if not texts:
        raise InputError(f"{path}: holds no text; write one per line")
    return texts
