"""Image-text retrieval: recall at 1, 5 and 10 in both directions.

clipjax probe retrieval:csv --config.data.csv=captions.csv --config.data.caption_columns=caption --out=runs/r
clipjax probe retrieval:mscoco --config.data.path=COCO_FOLDER --config.model=ViT-B/32 --out=runs/coco
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("retrieval")
    config.data.source = arg or "csv"
    return config
