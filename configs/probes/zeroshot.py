"""Zero-shot classification.

    clipjax probe zeroshot --config.data.path=photos/ --out=runs/photos
    clipjax probe zeroshot:cifar10 --config.data.path=CIFAR_FOLDER --config.model=ViT-B/32 --out=runs/cifar10

The argument is a named data set (`clipjax datasets`), or folder, csv, webdataset, parquet, tfds, prepared, imagefolder.
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("zeroshot")
    config.data.source = arg or "folder"
    return config
