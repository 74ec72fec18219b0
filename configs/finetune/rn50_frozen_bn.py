"""RN50 with BatchNorm's statistics as OpenAI left them, so that the tower treats every picture for itself.

    clipjax finetune rn50_frozen_bn --config.data.csv=captions.csv --config.data.caption_columns=caption --out=RUN

Statistics of a batch would make a picture's features depend on its neighbours (and exact accumulation impossible), and
those of a small data set would replace what 400 million pairs have taught; gains and biases are trained. The argument
is another ResNet: `rn50_frozen_bn:RN101`.

Hardware: one accelerator (not run on one). Measured (2026-11-24, two AMD EPYC cores beside other work, RN50
with random weights, batch 8, learning rate 1e-4): 1.0 images/s, loss 2.12 -> 2.10 in 6 steps (ln 8 = 2.08 is knowing
nothing): that it runs at full size is all that this shows.
"""

from clipjax.runs.finetune_config import finetune_config


def get_config(arg: str = ""):
    """`arg`: config.model."""
    config = finetune_config()
    config.model = arg or "RN50"
    config.data.source = "csv"
    config.optimizer.b2, config.optimizer.eps = 0.999, 1e-8  # CLIP paper, table 19
    config.optimizer.learning_rate = 1e-5
    config.optimizer.layer_decay = 0.8
    config.soft_targets = True
    return config
