"""A model card in the manner of Mitchell et al. (2019), filled from runs; what no run says is not claimed.

It begins with the metadata that the Hugging Face hub reads, in YAML: `model-index` holds the results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from clipjax.analysis import paper
from clipjax.analysis.records import Record
from clipjax.analysis.report import head
from clipjax.analysis.report.section import Section, run_names, slug
from clipjax.analysis.run import Run

USE = (
    "Research on how the model behaves with the classes below. OpenAI's model card puts any deployed use, commercial "
    "or not, out of scope without in-domain testing of a fixed class design, and surveillance and facial recognition "
    "always."
)

TASK = "zero-shot-image-classification"
METRICS = {"top1": "accuracy", "top5": "top_5_accuracy"}  # what the hub calls them
DETAILS = ("rate_difference", "rate_ratio", "rate_range", "label_rate", "chi_squared", "fisher")
MOST_RESULTS = 200  # numbers of a run in the metadata


@dataclasses.dataclass(frozen=True)
class Stated:
    """What the hub asks and no run knows: the licence of the weights, and the language of the prompts."""

    license: str = "unknown"
    language: str = "en"


def text(runs: Sequence[Run], sections: Sequence[Section], stated: Stated | None = None) -> str:
    """Metadata in YAML, then Markdown with the paper's headings."""
    stated = stated or Stated()
    single, crossed, other = [], [], []
    for section in sections:
        for table in section.tables:
            name = table.name
            if "_by_" in name and not name.startswith(("disparities", "design")):
                (crossed if " and " in section.title else single).append(table)
            elif not name.startswith(("design", "paper", "sweep")):
                other.append(table)
    parts = ["---", yaml.safe_dump(metadata(runs, stated), sort_keys=False, allow_unicode=True).rstrip(), "---", ""]
    parts += ["# Characterisation", "", "## Model details", "", *_models(runs, stated), "", "## Training data", ""]
    parts += [*_training(runs), "", "## Intended use", "", USE, "", "## Factors", ""]
    parts += [*_factors(runs), "", "## Metrics", "", *_metrics(runs), "", "## Evaluation data", "", *_data(runs), ""]
    parts += ["## Findings", "", *_findings(sections), ""]
    parts += ["## Quantitative analyses: unitary results", "", *_tables([*other, *single])]
    parts += [
        "## Quantitative analyses: intersectional results",
        "",
        *(_tables(crossed) or ["None were asked for.", ""]),
    ]
    parts += [
        "## Ethical considerations",
        "",
        *_ethics(runs),
        "",
        "## Caveats and recommendations",
        "",
        *_caveats(runs),
        "",
    ]
    return "\n".join(parts)


def metadata(runs: Sequence[Run], stated: Stated) -> dict[str, Any]:
    """The metadata block: https://huggingface.co/docs/hub/model-cards, `model-index` with a result per data set."""
    hub = {m.removeprefix("hf://").partition("@")[0] for m in _asked_models(runs) if m.startswith("hf://")}
    results: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        results.setdefault(run.manifest.model.name, []).append(_result(run))
    return {
        "language": [stated.language],
        "license": stated.license,
        "library_name": "clipjax",
        "pipeline_tag": TASK,
        **({"base_model": sorted(hub)} if hub else {}),
        "tags": ["clip", "clipjax", TASK],
        "model-index": [{"name": name, "results": found} for name, found in results.items()],
    }


def _asked_models(runs: Sequence[Run]) -> list[str]:
    return [str(run.manifest.config.get("model", "")) for run in runs]


def _result(run: Run) -> dict[str, Any]:
    """One run as an evaluation result: rates and accuracies over all images and by single columns, as shares."""
    split, design = run.settings.data.split, run.manifest.design
    data: dict[str, Any] = {"name": run.manifest.data.name, "type": slug(run.manifest.data.name).lower()}
    data |= {"split": split} if split else {}
    data["args"] = {"fingerprint": run.manifest.data.fingerprint, "n": run.manifest.counts.seen}
    data["args"] |= {"class_design": design.name, "class_design_sha256": design.sha256} if design.name else {}
    sets = any(r.set is not None for r in run.records)
    kept = [
        r for r in run.records
        if r.value is not None and r.metric not in DETAILS and len(r.columns) < 2 and not (sets and r.class_)
    ]  # fmt: skip
    return {
        "task": {"type": TASK, "name": f"clipjax probe {run.probe}"},
        "dataset": data,
        "metrics": [_metric(r) for r in kept[:MOST_RESULTS]],
    }


def _metric(r: Record) -> dict[str, Any]:
    about = (r.direction, r.split, r.attribute, r.classifier, r.reading, r.set, r.class_, r.over, r.shots, r.candidates)
    words = [r.metric, *(str(part) for part in about if part is not None)]
    group = [f"{column} {value}" for column, value in (r.group or {}).items()]
    args: dict[str, Any] = {"n": r.n} | ({"k": r.k} if r.k is not None else {})
    args |= {"group": dict(r.group)} if r.group else {}
    if r.low is not None and r.high is not None:
        args |= {"interval": [round(r.low, 6), round(r.high, 6)], "level": r.level, "method": r.method}
    name = ", ".join([" ".join(words), *group])
    assert r.value is not None
    return {"type": METRICS.get(r.metric, r.metric), "name": name, "value": round(r.value, 6), "args": args}


def _models(runs: Sequence[Run], stated: Stated) -> list[str]:
    found = dict.fromkeys((r.manifest.model.name, r.manifest.model.weights_sha256) for r in runs)
    lines = [f"- {name}, {f'parameters sha256 `{sha}`' if sha else 'computed elsewhere'}" for name, sha in found]
    licence = f"{stated.license}, as stated by the author of this card"
    if stated.license == Stated.license:
        licence = "not stated in the runs; `clipjax report --license=ID` states it"
    made = dict.fromkeys((run.date or "on an unknown day", run.manifest.versions.get("clipjax", "")) for run in runs)
    evaluated = "; ".join(f"{day}, by clipjax {version}".rstrip() for day, version in made)
    return [*lines, f"- Evaluated: {evaluated}.", f"- Licence: {licence}."]


def _training(runs: Sequence[Run]) -> list[str]:
    """What weights files of clipjax say of their training, the last part first; for others, that they say nothing."""
    said = []
    for run in runs:
        trained = run.manifest.model.source.get("trained")
        name = run.manifest.model.name
        if not isinstance(trained, Mapping):
            said.append(f"- {name}: not stated in the weights; see the card of whoever released them.")
        while isinstance(trained, Mapping):
            data, start = trained.get("data", {}), trained.get("from", {})
            pairs = (
                f"{data.get('pairs')} pairs of {data.get('name')}, fingerprint `{str(data.get('fingerprint'))[:16]}`"
            )
            begun = start.get("name", "other weights")
            begun = "random parameters" if start.get("format") == "random" else f"weights named {begun}"
            said.append(f"- {name}: trained on {pairs}, starting from {begun}.")
            trained = start.get("trained")
    return list(dict.fromkeys(said))


def _factors(runs: Sequence[Run]) -> list[str]:
    columns = dict.fromkeys(column for run in runs if "prediction" in run.names for column in run.group_columns)
    groups = ", ".join(columns) or "no group columns"
    designs = [
        f"- Class design {run.design.name}: {len(run.design.classes)} classes, templates "
        f"{', '.join(map(repr, run.design.templates))}. {run.design.note}".rstrip()
        for run in runs
        if run.design is not None
    ]
    return [f"- Groups: {groups}, as annotated in the data.", *dict.fromkeys(designs)]


def _metrics(runs: Sequence[Run]) -> list[str]:
    said = {
        "rates": "Rate: the share of a group's images whose likeliest class is in a set of classes.",
        "attributes": "Accuracy over all classes, its binary reading, and recall per class.",
        "labels": "Label rate: the share of a group's images whose probability for a label reaches a threshold.",
        "identities": "Top-1 and top-5 accuracy over growing lists of candidates.",
    }
    methods = sorted({f"{r.method} at {100 * r.level:g}%" for run in runs for r in run.records if r.level is not None})
    kinds = dict.fromkeys(said.get(run.probe, f"Those of the probe `{run.probe}`.") for run in runs)
    return [*(f"- {kind}" for kind in kinds), f"- Intervals: {'; '.join(methods) or 'none'}."]


def _data(runs: Sequence[Run]) -> list[str]:
    out = []
    for name, run in zip(run_names(runs), runs, strict=True):
        data, counts = run.manifest.data, run.manifest.counts
        out.append(
            f"- {name}: {data.name}, {counts.seen} images ({counts.skipped} skipped), fingerprint "
            f"`{data.fingerprint[:16]}`"
        )
    return out


def _findings(sections: Sequence[Section]) -> list[str]:
    said = [s for section in sections[:1] for s in (*(point for point, _ in section.points), *section.silent)]
    return [f"- {s}" for s in said] or ["No question compares groups."]


def _tables(tables) -> list[str]:
    return [part for table in tables for part in (table.markdown(), "")]


def _ethics(runs: Sequence[Run]) -> list[str]:
    out = ["- Groups are what annotators or file names say, in the data's categories; they are not what people are."]
    if any(run.design is not None and "denigration" in run.design.sets for run in runs):
        out.append("- The design holds words that denigrate, because who is given them is what is measured.")
    if any(run.probe == "identities" for run in runs):
        out.append("- Names were asked for to measure what a model gives away; only totals were kept.")
    return out


def _caveats(runs: Sequence[Run]) -> list[str]:
    of_paper = dict.fromkeys(c for run in runs for c in paper.caveats(run))
    return [f"- {said}" for said in (*of_paper, *head.caveats(runs))]
