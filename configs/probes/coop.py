"""CoOp: context vectors before the class names, learned on k labelled images per class (Zhou et al. 2022).

clipjax probe coop --config.data.path=FOLDER_WITH_train_AND_test --out=runs/coop
clipjax probe coop:cifar10 --config.data.path=CIFAR_FOLDER --config.context.tokens=4 --out=runs/coop-4
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("coop")
    config.data.source = arg or "folder"
    return config
