"""The keys of a fine-tuning config, and what they become: options of optimiser and step, augmentation, probes."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from clipjax.errors import InputError
from clipjax.runs import config as configs
from clipjax.train import augment, optimiser, step
from clipjax.train.export import DTYPES

# What may differ when a run goes on: where it computes and what it tells, never what it learns.
FREE = ("devices", "fsdp", "log_every", "checkpoints", "probes", "profile", "tensorboard", "wandb", "export", "threads")


def finetune_config() -> ConfigDict:
    """Every key with its default: CLIP's own recipe (paper, table 18 to 20) at a fine-tuning learning rate."""
    data = configs.probe_config("finetune").data
    data.id_column = ""  # pictures that share its value are each other's positives where soft_targets is on
    data.context = 0  # tokens a caption is cut to; 0: the model's own length (shorter captions cost only their own)
    return ConfigDict(
        {
            "verb": "finetune",
            "model": "",  # where to begin: whatever clipjax.load takes
            "architecture": ConfigDict(),  # or from scratch: embed_dim, image{}, text{}, mean, std, tokenizer
            "name": "",  # what the result is called in its own file; empty: the model's name + "-finetuned"
            "data": data,
            "classes": "",
            "templates": "{}",  # applied to captions, or to class names where there are only labels; several by |
            "augment": {
                "scale": (0.9, 1.0),
                "ratio": (0.75, 4 / 3),
                "flip": 0.0,
                "turn": 0.0,
                "jitter": (0.0, 0.0, 0.0, 0.0),
                "jitter_share": 0.8,
                "grey": 0.0,
                "background": "",
            },
            "threads": 16,
            "seed": 0,
            "steps": 1000,
            "batch_size": 256,  # over all devices and hosts
            "parts": 1,  # exact accumulation: the towers hold batch_size / parts pairs at a time
            "loss": "softmax",  # softmax, ring_softmax, sigmoid, ring_sigmoid
            "soft_targets": False,
            "precision": "float32",  # of the towers; parameters and moments are float32
            "remat": "none",  # none, dots, full
            "scan": False,  # one compiled block per tower instead of one per layer
            "ema": 0.0,
            "devices": 0,  # only the first so many of this host's; 0: all of all hosts
            "fsdp": 1,  # devices that share one copy of parameters and moments
            "optimizer": {
                "learning_rate": 1e-5,
                "warmup": 100,
                "final": 0.0,
                "b1": 0.9,
                "b2": 0.98,
                "eps": 1e-6,
                "weight_decay": 0.2,
                "clip_norm": 1.0,
                "freeze": "",  # regular expressions, separated by spaces; BatchNorm's statistics are always frozen
                "multipliers": "",  # REGEX=NUMBER, separated by spaces: of the learning rate
                "layer_decay": 1.0,
            },
            "log_every": 10,
            "checkpoints": {"every": 500, "keep": 3, "best": ""},  # best: a number's name, "-loss" is the lowest
            "probes": ConfigDict(),  # NAME = {"config": "zeroshot", "every": 500, "set": "data.path=...|classes=a,b"}
            "profile": {"first": 0, "steps": 0},
            "tensorboard": False,
            "wandb": {"project": "", "name": ""},
            "export": {"dtype": "float32", "average": True, "zero_unseen_tokens": False},
        }
    )


def optimiser_options(config: Any) -> optimiser.Options:
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


def step_options(config: Any) -> step.Options:
    """What one update does: loss, accumulation, precision."""
    if config.export.dtype not in DTYPES:
        raise InputError(f"export.dtype={config.export.dtype!r}; choose {', '.join(DTYPES)}")
    if config.precision not in ("float32", "bfloat16"):
        raise InputError(f"precision={config.precision!r}; choose float32 or bfloat16")
    names = ("loss", "parts", "remat", "scan", "ema", "soft_targets")
    return step.Options(dtype=config.precision, **{name: config[name] for name in names})


def augmentation(config: Any) -> augment.Augment:
    """config.augment, checked."""
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in config.augment.items()}
    return augment.Augment(**given)


def probe_configs(config: Any) -> dict[str, tuple[int, ConfigDict]]:
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
