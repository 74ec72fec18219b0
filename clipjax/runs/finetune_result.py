"""What a fine-tuning run says of itself when it is finished: its manifest, and the last lines on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from clipjax import stored
from clipjax.files import sha256
from clipjax.keys import flat
from clipjax.models import config as architectures
from clipjax.models import weights
from clipjax.runs import data as opening
from clipjax.runs.begun import Begun
from clipjax.runs.config import digest
from clipjax.runs.finetune_config import FinetuneConfig
from clipjax.runs.folder import RunFolder, environment
from clipjax.runs.mixture import parts
from clipjax.train.pairs import Pairs

RESULT, BEST = "model.safetensors", "best.safetensors"


def trained(resolved: Mapping[str, Any], begin: weights.Weights, pairs: Pairs) -> dict[str, Any]:
    """What the weights file says of its training: no config, whose paths are nobody else's business."""
    return {
        "config_sha256": digest(dict(resolved)),
        "data": {"name": pairs.source.name, "fingerprint": pairs.source.fingerprint, "pairs": len(pairs)},
        "from": {"name": begin.name, **dict(begin.source)},
    }


def manifest(
    config: FinetuneConfig, begin: weights.Weights, pairs: Pairs, mesh: Mesh, folder: RunFolder, begun: Begun,
    steps: int, best: int | None, trained_parameters: int,
) -> dict[str, Any]:  # fmt: skip
    """`steps`: how many were made; `best`: the step of best.safetensors; trained_parameters: those with a gradient."""
    events = list(stored.events(folder.path / "log.jsonl"))
    train = [e for e in events if e["stage"] == "train"]
    metric = config.checkpoints.best.removeprefix("-")
    value = next((e[metric] for e in events if e.get("step") == best and metric in e), None)
    chosen = {"metric": metric, "step": best, "value": value, **_file(folder.path / BEST)} if best is not None else None
    return {
        "command": "clipjax finetune",
        **environment(mesh),
        "config": folder.config,
        **trained(folder.config, begin, pairs),
        "architecture": architectures.to_dict(begin.config),
        "counts": {
            "steps": steps,
            "examples": steps * config.batch_size,
            "epochs": train[-1]["epoch"],
            "without_caption": list(pairs.without),
            "truncated": sum(e["truncated"] for e in train),
            "replaced": sum(e["replaced"] for e in train),
            "replaced_files": sorted({f for e in train for f in e["replaced_files"]}),
            **_drawn(pairs, train),
            "parameters": sum(array.size for array in begin.flat.values()),
            "trained_parameters": trained_parameters,
        },
        "changes": begun.changes,
        "ended_early": steps < config.steps,
        "last": {k: train[-1][k] for k in ("loss", "gradient_norm", "logit_scale")},
        "weights": _file(folder.path / RESULT),
        "best": chosen,
    }


def _drawn(pairs: Pairs, train: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of several tables: pairs of each, and how many of the examples were of it."""
    if len(pairs.tables) == 1:
        return {}
    return {
        "tables": [
            {"name": table.name, "pairs": int((pairs.table == i).sum()),
             "examples": sum(e.get("tables", {}).get(table.name, 0) for e in train)}
            for i, table in enumerate(pairs.tables)
        ]
    }  # fmt: skip


def _file(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": sha256(path)}


def summary(out: Path, config: FinetuneConfig, events: Sequence[Mapping[str, Any]], best: int | None) -> str:
    """What a person reads at the end: numbers of one batch before and after, and commands that work as they stand."""
    train = [e for e in events if e["stage"] == "train"]
    replaced = sum(e["replaced"] for e in train)
    made = train[-1]["step"]
    ended = f" (of {config.steps}: checkpoints.best did not improve)" if made < config.steps else ""
    lines = [f"{made} steps of {config.batch_size}{ended}; {_losses(events)}"]
    if replaced:
        lines.append(f"{replaced} images could not be read, others took their place: {out / 'manifest.json'}")
    lines += ["", f"Written: {out / RESULT}"]
    if best is not None:
        lines.append(f"Written: {out / BEST}, of step {best}, the best by {config.checkpoints.best}")
    lines.append(f"Learning curves and the recipe: clipjax report {_quoted(out)}")
    return "\n".join([*lines, *_probing(out, config)])


def _losses(events: Sequence[Mapping[str, Any]]) -> str:
    """The loss of one fixed batch, before and after, for the batches of two steps differ in their images."""
    parts = []
    for name, what in (("fixed", "a fixed batch of training pairs"), ("validation", "the validation pairs")):
        found = [(e["step"], e[f"{name}/loss"]) for e in events if e.get(f"{name}/loss") is not None]
        if found:
            parts.append(f"loss of {what}: {found[0][1]:.4f} before, {found[-1][1]:.4f} after step {found[-1][0]}")
    return "; ".join(parts)


def _probing(out: Path, config: FinetuneConfig) -> list[str]:
    """The same probe before and after on the images that were trained on, and the comparison of both."""
    given = parts(config)[0].data.given  # of several tables the first
    probe = "retrieval" if given.get("caption_columns") else "zeroshot"
    reads = {*opening.GENERAL, *opening.every_key()}
    keys = {name: value for name, value in flat(given).items() if name in reads}
    known = opening.every_key()
    said = [f"--config.data.{name}={value}" for name, value in keys.items() if value != known[name].default]
    said += ["--config.prefix="] if probe == "retrieval" and config.templates == "{}" else []
    said += [f"--config.classes={config.classes}"] if config.classes and probe == "zeroshot" else []
    words = " ".join(_quoted(word) for word in said)
    before, after = f"{out}-before", f"{out}-after"

    def command(model: str | Path, folder: str) -> str:
        return f"  clipjax probe {probe} {words} --config.model={_quoted(model)} --out={_quoted(folder)}"

    if not config.model:
        return ["Its answers on the images that it was trained on (name others):", command(out, after)]
    return [
        "What has changed, and for whom? The same probe before and after, here on the images that it was trained on "
        "(name others), and the comparison:",
        command(config.model, before),
        command(out, after),
        f"  clipjax compare {_quoted(before)} {_quoted(after)} --vary=weights --out={_quoted(f'{out}-comparison')}",
    ]


def _quoted(word: str | Path) -> str:
    return shlex.quote(str(word))
