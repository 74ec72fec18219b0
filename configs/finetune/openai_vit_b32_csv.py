"""ViT-B/32 from OpenAI's weights, on a csv of images and captions.

    clipjax finetune openai_vit_b32_csv --config.data.csv=captions.csv --config.data.caption_columns=caption --out=RUN

The argument is another model: `openai_vit_b32_csv:ViT-L/14`.

Hardware: one accelerator, or the CPU of a laptop for a test; `--config.remat=dots` and `--config.parts=4`
(accumulation steps) reduce memory. Measured (2026-11-24, two AMD EPYC cores, random weights, batch 16): 2.8 images/s;
loss 2.77 -> 2.53 in 30 steps over Tux Paint's stamps, 2.79 -> 2.26 in 20 over 51 COCO photographs
(experiments/finetuning). Not run on an accelerator.
"""

from clipjax.runs.finetune_config import finetune_config


def get_config(arg: str = ""):
    """`arg`: config.model."""
    config = finetune_config()
    config.model = arg or "ViT-B/32"
    config.data.source = "csv"
    config.optimizer.learning_rate = 1e-5
    config.soft_targets = True  # images with the same caption are not negatives of each other
    return config
