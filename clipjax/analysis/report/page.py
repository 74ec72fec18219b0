"""The report as one file: no request goes out when it is opened, every text in it is escaped."""

from __future__ import annotations

import html as escaping
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from clipjax.analysis.report.section import Section, run_names
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Table

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --soft: #555; --line: #ddd; --rule: #444;
  --tint: #f4f6f8; --mark: #fff8e6; --edge: #b36b00; --link: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181b; --soft: #b0b4b9; --line: #3a3e43;
  --rule: #9aa0a6; --tint: #202428; --mark: #2b2517; --edge: #e69f00; --link: #8cbcf0; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 76rem;
  margin: 2rem auto; padding: 0 1rem; } a { color: var(--link); }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem;
  border-top: 1px solid var(--line); padding-top: 1rem; } h3 { font-size: 1rem; }
p, li, figcaption { max-width: 60rem; overflow-wrap: anywhere; }
nav ul { columns: 18rem; padding-left: 1.2rem; } .points li { margin: .45rem 0; }
.table { overflow-x: auto; margin: 1rem 0 .3rem; } .table:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; font-size: .82rem; }
caption { text-align: left; font-weight: 600; padding: .2rem 0; }
th, td { padding: .2rem .5rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { border-bottom: 2px solid var(--rule); } tbody th { font-weight: 400; }
.number { text-align: right; font-variant-numeric: tabular-nums; } tbody tr:hover { background: var(--tint); }
figure { margin: 1.2rem 0; } .wide { overflow-x: auto; } figure img { max-width: 100%; height: auto; background: #fff; }
.wide:focus-visible { outline: 2px solid var(--link); }
@media (max-width: 640px) { .wide img { max-width: none; } }
figcaption, .note { font-size: .85rem; color: var(--soft); margin: 0 0 1rem; }
.caveats { background: var(--mark); border-left: 4px solid var(--edge); padding: .4rem 1rem; }
pre { overflow-x: auto; font-size: .78rem; background: var(--tint); padding: .8rem; }
@media print { @page { margin: 12mm; } :root { color-scheme: light; --ink: #000; --paper: #fff; --soft: #333;
  --line: #bbb; --rule: #000; --tint: #fff; --mark: #fff; --link: #000; }
  body { max-width: none; margin: 0; padding: 0; font-size: 10pt; } nav, .manifests { display: none; }
  figcaption, .note { font-size: 7.5pt; }
  .wide { overflow: visible; } figure img { max-width: 100%; max-height: 225mm; }
  .table { overflow: visible; } table { width: 100%; font-size: 7pt; } th, td { padding: .1rem .2rem;
  overflow-wrap: anywhere; white-space: normal; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""
_HOME = re.compile(r"~[^/\\]*[/\\]|[A-Za-z]:[/\\]|\\\\|\.\.[/\\]")  # where a path starts that is not absolute for POSIX
LISTED = 8  # runs that are listed before the sections; more are shown on demand
WIDE = 6.0  # inches of a figure that a narrow screen cannot shrink to letters that can be read
OUT_OF_SCOPE = (
    "OpenAI's model card puts every deployed use of CLIP out of scope, and surveillance and facial recognition always. "
    "These numbers describe how a model answers one class design on one set of images; they do not permit its use. "
    "Groups are what annotators or file names say, not what people are."
)


def html(runs: Sequence[Run], sections: Sequence[Section], title: str = "") -> str:
    """The page; without a title, the labels of the runs. The first section leads, folded ones come last."""
    title = title or "How the model behaves: " + "; ".join(run_names(runs))
    sections = sorted(sections, key=lambda s: s.folded)
    places = {s.title: i for i, s in reversed(list(enumerate(sections)))}
    shown = [_section(i, s, places) for i, s in enumerate(sections)]
    links = "".join(f'<li><a href="#s{i}">{_e(s.title)}</a></li>' for i, s in enumerate(sections))
    data = Table(
        "runs", "What was run", ["run", "probe", "model", "data", "images", "skipped", "precision", "folder"],
        [_row(name, run) for name, run in zip(run_names(runs), runs, strict=True)],
    )  # fmt: skip
    listed = data.html()
    if len(runs) > LISTED:
        listed = f"<details><summary>What was run: {len(runs)} runs</summary>{listed}</details>"
    manifests = "".join(
        f"<details><summary>Manifest of {_e(name)}</summary><pre tabindex=0>"
        f"{_e(json.dumps(without_paths(run.manifest.to_dict()), indent=1, sort_keys=True, ensure_ascii=False))}"
        "</pre></details>"
        for name, run in zip(run_names(runs), runs, strict=True)
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{_e(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'\">\n<style>{STYLE}</style></head>\n"
        f"<body>\n<main>\n<h1>{_e(title)}</h1>\n{shown[0]}<p class=caveats>{_e(OUT_OF_SCOPE)}</p>\n"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n{listed}{"".join(shown[1:])}'
        f'<section class=manifests id="manifests"><h2>Manifests</h2>\n{manifests}</section>\n'
        "</main>\n</body>\n</html>\n"
    )


def without_paths(value: Any) -> Any:
    """A manifest as others may read it: of an absolute path only the last part, which names the file or folder."""
    if isinstance(value, dict):
        return {key: without_paths(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_paths(part) for part in value]
    if isinstance(value, str) and (PurePosixPath(value).is_absolute() or _HOME.match(value)):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1] or value
    return value


def _row(name: str, run: Run) -> list[str | int]:
    manifest, split = run.manifest, run.settings.data.split
    data = f"{manifest.data.name} ({split})" if split else manifest.data.name
    counts = manifest.counts
    return [
        name, run.probe, manifest.model.name, data, counts.seen, counts.skipped, manifest.precision, run.folder
    ]  # fmt: skip


def _section(i: int, section: Section, places: Mapping[str, int]) -> str:
    """places: title -> the section that has it, for the points that name one."""
    words = "".join(f"<p>{_e(w)}</p>" for w in section.words)
    if "paper" in section.title.lower() and section.words:
        words = f"<div class=caveats>{words}</div>"
    points = "".join(
        f"<li>{_e(said)}" + (f' <a href="#s{places[at]}">table and figure</a></li>' if at in places else "</li>")
        for said, at in section.points
    )
    points = f"<ul class=points>{points}</ul>" if points else ""
    points = (f"<p>{_e(section.lead)}</p>" if section.lead else "") + points
    if section.silent:
        silent = "".join(f"<li>{_e(said)}</li>" for said in section.silent)
        points += f"<h3>Tested without a finding, or not testable</h3><ul class=points>{silent}</ul>"
    tables = "".join(table.html() for table in section.tables)
    figures = "".join(_figure(*drawing) for drawing in section.drawings.values())
    body = f"{points}{words}{figures}{tables}"
    if section.folded:
        body = f"<details><summary>Show</summary>{body}</details>"
    return f'<section id="s{i}"><h2>{_e(section.title)}</h2>\n{body}</section>\n'


def _figure(drawing, caption: str) -> str:
    image = f'<img src="{drawing.address()}" alt="{_e(drawing.alt)}">'
    wide = ""
    if drawing.figure.get_figwidth() > WIDE:  # on a narrow screen it scrolls in its frame, which the keyboard reaches
        wide = f' class=wide aria-label="{_e(caption.partition("?")[0])}" tabindex=0'
    return f"<figure{wide}>{image}<figcaption>{_e(caption)}</figcaption></figure>\n"


def _e(words: str) -> str:
    return escaping.escape(str(words))
