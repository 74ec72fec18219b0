"""Few-shot linear probes: k images per class, several draws, mean and spread (CLIP paper, figure 6).

clipjax probe fewshot:cifar10 --config.data.path=CIFAR_FOLDER --config.model=ViT-B/32 --out=runs/cifar10-few
"""

from clipjax.runs.config import probe_config


def get_config(arg: str = ""):
    """`arg`: config.data.source."""
    config = probe_config("fewshot")
    config.data.source = arg or "folder"
    return config
