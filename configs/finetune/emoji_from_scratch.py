"""emoji-clip, the model inside clipjax: a CLIP of 10 million parameters from scratch, on emoji artwork and names.

    python experiments/emoji_clip/prepare.py --data EMOJI_FOLDER --out TABLES
    clipjax finetune emoji_from_scratch --config.data.path=EMOJI_FOLDER --config.data.csv=TABLES/train.jsonl --out=A
    clipjax finetune emoji_from_scratch:A/model.safetensors --config.data.path=EMOJI_FOLDER \\
        --config.data.csv=TABLES/train.jsonl --out=B

The first run learns shapes under strong changes of colour, which blur skin tones; with an argument, the second goes on
from the first's result for a tenth of the steps with the colours as drawn.

Measured on two shared AMD EPYC cores: 96 and 9 minutes; figures on two artists never seen are in
experiments/emoji_clip/README.md.
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
    """`arg`: the first run's weights, for the second."""
    config = finetune_config()
    config.name = "emoji-clip"
    config.architecture = ConfigDict(
        to_dict(catalog.openai(256, catalog.resnet(64, 24, (1, 2, 2, 1)), catalog.text(128, layers=3)))
    )
    config.data.source = "csv"
    config.data.caption_columns = "captions"
    config.data.group_columns = config.data.id_column = "name"  # two artists' drawings of a name are both right
    config.data.context = 24
    config.soft_targets = True
    config.templates = "|".join(TEMPLATES)
    config.augment.background = "random"
    config.augment.scale = (0.5, 1.8)
    config.augment.ratio = (0.85, 1.18)
    config.augment.turn = 12.0
    config.augment.flip = 0.15  # few names say left or right
    config.augment.jitter = (0.3, 0.3, 0.4, 0.03)
    config.augment.grey = 0.1
    config.steps = 3000
    config.batch_size = 256
    config.ema = 0.998
    config.optimizer.learning_rate = 1e-3
    config.optimizer.final = 1e-5
    config.optimizer.warmup = 200
    config.optimizer.weight_decay = 0.1
    config.log_every = 20
    config.checkpoints.every = 200
    config.checkpoints.keep = 2
    config.export.dtype = "float16"
    config.export.zero_unseen_tokens = True  # an unknown word then says nothing
    if arg:
        config.model, config.architecture = arg, ConfigDict()
        config.augment.jitter, config.augment.jitter_share, config.augment.grey = (0.08, 0.1, 0.1, 0.01), 0.5, 0.0
        config.steps, config.ema = 300, 0.98
        config.optimizer.learning_rate, config.optimizer.warmup = 3e-4, 20
    return config
