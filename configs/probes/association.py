"""Association tests: X against Y (images or texts) by how near they are to A and B.

    clipjax probe association --config.data.csv=people.csv --config.data.group_columns=gender \
        --config.tests=career.yaml --config.allow_unequal=true --config.model=ViT-B/32 --out=runs/association

Effect size d, exact or sampled permutation p, both sides, and an interval; a test without y is single-category.
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("association")
    config.data.source = arg or "csv"
    return config
