"""A model-card section in the manner of Mitchell et al. (2019), filled from runs; what no run says is not claimed."""

from __future__ import annotations

from collections.abc import Sequence

from clipjax.analysis import paper
from clipjax.analysis.report.section import Section, run_names
from clipjax.analysis.run import Run

USE = (
    "Research on how the model behaves with the classes below. OpenAI's model card puts any deployed use, commercial "
    "or not, out of scope without in-domain testing of a fixed class design, and surveillance and facial recognition "
    "always."
)


def text(runs: Sequence[Run], sections: Sequence[Section]) -> str:
    """Markdown with the paper's headings."""
    single, crossed, other = [], [], []
    for section in sections:
        for table in section.tables:
            name = table.name
            if "_by_" in name and not name.startswith(("disparities", "design")):
                (crossed if " and " in section.title else single).append(table)
            elif not name.startswith(("design", "paper", "sweep")):
                other.append(table)
    parts = ["# Characterisation", "", "## Model", *_models(runs), "", "## Intended use", "", USE, "", "## Factors", ""]
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


def _models(runs: Sequence[Run]) -> list[str]:
    found = dict.fromkeys((r.manifest.model.name, r.manifest.model.weights_sha256) for r in runs)
    return ["", *(f"- {name}, {f'parameters sha256 `{sha}`' if sha else 'computed elsewhere'}" for name, sha in found)]


def _factors(runs: Sequence[Run]) -> list[str]:
    columns = dict.fromkeys(column for run in runs if "prediction" in run.predictions for column in run.columns)
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
    said = [s for section in sections for s in (*(point for point, _ in section.points), *section.silent)]
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
    small = sum(bool(r.small) for run in runs for r in run.records)
    out = [f"- {c}" for c in dict.fromkeys(c for run in runs for c in paper.caveats(run))]
    if small:
        out.append(f"- {small} numbers come from fewer images than the runs' min_n; they are marked †.")
    return [*out, "- Another class list, other prompts or other images change these numbers: measure your own."]
