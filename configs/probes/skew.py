"""Skew: which groups come first when images are ranked by their similarity to each class of a design.

    clipjax probe skew --config.data.csv=people.csv --config.data.group_columns=race,gender \
        --config.design=mine.yaml --config.k='(100, 1000)' --config.model=ViT-B/32 --out=runs/skew

MaxSkew@k, NDKL and Bias@k, against uniform groups and against their shares, beside what a random ranking gives.
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("skew")
    config.data.source = arg or "csv"
    return config
