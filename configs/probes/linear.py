"""The CLIP paper's linear probe: L-BFGS on scikit-learn's objective, C by parametric binary search (appendix A.3).

clipjax probe linear --config.data.path=FOLDER_WITH_train_AND_test --out=runs/linear
clipjax probe linear:cifar10 --config.data.path=CIFAR_FOLDER --config.model=ViT-B/32 --out=runs/cifar10-linear
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("linear")
    config.data.source = arg or "folder"
    config.train_split = "train"
    config.validation_split = ""  # empty: a seeded fifth of the training part
    config.test_split = "test"  # config.data.split says otherwise
    config.feature = "pre_proj"  # before the projection, as in the paper; "proj" is encode_image's
    config.C = 0.0  # 0: the sweep
    config.max_iter = 1000
    return config
