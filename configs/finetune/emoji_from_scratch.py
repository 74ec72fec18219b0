"""emoji-clip, the model embedded in clipjax: a CLIP of 10 million parameters from scratch, on emoji artwork and names.

    python experiments/emoji_clip/prepare.py --data EMOJI_FOLDER --out TABLES
    clipjax finetune emoji_from_scratch --config.data.path=EMOJI_FOLDER --config.data.csv=TABLES/train.jsonl --out=A
    clipjax finetune emoji_from_scratch:A/model.safetensors --config.data.path=EMOJI_FOLDER \\
        --config.data.csv=TABLES/train.jsonl --out=B

The first run learns shapes with strong colour changes, which make skin tones hard to distinguish. With an argument, the
second run continues from the result of the first for a tenth of the steps with almost original colours.

Measured on two shared AMD EPYC cores: 96 and 9 minutes. experiments/emoji_clip/README.md has the accuracy on two
artists who are not in the training data.
"""

from ml_collections import ConfigDict

from clipjax.models import catalog
from clipjax.models.config import to_dict
from clipjax.runs.finetune_config import finetune_config

TEMPLATES = (
    "{}", "{}.", "a {}", "an emoji of {}", "a drawing of a {}.", "a photo of a {}.", "a picture of a {}.",
    "an icon of a {}", "a photo of {}", "a cartoon of a {}",
)  # fmt: skip


def get_config(arg: str = ""):
    """`arg`: the weights of the first run, for the second run."""
    config = finetune_config()
    config.name = "emoji-clip"
    config.architecture = ConfigDict(
        to_dict(catalog.openai(256, catalog.resnet(64, 24, (1, 2, 2, 1)), catalog.text(128, layers=3)))
    )
    config.data.source = "csv"
    config.data.caption_columns = "captions"
    config.data.group_columns = config.data.id_column = "name"  # two drawings of a name are positives of each other
    config.data.context = 24
    config.soft_targets = True
    config.templates = "|".join(TEMPLATES)
    config.augment.background = "random"
    config.augment.scale = (0.5, 1.8)
    config.augment.ratio = (0.85, 1.18)
    config.augment.turn = 12.0
    config.augment.flip = 0.15  # few names contain left or right
    config.augment.jitter = (0.3, 0.3, 0.4, 0.03)
    config.augment.grey = 0.1
    config.steps = 3000
    config.batch_size = 256
    config.ema, config.ema_warmup = 0.998, False
    config.data.last_batch = "carry"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.final = 1e-5
    config.optimizer.warmup = 200
    config.optimizer.weight_decay = 0.1
    config.log_every = 20
    config.checkpoints.every = 200
    config.checkpoints.keep = 2
    config.export.dtype = "float16"
    config.export.zero_unseen_tokens = True  # an unknown word then has no effect
    if arg:
        config.model, config.architecture = arg, ConfigDict()
        config.augment.jitter, config.augment.jitter_share, config.augment.grey = (0.08, 0.1, 0.1, 0.01), 0.5, 0.0
        config.steps, config.ema = 300, 0.98
        config.optimizer.learning_rate, config.optimizer.warmup = 3e-4, 20
    return config
