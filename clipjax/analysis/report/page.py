"""The report as one file: no request goes out when it is opened, every text in it is escaped."""

from __future__ import annotations

import base64
import html as escaping
import json
from collections.abc import Sequence

from clipjax.analysis.report.section import Section, labels
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Table

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid #ccc;
  padding-top: 1rem; }
nav ul { columns: 2; padding-left: 1.2rem; } .table { overflow-x: auto; margin: 1rem 0 .3rem; }
table { border-collapse: collapse; font-size: .86rem; }
caption { text-align: left; font-weight: 600; padding: .2rem 0; }
th, td { padding: .22rem .6rem; text-align: left; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
th { border-bottom: 2px solid #444; } .number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
tbody tr:hover { background: #f4f7fa; } figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; }
figcaption, .note { font-size: .86rem; color: #555; margin: 0 0 1rem; } .caveats { background: #fff8e6;
  border-left: 4px solid #e69f00; padding: .5rem 1rem; } pre { overflow-x: auto; font-size: .78rem; background: #f6f6f6;
  padding: .8rem; }
@media print { nav, details { display: none; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""
OUT_OF_SCOPE = (
    "OpenAI's model card puts every deployed use of CLIP out of scope, and surveillance and facial recognition always. "
    "These numbers describe how a model answers one class design on one set of images; they are no licence to use it. "
    "Groups are what annotators or file names say, not what people are."
)


def html(runs: Sequence[Run], sections: Sequence[Section], title: str = "") -> str:
    """The page; without a title, the labels of the runs."""
    title = title or "How the model behaves: " + "; ".join(labels(runs))
    links = "".join(f'<li><a href="#s{i}">{_e(s.title)}</a></li>' for i, s in enumerate(sections))
    data = Table(
        "runs", "What was run", ["run", "probe", "model", "data", "images", "skipped", "precision", "folder"],
        [_row(name, run) for name, run in zip(labels(runs), runs, strict=True)],
    )  # fmt: skip
    body = "".join(_section(i, s) for i, s in enumerate(sections))
    manifests = "".join(
        f"<details><summary>Manifest of {_e(name)}</summary><pre>"
        f"{_e(json.dumps(run.manifest.to_dict(), indent=1, sort_keys=True, ensure_ascii=False))}</pre></details>"
        for name, run in zip(labels(runs), runs, strict=True)
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{_e(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'\">\n<style>{STYLE}</style></head>\n"
        f"<body>\n<h1>{_e(title)}</h1>\n<p class=caveats>{_e(OUT_OF_SCOPE)}</p>\n{data.html()}"
        f"<nav><ul>{links}</ul></nav>\n{body}<h2>Manifests</h2>\n{manifests}\n</body>\n</html>\n"
    )


def _row(name: str, run: Run) -> list[str | int]:
    manifest, split = run.manifest, run.settings.data.split
    data = f"{manifest.data.name} ({split})" if split else manifest.data.name
    counts = manifest.counts
    return [
        name, run.probe, manifest.model.name, data, counts.seen, counts.skipped, manifest.precision, str(run.path.name)
    ]  # fmt: skip


def _section(i: int, section: Section) -> str:
    words = "".join(f"<p>{_e(w)}</p>" for w in section.words)
    if "paper" in section.title.lower() and section.words:
        words = f"<div class=caveats>{words}</div>"
    tables = "".join(table.html() for table in section.tables)
    figures = "".join(_figure(*drawing) for drawing in section.drawings.values())
    return f'<section id="s{i}"><h2>{_e(section.title)}</h2>\n{words}{tables}{figures}</section>\n'


def _figure(drawing, caption: str) -> str:
    data = base64.b64encode(drawing.svg().encode()).decode()
    return (
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{_e(drawing.alt)}">'
        f"<figcaption>{_e(caption)}</figcaption></figure>\n"
    )


def _e(words: str) -> str:
    return escaping.escape(str(words))
