"""Tip-Adapter: zero-shot classification with a cache of k labelled images per class (Zhang et al. 2022).

clipjax probe tip_adapter --config.data.path=FOLDER_WITH_train_AND_test --out=runs/tip
clipjax probe tip_adapter:cifar10 --config.data.path=CIFAR_FOLDER --config.training.epochs=20 --out=runs/tip-trained
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("tip_adapter")
    config.data.source = arg or "folder"
    return config
