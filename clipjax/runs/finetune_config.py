"""The keys of a fine-tuning config, and what they become: options of optimiser and step, augmentation, probes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from clipjax import loading
from clipjax.errors import InputError, nearest
from clipjax.keys import defaults, flat, inside, key
from clipjax.models import lora, weights
from clipjax.models.trained import DTYPES
from clipjax.runs import config as configs
from clipjax.runs import data as opening
from clipjax.runs import task as tasks
from clipjax.train import augment, optimiser, order, step


@dataclasses.dataclass(frozen=True)
class PairsData(opening.Data):
    """With what makes captions of the images' descriptions."""

    id_column: str = key("", "images that share its value are each other's positives where soft_targets is on")
    weight_column: str = key("", "a column of numbers: how often a pair is drawn, in proportion; 0: never")
    balance: str = key("", "a column, or label: its values are drawn equally often; weights count within a value")
    hard_negative_columns: str = key(
        "", "columns of captions that are wrong on purpose: one of them is a further text beside its caption"
    )
    mixture: str = key(
        "", "several tables, 'csv=a.csv weight=2; csv=b.csv': keys of data, and weight (of each pair) or share (of all)"
    )
    last_batch: str = key("drop", "the rest of an epoch that fills no batch: drop, or carry (into the next epoch)")
    validation_path: str = key(
        "", "the validation pairs, where they are another path than the training pairs; a table for csv"
    )
    context: int = key(0, "tokens a caption is cut to; 0: the model's own length")


@dataclasses.dataclass(frozen=True)
class ResizeKeys:
    """`models.resize`: what is changed of the model before the first step; 0 is its own size."""

    image_size: int = key(0, "pixels a side of images; positions of patches are interpolated as open_clip does")
    context: int = key(0, "tokens of a text, at most; data.context only cuts captions, and leaves the model as it is")
    positions: str = key("interpolate", "of tokens: interpolate, or keep: the first ones as they are (shorter context)")


@dataclasses.dataclass(frozen=True)
class AugmentKeys:
    """`augment.Augment`, as a config says it."""

    preset: str = key(
        "",
        "none (the view of an evaluation), open_clip (what the other keys' defaults say), openai (a random square), "
        "flip_safe (open_clip's, mirrored where no caption names a side); empty: the other keys",
    )
    scale: tuple[float, ...] = key((0.9, 1.0), "share of the image's area that is kept, smallest and largest")
    ratio: tuple[float, ...] = key((0.75, 4 / 3), "width by height of what is kept, smallest and largest")
    flip: float = key(0.0, "how often left and right are exchanged")
    turn: float = key(0.0, "largest rotation, degrees")
    jitter: tuple[float, ...] = key((0.0,) * 4, "largest change of brightness, contrast, saturation and hue")
    jitter_share: float = key(0.8, "how often colours are changed")
    grey: float = key(0.0, "how often colours are removed")
    square: bool = key(False, "in place of scale and ratio: the largest square, anywhere in the image")
    flip_safe: bool = key(False, "images whose captions say left, right, clockwise or mirror are not flipped")
    background: str = key("", "behind transparent images; random: a new colour each time")


@dataclasses.dataclass(frozen=True)
class OptimizerKeys:
    """`optimiser.Options`, as a config says it."""

    name: str = key("adamw", f"{', '.join(optimiser.OPTIMIZERS)} (of optax); lion wants a rate 3 to 10 times smaller")
    learning_rate: float = key(1e-5, "the largest, after the warm-up")
    schedule: str = key("cosine", f"after the warm-up: {', '.join(optimiser.SCHEDULES)}")
    warmup: int = key(100, "steps")
    warmup_from: str = key("zero", "the first step's rate: zero, or first (learning_rate / warmup, as open_clip)")
    final: float = key(0.0, "learning rate at the end")
    b1: float = key(0.9, "of adamw, lion, and muon (which is adamw for what is not a matrix of a block)")
    b2: float = key(0.98, "of adamw, lion, muon")
    eps: float = key(1e-6, "of adamw, muon")
    weight_decay: float = key(0.2, "decoupled, times the learning rate; of what `decay` says")
    decay: str = key("weights", "what decays: weights, or matrices (with positional embeddings, as open_clip)")
    clip_norm: float = key(1.0, "largest norm of the gradient; 0: no limit")
    freeze: str = key("", "regular expressions of parameters that stay, separated by spaces")
    multipliers: str = key("", "REGEX=NUMBER, separated by spaces: of the learning rate")
    layer_decay: float = key(1.0, "factor of the learning rate per layer from the top")
    logit_scale_min: float = key(0.0, "smallest exp(logit_scale); open_clip: 1; 0: no limit. The largest is 100")
    batch_statistics: bool = key(
        False,
        "BatchNorm uses and learns the statistics of the whole batch, as in training from scratch; False: the file's",
    )


@dataclasses.dataclass(frozen=True)
class LoraKeys:
    """`models.lora.Lora`, for tune=lora."""

    rank: int = key(8, "of the adapters")
    alpha: float = key(16.0, "the product of an adapter is multiplied by alpha / rank")
    on: str = key("attention", f"which matrices have one: {', '.join(lora.MATRICES)}, several joined by +")
    dropout: float = key(0.0, "share of an adapter's input that is 0 in a step of training; peft's lora_dropout")


@dataclasses.dataclass(frozen=True)
class EvaluateKeys:
    """The loss of pairs that never change, without augmentation: fixed/loss, validation/loss."""

    every: int = key(100, "steps between measurements; 0: before the first and after the last step only")
    batches: int = key(8, "of the validation pairs, at most; 0: all")
    share: float = key(
        0.0, "share of the images that is used for validation and not for training, if no validation part is named"
    )


@dataclasses.dataclass(frozen=True)
class CheckpointKeys:
    """Checkpoints on the way."""

    every: int = key(500, "steps")
    keep: int = key(3, "how many")
    best: str = key(
        "",
        "the number that decides which step is best.safetensors: -validation/loss (the lowest), NAME/top1 of a probe",
    )


@dataclasses.dataclass(frozen=True)
class ProfileKeys:
    """Which steps are profiled."""

    first: int = key(0, "the first step that is profiled")
    steps: int = key(0, "how many are profiled")


@dataclasses.dataclass(frozen=True)
class WandbKeys:
    """Weights & Biases."""

    project: str = key("", "writes to this project of Weights & Biases")
    name: str = key("", "the run's name there")


@dataclasses.dataclass(frozen=True)
class ExportKeys:
    """The weights file at the end."""

    dtype: str = key("float32", "of the result: float32, float16, bfloat16")
    average: bool = key(True, "the average of parameters (ema) rather than the last, where there is one")
    zero_unseen_tokens: bool = key(
        False, "embeddings of tokens that no caption has become 0, so that an unknown word has no effect"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What fine-tuning reads."""

    verb: str = "finetune"
    model: str = key("", "where to begin: whatever clipjax.load takes")
    weights: loading.WeightsKeys = inside(loading.WeightsKeys)
    architecture: dict[str, Any] = key({}, "or from scratch: embed_dim, image{}, text{}, mean, std, tokenizer")
    resize: ResizeKeys = inside(ResizeKeys)
    name: str = key("", "what the result is called in its own file; empty: the model's name and -finetuned")
    data: PairsData = inside(PairsData)
    classes: str = key("", "the classes of labels that are captions, a,b,c or a file; empty: the data set's own")
    templates: str = key("{}", "applied to captions, or to class names where there are only labels; several by |")
    augment: AugmentKeys = inside(AugmentKeys)
    threads: int = key(16, "that decode")
    conventions: str = key("", "open_clip or openai: that library's value for every key that has its default")
    seed: int = key(0, "of the order, the augmentation, and parameters from scratch")
    steps: int = key(1000, "updates")
    epochs: float = key(0.0, "passes over the training pairs, in place of steps; 0: steps says how many")
    batch_size: int = key(256, "pairs, over all devices and hosts")
    parts: int = key(1, "exact accumulation steps: the encoders hold batch_size / parts pairs at a time")
    loss: str = key("softmax", "softmax, ring_softmax, sigmoid, ring_sigmoid")
    soft_targets: bool = key(
        True, "pairs with equal captions (or equal data.id_column) or the same image are positives of each other"
    )
    precision: str = key("float32", "of the encoders: float32 or bfloat16; parameters and moments are float32")
    remat: str = key("none", "what the backward pass computes again: none, dots, full")
    scan: bool = key(False, "one compiled block per encoder instead of one per layer")
    tune: str = key("full", f"what is trained: {', '.join(optimiser.TUNED)}, or last_blocks:K of each encoder")
    lora: LoraKeys = inside(LoraKeys)
    ema: float = key(0.0, "decay of the average of parameters; 0: none")
    ema_warmup: bool = key(True, "the average's decay is at most (1 + step) / (10 + step), so that short runs count")
    devices: int = key(0, "only the first so many of this host's; 0: all of all hosts")
    fsdp: int = key(1, "devices that share one copy of parameters and moments")
    optimizer: OptimizerKeys = inside(OptimizerKeys)
    log_every: int = key(10, "steps")
    checkpoints: CheckpointKeys = inside(CheckpointKeys)
    evaluate: EvaluateKeys = inside(EvaluateKeys)
    validation_split: str = key("", "the part that validates, a split of data.path; or data.validation_path")
    early_stopping: int = key(0, "measurements of checkpoints.best without improvement that end the run; 0: never")
    probes: dict[str, Any] = key(
        {},
        'NAME = {"config": "zeroshot", "set": "data.path=...|classes=a,b", "every": 500}, or as flags: '
        "--config.probes.NAME.config=zeroshot; without every, before and after only",
    )
    profile: ProfileKeys = inside(ProfileKeys)
    tensorboard: bool = key(False, "writes events for TensorBoard")
    wandb: WandbKeys = inside(WandbKeys)
    export: ExportKeys = inside(ExportKeys)


def finetune_config() -> ConfigDict:
    """Every key with its default: CLIP's own recipe (paper, table 18 to 20) at a fine-tuning learning rate."""
    return ConfigDict({"verb": "finetune"} | defaults(configs.keys_of({"verb": "finetune"})))


def optimiser_options(config: FinetuneConfig) -> optimiser.Options:
    """config.optimizer as the optimiser's options."""
    multipliers = []
    for rule in configs.words(config.optimizer.multipliers, " "):
        pattern, equals, number = rule.rpartition("=")
        try:
            multipliers.append((pattern, float(number)))
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(f"optimizer.multipliers: {rule!r} is not REGEX=NUMBER")
    lists: dict[str, Any] = {"freeze": configs.words(config.optimizer.freeze, " "), "multipliers": tuple(multipliers)}
    values = {name: value for name, value in _values(config.optimizer).items() if name != "batch_statistics"}
    if config.optimizer.decay not in optimiser.DECAYS:
        raise InputError(f"optimizer.decay={config.optimizer.decay!r}; choose {' or '.join(optimiser.DECAYS)}")
    lists["tune"] = config.tune
    lists["decay"] = optimiser.DECAYS[config.optimizer.decay]
    return optimiser.Options(steps=config.steps, **values | lists)


def check_read(config: FinetuneConfig) -> None:
    """InputError where a key is set that nothing reads, or a count is negative."""
    counts = {
        "log_every": config.log_every, "checkpoints.every": config.checkpoints.every,
        "evaluate.every": config.evaluate.every, "evaluate.batches": config.evaluate.batches,
        "early_stopping": config.early_stopping, "profile.first": config.profile.first,
        "profile.steps": config.profile.steps,
    }  # fmt: skip
    if config.batch_size < 1:
        raise InputError(f"batch_size={config.batch_size} is not positive")
    if negative := [name for name, number in counts.items() if number < 0]:
        raise InputError(f"{negative[0]}={counts[negative[0]]} is negative")
    usual, optimizer = flat(defaults(configs.keys_of({"verb": "finetune"}))), config.optimizer
    reads = optimiser.READS.get(optimizer.name, ("b1", "b2", "eps"))
    validates = config.data.validation_path or config.validation_split or config.evaluate.share
    unread = {f"optimizer.name={optimizer.name}": [f"optimizer.{n}" for n in ("b1", "b2", "eps") if n not in reads]}
    if optimizer.schedule == "constant":
        unread["optimizer.schedule=constant"] = ["optimizer.final"]
    if not config.ema:
        unread["ema=0"] = ["ema_warmup", "export.average"]
    if not config.soft_targets:
        unread["soft_targets=False"] = ["data.id_column"]
    if not validates:
        unread["no validation pairs"] = ["evaluate.batches"]
    if config.epochs:
        unread[f"epochs={config.epochs:g}"] = ["steps"]
    given = flat(dataclasses.asdict(config))
    for why, names in unread.items():
        for name in names:
            if given[name] != usual[name]:
                raise InputError(
                    f"{name}={given[name]} is not read with {why}: leave it out, or set {name}={usual[name]}"
                )


def step_options(config: FinetuneConfig) -> step.Options:
    """What one update does: loss, accumulation, precision."""
    if config.export.dtype not in DTYPES:
        raise InputError(f"export.dtype={config.export.dtype!r}; choose {', '.join(DTYPES)}")
    if config.precision not in ("float32", "bfloat16"):
        raise InputError(f"precision={config.precision!r}; choose float32 or bfloat16")
    form = adapters(config)
    return step.Options(
        dtype=config.precision, accumulation_steps=config.parts, loss=config.loss, remat=config.remat,
        scan=config.scan, ema=config.ema, ema_warmup=config.ema_warmup, soft_targets=config.soft_targets,
        batch_statistics=config.optimizer.batch_statistics, adapters=form,
        seed=config.seed if form and form.dropout else 0,
    )  # fmt: skip


def notes(config: FinetuneConfig, begin: weights.Weights) -> list[str]:
    """What a person should know of the loss, and of what is trained, before the first step."""
    said = []
    if begin.config.logit_bias and "sigmoid" not in config.loss:
        said.append(
            f"{begin.name} was trained with a sigmoid loss; loss={config.loss} leaves its bias as it is, and "
            "loss=sigmoid goes on as it was trained"
        )
    form = adapters(config)
    if form is not None:
        trained = form.matrices(begin.flat)
    else:
        trained = [name for name, yes in optimiser.trainable(dict(begin.flat), (), config.tune).items() if yes]
    if not any(name.startswith("visual.") for name in trained):
        said.append(f"tune={config.tune} trains nothing of the image encoder of {begin.name}")
    if all(name.startswith(("visual.", "logit_")) for name in trained):
        said.append(f"tune={config.tune} trains nothing of the text encoder of {begin.name}")
    return said


def adapters(config: FinetuneConfig) -> lora.Lora | None:
    """config.lora where it is what is tuned. InputError where it is set and not read."""
    if config.tune == "lora":
        if config.architecture:
            raise InputError("tune=lora adapts trained weights: name them (config.model) in place of architecture")
        return lora.Lora(**_values(config.lora))
    if config.lora != LoraKeys():
        raise InputError(f"lora.* is read with tune=lora; this config has tune={config.tune}")
    return None


def augmentation(config: FinetuneConfig) -> augment.Augment | None:
    """config.augment, checked; None for no augmentation. InputError where a key is set and not read."""
    preset, usual = config.augment.preset, _values(AugmentKeys())
    keys = {name: value for name, value in _values(config.augment).items() if name != "preset"}
    changed = [name for name, value in keys.items() if value != usual[name]]
    if preset and preset not in augment.PRESETS:
        raise InputError(
            f"augment.preset={preset!r}; choose {', '.join(augment.PRESETS)}{nearest(preset, augment.PRESETS)}"
        )
    unread = {
        f"augment.preset={preset}": keys if preset else (), "augment.square=True": ("scale", "ratio"),
        "augment.flip=0": ("flip_safe",), "augment.jitter=(0, 0, 0, 0)": ("jitter_share",),
    }  # fmt: skip
    holds = (preset, config.augment.square, not config.augment.flip, not any(config.augment.jitter))
    for (why, names), is_so in zip(unread.items(), holds, strict=True):
        if is_so and (there := [name for name in changed if name in names]):
            raise InputError(
                f"augment.{there[0]}={keys[there[0]]} is not read with {why}: leave one of them out, or set "
                f"augment.{there[0]}={usual[there[0]]}"
            )
    return augment.PRESETS[preset] if preset else augment.Augment(**keys)


def with_steps(config: FinetuneConfig, pairs: int) -> FinetuneConfig:
    """`steps` from `epochs`, where that is given: whole batches of each epoch, as the feed makes them."""
    if not config.epochs:
        return config
    if config.epochs < 0:
        raise InputError(f"epochs={config.epochs:g} is negative")
    batches = order.epoch_batches(pairs, config.batch_size, config.data.last_batch)
    return dataclasses.replace(config, steps=max(1, round(config.epochs * batches)))


def _prefix(config: FinetuneConfig) -> str:
    """What training writes before every caption; nothing where its templates do more than that."""
    templates = tasks.templates_of(config.templates)
    return templates[0].removesuffix("{}") if len(templates) == 1 and templates[0].endswith("{}") else ""


def check_best(config: FinetuneConfig, validates: bool) -> None:
    """InputError where `checkpoints.best` names nothing that is measured, or the largest loss; of a probe, its first
    run knows the rest."""
    metric = config.checkpoints.best.removeprefix("-")
    if not metric:
        if config.early_stopping:
            raise InputError("early_stopping needs checkpoints.best: the number that has to improve")
        return
    losses = ["fixed/loss", *(["validation/loss"] if validates else [])]
    known = [*losses, *(f"{name}/..." for name in config.probes)]
    source, slash, _ = metric.partition("/")
    if metric in losses and not config.checkpoints.best.startswith("-"):
        raise InputError(f"checkpoints.best={metric} is the step with the largest loss; the lowest is -{metric}")
    if metric in losses or (slash and source in config.probes):
        return
    why = "the losses of two batches differ in their images: " if metric == "loss" else ""
    raise InputError(
        f"checkpoints.best={config.checkpoints.best}: {why}{metric} is not measured{nearest(metric, losses)}; what is: "
        f"{', '.join(known)}"
    )


def _values(group: Any) -> dict[str, Any]:
    """The keys of a group by name; what reads them has the checks."""
    return dataclasses.asdict(group)


def probe_configs(config: FinetuneConfig) -> dict[str, tuple[int, ConfigDict]]:
    """Name -> (every, the probe's own config): resolved before training, so that a misspelt one costs nothing."""
    configs_by_name = {}
    for name, given in config.probes.items():
        if not isinstance(given, Mapping):
            raise InputError(
                f"probes.{name}={given}: it has keys of its own, config, every, set: probes.{name}.config=..."
            )
        if unknown := sorted(set(given) - {"config", "every", "set"}):
            raise InputError(f"probes.{name}: unknown key {unknown[0]!r}; it takes config, every, set")
        if "config" not in given or given.get("every", 0) < 0:
            raise InputError(f"probes.{name}: needs config (a probe's); every is steps (0: before and after only)")
        if name in ("fixed", "validation") or not name.isidentifier():
            raise InputError(
                f"probes.{name}: choose another name, of letters and digits; {name}/loss is measured already"
            )
        overrides = [f"--config.{one}" for one in configs.words(given.get("set", ""), "|")]
        probe = configs.load(given["config"], overrides)
        probe.cache_dir = "none"  # weights change: nothing would ever be found again
        if probe.probe == "retrieval" and not any(one.startswith("--config.prefix=") for one in overrides):
            probe.prefix = _prefix(config)  # what it asks is what is trained
        configs_by_name[name] = (int(given.get("every", 0)), probe)
    return configs_by_name
