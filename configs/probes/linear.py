"""The CLIP paper's linear probe: L-BFGS on scikit-learn's objective, C by parametric binary search (appendix A.3).

clipjax probe linear --config.data.path=FOLDER_WITH_train_AND_test --out=runs/linear
clipjax probe linear:cifar10 --config.data.path=CIFAR_FOLDER --config.model=ViT-B/32 --out=runs/cifar10-linear
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("linear")
    config.data.source = arg or "folder"
    return config
