"""Reads what real_runs.py made: one row per model, data set and method as results/real_runs.json and .csv, one figure
per model. Aggregates only: no image, no file name, no caption.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from clipjax.stored import events

MODELS = ("emoji-clip", "ViT-B-32-random")  # the embedded one; full size, 151 million parameters
DATA = ("stamps", "coco", "emoji")
TRAINED = ("full", "lora", "last_block")
HEADS = ("coop", "tip_adapter", "tip_adapter_f")
COLOURS = {
    "target, top-1": "#0072b2", "target, recall@10": "#009e73", "retention, top-1": "#d55e00",
    "retention, recall@1": "#cc79a7",
}  # fmt: skip
Row = dict[str, Any]


def read(path: Path) -> Any:
    """A JSON file; None where the run is not there (yet)."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def cost(run: Path) -> Row:
    """What a training run trained, and what a step took: the median after the first, which holds the compilation."""
    manifest = read(run / "manifest.json")
    train = [e for e in events(run / "log.jsonl") if e["stage"] == "train"]
    size = manifest["config"]["batch_size"]
    return {
        "trained_parameters": manifest["counts"]["trained_parameters"],
        "parameters": manifest["counts"]["parameters"], "steps": manifest["counts"]["steps"], "batch_size": size,
        "seconds_per_step": round(size / median(e["images_per_second"] for e in train[1:]), 3),
        "loss_before_after": fixed_losses(run),
    }  # fmt: skip


def fixed_losses(run: Path) -> list[float]:
    found = [e["fixed/loss"] for e in events(run / "log.jsonl") if "fixed/loss" in e]
    return [round(found[0], 4), round(found[-1], 4)]


def shares(page: Any, model: str, probe: str, metric: str, direction: str | None = None) -> Row | None:
    """k, n, value and interval of one number of one model."""
    for r in page["records"]:
        if (r["model"], r["probe"], r["metric"], r.get("direction")) == (model, probe, metric, direction):
            return {key: r.get(key) for key in ("k", "n", "value", "low", "high")}
    return None


def difference(page: Any, method: str, probe: str, name: str) -> Row | None:
    """After - before, paired, with its interval and adjusted p."""
    for r in page["pairs"]:
        if (r["a"], r["b"], r["probe"], r.get("accuracy")) == ("before", method, probe, name):
            return {"value": r["difference"], "low": r["low"], "high": r["high"], "p": r["p_benjamini_hochberg"]}
    return None


def question(page: Any, method: str, data: str, metric: str) -> Row:
    """One task before and after: top1 of its classes, or recall@K of captions."""
    recall = metric.startswith("recall")
    probe, direction = f"{'retrieval' if recall else 'classes'}-{data}", "image_to_text" if recall else None
    return {
        "before": shares(page, "before", probe, metric, direction),
        "after": shares(page, method, probe, metric, direction), "difference": difference(page, method, probe, metric),
    }  # fmt: skip


def changed(folder: Path, method: str) -> Row:
    """Group -> answers about drawings of people that changed, of how many."""
    with open(folder / "tables" / "changed_answers.csv", newline="", encoding="utf-8") as file:
        return {
            row["group"]: [int(row["changed"]), int(row["images"])]
            for row in csv.DictReader(file)
            if (row["model"], row["probe"]) == (method, "roles")
        }


def trained_rows(work: Path, model: str, data: str) -> Iterable[Row]:
    folder = work / "pages" / f"{model}-{data}"
    page = read(folder / "metrics.json")
    for method in TRAINED:
        run = work / "runs" / f"{model}-{data}-{method}"
        if not (run / "manifest.json").exists():
            continue
        if page is None:  # trained, and not measured yet
            yield {"model": model, "data": data, "method": method, **cost(run)}
            continue
        others = [name for name in DATA if name != data]
        yield {
            "model": model, "data": data, "method": method, **cost(run),
            "target": question(page, method, data, "top1"), "target_recall": question(page, method, data, "recall@10"),
            "retention": {name: question(page, method, name, "top1") for name in others},
            "retention_recall": {name: question(page, method, name, "recall@1") for name in others},
            "changed": changed(folder, method),
        }  # fmt: skip


def head_rows(work: Path, model: str, data: str) -> Iterable[Row]:
    """The encoders stay as they are: nothing else is lost, and no other answer changes."""
    for method in HEADS:
        run = work / "runs" / f"{model}-{data}-{method}"
        found, manifest = read(run / "metrics.json"), read(run / "manifest.json")
        if manifest is None:
            continue
        after, gain, zero = found["records"]
        kept = ("value", "low", "high", "n")
        log = list(events(run / "log.jsonl"))
        architecture = manifest["model"]["config"]
        learned = {
            "coop": manifest["config"].get("context", {}).get("tokens", 0) * architecture["text"]["width"],
            "tip_adapter": 0,
            "tip_adapter_f": after["shots"] * len(manifest["design"]["classes"]) * architecture["embed_dim"],
        }
        yield {
            "model": model, "data": data, "method": method, "trained_parameters": learned[method],
            "shots": after["shots"], "seconds": round(log[-1]["time"] - log[0]["time"], 1),
            "target": {
                "before": {key: zero[key] for key in ("k", *kept)}, "after": {key: after[key] for key in kept},
                "difference": {key: gain[key] for key in kept[:3]},
            },
        }  # fmt: skip


def flat(row: Row) -> Row:
    """The columns of the table."""

    def said(part: Row | None, sign: str = "") -> str:
        if part is None or part["value"] is None:
            return ""
        bounds = f" [{100 * part['low']:.1f}, {100 * part['high']:.1f}]" if part.get("low") is not None else ""
        return f"{100 * part['value']:{sign}.1f}{bounds}"

    out = {key: row.get(key, "") for key in ("model", "data", "method", "trained_parameters", "seconds_per_step")}
    for name, part in (("target", row.get("target", {})), ("target_recall@10", row.get("target_recall", {}))):
        out |= {f"{name}_{key}": said(part.get(key), "+" * (key == "difference")) for key in PARTS}
    for name in DATA:
        part = row.get("retention", {}).get(name, {})
        out[f"retention_{name}"] = said(part.get("difference"), "+")
        out[f"retention_{name}_recall@1"] = said(row.get("retention_recall", {}).get(name, {}).get("difference"), "+")
    return out | {f"changed, {group}": f"{k}/{n}" for group, (k, n) in row.get("changed", {}).items()}


PARTS = ("before", "after", "difference")


def draw(rows: list[Row], model: str) -> Figure:
    """After - before of every method, with paired intervals: what the target gains and what else is lost."""
    methods = [*TRAINED, *HEADS]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    measured = [row for row in rows if row["model"] == model and "target" in row]
    data_sets = [data for data in DATA if any(row["data"] == data for row in measured)]
    for i, data in enumerate(data_sets):
        axes = figure.add_subplot(1, len(data_sets), i + 1)
        axes.axvline(0, color="black", lw=0.8)
        for row in (r for r in measured if r["data"] == data):
            y = methods.index(row["method"])
            target, recall = row["target"]["difference"], row.get("target_recall", {}).get("difference")
            points = [("target, top-1", target), ("target, recall@10", recall)]
            points += [("retention, top-1", r["difference"]) for r in row.get("retention", {}).values()]
            points += [("retention, recall@1", r["difference"]) for r in row.get("retention_recall", {}).values()]
            for j, (name, part) in enumerate(p for p in points if p[1]):
                at, colour = y - 0.3 + 0.12 * j, COLOURS[name]
                axes.plot([100 * part["low"], 100 * part["high"]], [at, at], color=colour, lw=1.5)
                axes.plot(100 * part["value"], at, "o", color=colour, ms=4)
        axes.set_yticks(range(len(methods)), methods if i == 0 else [""] * len(methods))
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_title(f"trained on {data}", fontsize=10)
        axes.set_xlabel("after - before, points")
        axes.grid(axis="x", alpha=0.3)
    for name, colour in COLOURS.items():
        figure.axes[0].plot([], [], "o-", color=colour, label=name, ms=4)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


def main(work: Path, out: Path) -> None:
    """Writes what is there; rows of runs that are not finished are absent."""
    rows = [row for m in MODELS for d in DATA for row in (*trained_rows(work, m, d), *head_rows(work, m, d))]
    out.mkdir(exist_ok=True)
    (out / "real_runs.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    table = [flat(row) for row in rows]
    columns = list(dict.fromkeys(key for row in table for key in row))
    with open(out / "real_runs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    for model in MODELS:
        if any(row["model"] == model and "target" in row for row in rows):
            draw(rows, model).savefig(out / f"real_runs_{model}.png", dpi=120)
    print(f"{len(rows)} rows in {out}")
