"""The keys of a fine-tuning config, and what they become: options of optimiser and step, augmentation, probes."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from clipjax.errors import InputError
from clipjax.keys import Key, defaults
from clipjax.loading import OPTIONS
from clipjax.runs import config as configs
from clipjax.runs import data as opening
from clipjax.train import augment, optimiser, step
from clipjax.train.export import DTYPES

# What may differ when a run goes on: where it computes, what it tells and what stops it, never what it learns.
FREE = (
    "devices", "fsdp", "log_every", "checkpoints", "probes", "profile", "tensorboard", "wandb", "export", "threads",
    "data.max_skipped",
)  # fmt: skip


KEYS = {
    "verb": Key("finetune", ""),
    "model": Key("", "where to begin: whatever clipjax.load takes"),
    **{f"weights.{name}": key for name, key in OPTIONS.items()},
    "architecture": Key({}, "or from scratch: embed_dim, image{}, text{}, mean, std, tokenizer"),
    "name": Key("", "what the result is called in its own file; empty: the model's name and -finetuned"),
    **{f"data.{name}": key for name, key in opening.every_key().items()},
    "data.id_column": Key("", "images that share its value are each other's positives where soft_targets is on"),
    "data.context": Key(0, "tokens a caption is cut to; 0: the model's own length"),
    "classes": Key("", "the classes of labels that are captions, a,b,c or a file; empty: the data set's own"),
    "templates": Key("{}", "applied to captions, or to class names where there are only labels; several by |"),
    "augment.scale": Key((0.9, 1.0), "share of the image's area that is kept, smallest and largest"),
    "augment.ratio": Key((0.75, 4 / 3), "width by height of what is kept, smallest and largest"),
    "augment.flip": Key(0.0, "how often left and right are exchanged"),
    "augment.turn": Key(0.0, "largest rotation, degrees"),
    "augment.jitter": Key((0.0, 0.0, 0.0, 0.0), "largest change of brightness, contrast, saturation and hue"),
    "augment.jitter_share": Key(0.8, "how often colours are changed"),
    "augment.grey": Key(0.0, "how often colours are removed"),
    "augment.background": Key("", "behind transparent images; random: a new colour each time"),
    "threads": Key(16, "that decode"),
    "seed": Key(0, "of the order, the augmentation, and parameters from scratch"),
    "steps": Key(1000, "updates"),
    "batch_size": Key(256, "pairs, over all devices and hosts"),
    "parts": Key(1, "exact accumulation steps: the encoders hold batch_size / parts pairs at a time"),
    "loss": Key("softmax", "softmax, ring_softmax, sigmoid, ring_sigmoid"),
    "soft_targets": Key(False, "pairs with equal captions, or equal data.id_column, are not negatives"),
    "precision": Key("float32", "of the encoders: float32 or bfloat16; parameters and moments are float32"),
    "remat": Key("none", "what the backward pass computes again: none, dots, full"),
    "scan": Key(False, "one compiled block per encoder instead of one per layer"),
    "ema": Key(0.0, "decay of the average of parameters; 0: none"),
    "devices": Key(0, "only the first so many of this host's; 0: all of all hosts"),
    "fsdp": Key(1, "devices that share one copy of parameters and moments"),
    "optimizer.learning_rate": Key(1e-5, "the largest, after the warm-up"),
    "optimizer.warmup": Key(100, "steps"),
    "optimizer.final": Key(0.0, "learning rate at the end"),
    "optimizer.b1": Key(0.9, "AdamW"),
    "optimizer.b2": Key(0.98, "AdamW"),
    "optimizer.eps": Key(1e-6, "AdamW"),
    "optimizer.weight_decay": Key(0.2, "AdamW; of matrices only"),
    "optimizer.clip_norm": Key(1.0, "largest norm of the gradient; 0: no limit"),
    "optimizer.freeze": Key("", "regular expressions of parameters that stay, separated by spaces"),
    "optimizer.multipliers": Key("", "REGEX=NUMBER, separated by spaces: of the learning rate"),
    "optimizer.layer_decay": Key(1.0, "factor of the learning rate per layer from the top"),
    "log_every": Key(10, "steps"),
    "checkpoints.every": Key(500, "steps"),
    "checkpoints.keep": Key(3, "how many"),
    "checkpoints.best": Key("", "a number's name that decides which checkpoint is the best; -loss is the lowest"),
    "probes": Key({}, 'NAME = {"config": "zeroshot", "every": 500, "set": "data.path=...|classes=a,b"}'),
    "profile.first": Key(0, "the first step that is profiled"),
    "profile.steps": Key(0, "how many are profiled"),
    "tensorboard": Key(False, "writes events for TensorBoard"),
    "wandb.project": Key("", "writes to this project of Weights & Biases"),
    "wandb.name": Key("", "the run's name there"),
    "export.dtype": Key("float32", "of the result: float32, float16, bfloat16"),
    "export.average": Key(True, "the average of parameters (ema) rather than the last, where there is one"),
    "export.zero_unseen_tokens": Key(False, "an unknown word then says nothing"),
}


def finetune_config() -> ConfigDict:
    """Every key with its default: CLIP's own recipe (paper, table 18 to 20) at a fine-tuning learning rate."""
    return ConfigDict(defaults(KEYS))


def optimiser_options(config: ConfigDict) -> optimiser.Options:
    """config.optimizer as the optimiser's options."""
    given = dict(config.optimizer)
    multipliers = []
    for rule in configs.words(given.pop("multipliers"), " "):
        pattern, equals, number = rule.rpartition("=")
        try:
            multipliers.append((pattern, float(number)))
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(f"optimizer.multipliers: {rule!r} is not REGEX=NUMBER")
    freeze = configs.words(given.pop("freeze"), " ")
    return optimiser.Options(steps=config.steps, freeze=freeze, multipliers=tuple(multipliers), **given)


def step_options(config: ConfigDict) -> step.Options:
    """What one update does: loss, accumulation, precision."""
    if config.export.dtype not in DTYPES:
        raise InputError(f"export.dtype={config.export.dtype!r}; choose {', '.join(DTYPES)}")
    if config.precision not in ("float32", "bfloat16"):
        raise InputError(f"precision={config.precision!r}; choose float32 or bfloat16")
    names = ("loss", "remat", "scan", "ema", "soft_targets")
    return step.Options(
        dtype=config.precision, accumulation_steps=config.parts, **{name: config[name] for name in names}
    )


def augmentation(config: ConfigDict) -> augment.Augment:
    """config.augment, checked."""
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in config.augment.items()}
    return augment.Augment(**given)


def probe_configs(config: ConfigDict) -> dict[str, tuple[int, ConfigDict]]:
    """Name -> (every, the probe's own config): resolved before training, so that a misspelt one costs nothing."""
    found = {}
    for name, given in config.probes.items():
        if unknown := sorted(set(given) - {"config", "every", "set"}):
            raise InputError(f"probes.{name}: unknown key {unknown[0]!r}; it takes config, every, set")
        if "config" not in given or given.get("every", 0) < 1:
            raise InputError(f"probes.{name}: needs config (a probe's) and every (steps, 1 or more)")
        overrides = [f"--config.{one}" for one in configs.words(given.get("set", ""), "|")]
        probe = configs.load(given["config"], overrides)
        probe.cache_dir = "none"  # weights change: nothing would ever be found again
        found[name] = (int(given["every"]), probe)
    return found
