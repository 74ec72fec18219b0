"""Rates of sets of classes by group, with any class design, on any images with group columns.

    clipjax probe rates --config.data.csv=people.csv --config.data.group_columns=age,region \
        --config.design=mine.yaml --config.model=ViT-B/32 --out=runs/mine
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("rates")
    config.data.source = arg or "csv"
    return config
