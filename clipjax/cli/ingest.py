"""Make a finished run from answers that were computed elsewhere: clipjax ingest --predictions=TABLE --design=DESIGN

TABLE (csv, tsv, parquet, jsonl) has one row per image: its file name or id, group columns, and the answer, which is
`prediction` (a class name), `probabilities` (a list in the design's order), one column per class, or `labels` (a list
of names, or of [name, score]). `report`, `compare` and --fail-if work on the run as on a probe's.

    clipjax ingest --predictions=answers.csv --design=people-roles --group-columns=age --out=runs/theirs

Features of any model are answers too; every prompt of the design is among their texts. F.npz is as `clipjax embed`
writes it; in place of it two files, images.parquet (columns file, features) or images.npy (rows as in the table), and
texts.parquet (text, features) or texts.npy with --texts=FILE, one text per line; both with --scale.

    clipjax ingest --features=F.npz --table=people.csv --design=people-roles --group-columns=age --out=runs/theirs
    clipjax ingest --features=i.parquet --text-features=t.parquet --scale=100 --table=t.csv --design=mine.yaml --out=RUN

Lists of `labels` are counted as the probe `labels` does (--contrast, --thresholds), answers beside a --label-column as
`zeroshot`, all others as `rates`; --probe=NAME chooses. A column `image_sha256` (the first 16 hexadecimal digits of the
sha256 of an image's bytes) lets `compare` pair images by contents; without it they are paired by file name.
"""

from __future__ import annotations

import argparse
from pathlib import Path

OF_FEATURES = ("text-features", "texts", "scale", "bias")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax ingest`."""
    parser.add_argument("--predictions", metavar="TABLE", help="one row per image, with its answer")
    parser.add_argument(
        "--features", metavar="F", help="image features of any model: .npz as `clipjax embed` writes it, .parquet, .npy"
    )
    parser.add_argument("--text-features", metavar="F", help="with .parquet or .npy: the features of the prompts")
    parser.add_argument("--texts", metavar="FILE", help="with .npy: the prompts, one per line")
    parser.add_argument("--scale", type=float, help="of features: the factor of the cosine, exp(logit_scale)")
    parser.add_argument("--bias", type=float, help="of features: the logit bias of a model with a sigmoid loss")
    parser.add_argument(
        "--probability", default="", choices=("softmax", "sigmoid"),
        help="what probabilities are, or are made of features: over all classes, or of each class by itself",
    )  # fmt: skip
    parser.add_argument("--table", metavar="TABLE", help="with --features: one row per image, with its groups")
    parser.add_argument("--design", required=True, help="a shipped name, a .yaml file, or schwemmer:mc_data.tsv")
    parser.add_argument("--group-columns", default="", metavar="A,B", help="what images are grouped by")
    parser.add_argument("--id-column", default="file", metavar="NAME", help="what the image is called (default: file)")
    parser.add_argument("--label-column", default="", metavar="NAME", help="the true class, as the design names it")
    parser.add_argument("--probe", default="", choices=("rates", "labels", "zeroshot"), help="how answers are counted")
    parser.add_argument("--model", default="", metavar="NAME", help="what answered, for reports (default: the table)")
    parser.add_argument(
        "--groups", default="", help="race,gender,race*gender; default: everybody, each column and pair"
    )
    parser.add_argument("--bands", default="", help="columns made of others: NEW=COLUMN: BAND=value|value; ...")
    parser.add_argument("--contrast", default="gender", metavar="COLUMN=A|B", help="of labels: the groups compared")
    parser.add_argument("--thresholds", default="", help="of labels: default 0.005,0.04; 0.5 for names without scores")
    parser.add_argument("--method", default="clopper-pearson", help="of intervals")
    parser.add_argument("--level", type=float, default=0.95, help="of intervals")
    parser.add_argument("--min-n", type=int, default=20, help="groups with fewer images are marked")
    parser.add_argument("--seed", type=int, default=0, help="of resampled intervals")
    parser.add_argument(
        "--fail-if", action="append", default=[], metavar="CONDITION", help="as `clipjax probe` takes it"
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="the run's folder")


def run(args: argparse.Namespace) -> None:
    """Reads and checks all of the table, counts, writes, and holds the numbers against the conditions."""
    from clipjax import design
    from clipjax.analysis import gate
    from clipjax.errors import Breach, InputError
    from clipjax.runs import answers, feature_files, given_features, ingest
    from clipjax.runs.config import words

    conditions = [gate.parse(text) for text in args.fail_if]
    settings = ingest.Settings(
        args.probe, args.model, args.groups, args.bands, args.contrast, args.thresholds, args.method, args.level,
        args.min_n, args.seed,
    )  # fmt: skip
    asked, columns = design.read_design(args.design), (words(args.group_columns), args.id_column, args.label_column)
    if args.predictions and not (args.features or args.table):
        files = [Path(args.predictions)]
        if odd := [name for name in OF_FEATURES if getattr(args, name.replace("-", "_")) is not None]:
            raise InputError(f"--{odd[0]} is about --features; leave it out")
        read = answers.read(files[0], asked, *columns, args.probe, args.probability)
    elif args.features and args.table and not args.predictions:
        of_texts, texts = (Path(one) if one else None for one in (args.text_features, args.texts))
        files = [Path(args.features), *filter(None, (of_texts, texts)), Path(args.table)]
        given = feature_files.read(files[0], of_texts, texts, args.scale, args.bias)
        read = given_features.of_table(given, Path(args.table), asked, *columns, args.probability, args.probe)
    else:
        raise InputError("give --predictions=TABLE, or --features=F.npz and --table=TABLE")
    found = ingest.ingest(read, args.out, settings, files)
    print(found.text())
    if lines := [f"{found.path}: {line}" for c in conditions for line in gate.breaches(c, found.records)]:
        raise Breach("\n".join([f"{len(lines)} breached", *lines]))
