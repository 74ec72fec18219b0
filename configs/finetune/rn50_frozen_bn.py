"""RN50 with OpenAI's BatchNorm statistics, so the features of an image do not depend on the other images of a batch.

    clipjax finetune rn50_frozen_bn --config.data.csv=captions.csv --config.data.caption_columns=caption --out=RUN

With batch statistics, the features of an image would depend on the other images (and exact accumulation would be
impossible). Statistics of a small data set would replace those of 400 million pairs. Gains and biases are trained. The
argument is another ResNet: `rn50_frozen_bn:RN101`.

Hardware: one accelerator (not tested on one). Measured (2026-11-24, two shared AMD EPYC cores, RN50 with random
weights, batch 8, learning rate 1e-4): 1.0 images/s, loss 2.12 -> 2.10 in 6 steps (ln 8 = 2.08 is the loss of a random
guess). This only shows that the config works at full size.
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
