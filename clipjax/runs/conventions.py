"""Where libraries differ in how they fine-tune: presets of keys, for `conventions=NAME` of a fine-tuning config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from clipjax.errors import InputError, nearest
from clipjax.keys import defaults, flat
from clipjax.runs import config as configs

# open_clip: open_clip_train.main, params.get_default_params, scheduler.cosine_lr and train.train_one_epoch.
# OpenAI: what the CLIP paper says (section 2.5, tables 18 to 20); its training code is not public.
PRESETS: dict[str, dict[str, Any]] = {
    "open_clip": {
        "optimizer.warmup_from": "first", "optimizer.decay": "matrices", "optimizer.clip_norm": 0.0,
        "optimizer.logit_scale_min": 1.0, "optimizer.batch_statistics": True, "soft_targets": False,
        "data.last_batch": "drop",
    },
    "openai": {
        "optimizer.warmup_from": "zero", "optimizer.decay": "weights", "optimizer.clip_norm": 0.0,
        "optimizer.logit_scale_min": 0.0, "optimizer.batch_statistics": True, "soft_targets": False,
        "data.last_batch": "drop",
    },
}  # fmt: skip


def applied(config: ConfigDict) -> ConfigDict:
    """The config with the preset's value for every key that has its default; others are the user's own."""
    name = config.get("conventions", "")
    if not name:
        return config
    if name not in PRESETS:
        raise InputError(f"conventions={name!r}: choose {' or '.join(PRESETS)}{nearest(name, PRESETS)}")
    found = config.copy_and_resolve_references()
    usual = flat(defaults(configs.keys_of({"verb": "finetune"})))
    given = flat(configs.plain(config))
    with found.unlocked():
        for key, value in PRESETS[name].items():
            if given[key] == usual[key]:
                found.update_from_flattened_dict({key: value})
    return found


def notes(given: ConfigDict, resolved: Mapping[str, Any]) -> list[str]:
    """What `applied` has changed, for the terminal: a value that was typed and equals the default is changed too."""
    before, after = flat(configs.plain(given)), flat(resolved)
    changed = [f"{name}={value}" for name, value in after.items() if before[name] != value]
    return [f"conventions={given.conventions} sets {', '.join(changed)}"] if changed else []
