"""ViT-B/32 from OpenAI's weights, on a csv of pictures and captions.

    clipjax finetune openai_vit_b32_csv --config.data.csv=captions.csv --config.data.caption_columns=caption --out=RUN

The argument is another model: `openai_vit_b32_csv:ViT-L/14`.
"""

from clipjax.runs.finetune_config import finetune_config


def get_config(arg: str = ""):
    """`arg`: config.model."""
    config = finetune_config()
    config.model = arg or "ViT-B/32"
    config.data.source = "csv"
    config.optimizer.learning_rate = 1e-5
    config.soft_targets = True  # a caption that several pictures share is no negative of any of them
    return config
