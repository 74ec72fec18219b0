"""Few-shot linear probes: k pictures per class, several draws, mean and spread (CLIP paper, figure 6).

clipjax probe fewshot:cifar10 --config.data.path=CIFAR_FOLDER --config.model=ViT-B/32 --out=runs/cifar10-few
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("fewshot")
    config.data.source = arg or "folder"
    config.train_split = "train"
    config.validation_split = ""
    config.test_split = "test"
    config.feature = "pre_proj"
    config.shots = (1, 2, 4, 8, 16)
    config.draws = 3
    config.C = 0.316  # OpenAI's README; the paper's sweep needs a validation split
    config.max_iter = 1000
    return config
