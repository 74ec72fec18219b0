"""Relative links and their anchors resolve, in README, the pages and the notebooks; external ones are listed only."""

import json
import re
from pathlib import Path

import pytest
from support.docs_blocks import ROOT, pages
from support.notebooks import notebooks

FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!`)!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)(?: \"[^\"]*\")?\)")
INCLUDE = re.compile(r'^--8<-- "([^"]+)"$', re.MULTILINE)


def prose(path: Path) -> str:
    """What a reader sees as text: no code blocks, no inline code; a notebook's Markdown cells."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text())["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", text))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown's table of contents makes them."""
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    for included in INCLUDE.findall(text):
        text += (ROOT / included).read_text(encoding="utf-8")
    found = set()
    for heading in re.findall(r"^#+ +(.+?)(?: *\{#([\w-]+)\})?$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", re.sub(r"[`*]|\]\([^)]*\)", "", heading[0])).strip().lower()
        found.add(heading[1] or re.sub(r"[-\s]+", "-", plain))
    return found


def broken(path: Path) -> list[str]:
    """Links that lead nowhere."""
    out = []
    for target in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        if not there.exists():
            out.append(f"{target}: no such file")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            out.append(f"{target}: no such heading; it has {', '.join(sorted(anchors(there)))}")
    return out


def sources() -> list[Path]:
    """Everything that a reader follows links in."""
    rest = [ROOT / "CHANGELOG.md", *sorted(ROOT.glob("experiments/*/README.md")), *sorted(ROOT.glob("benchmarks/*.md"))]
    return [*pages(), *rest, *notebooks()]


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert broken(path) == []
    assert not re.search("^(<<<<<<<|>>>>>>>) ", path.read_text(encoding="utf-8"), re.MULTILINE), "a merge conflict"


def test_the_check_sees_a_broken_link(tmp_path):
    (tmp_path / "other.md").write_text("# One heading\n")
    page = tmp_path / "page.md"
    page.write_text("[a](other.md#one-heading) [b](other.md#two) [c](none.md) [d](https://example.org) `[e](f.md)`\n")
    assert [line.split(":")[0] for line in broken(page)] == ["other.md#two", "none.md"]


def test_external_links_are_few_and_secure():
    """Listed, not fetched: `pytest -s` prints them."""
    found = sorted({t for p in sources() for t in LINK.findall(prose(p)) if re.match(r"[a-z]+:", t)})
    print("\n".join(found))
    assert all(target.startswith("https://") for target in found)
