"""Locked-image tuning (LiT, Zhai et al. 2022): the image tower stays, the text tower learns to read it.

    clipjax finetune lit --config.data.csv=captions.csv --config.data.caption_columns=caption --out=RUN

The argument is another model: `lit:ViT-L/14`. The image tower's parameters have no gradient, no moments and no decay;
memory is that of the text tower's training.

Hardware: as for inference of the image tower and training of the text tower. Measured (2026-11-24, two AMD EPYC cores
beside other work, emoji-clip, batch 64, Tux Paint's stamps): loss 9.9 at step 5 -> 4.9 at step 60, 100 images/s.
"""

from clipjax.runs.finetune_config import finetune_config


def get_config(arg: str = ""):
    """`arg`: config.model."""
    config = finetune_config()
    config.model = arg or "ViT-B/32"
    config.data.source = "csv"
    config.optimizer.freeze = r"^visual\."
    config.optimizer.learning_rate = 1e-4
    config.soft_targets = True
    return config
