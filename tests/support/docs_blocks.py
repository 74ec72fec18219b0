"""The fenced code blocks of a Markdown page, with what their info strings say.

    python tests/support/docs_blocks.py        # how many blocks the README and the pages have, by kind

```python, ```bash   run, in the order of the page, in one folder and one namespace
```LANG title="F"    written to F first; a script or a manifest is checked as what it is
```console           run with stand-ins for gcloud, sbatch, srun, kubectl; `clipjax` is parsed and not run
```text title="output"   what the block before it printed, digits aside; a line of ... stands for any lines
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = ("python", "bash", "console")
SHOWN = ("text", "yaml", "csv", "json", "markdown")  # not run: output, or the content of a file
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`]*)$")


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block: where it begins, its language, the file it is (or "output"), its text."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def runs(self) -> bool:
        """Whether the block is executed, or checked as the file it is."""
        return self.language in RUN or bool(self.title and self.title != "output")

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """README, CONTRIBUTING and every page of the documentation."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order, also those inside lists, notes and tabs."""
    found: list[Block] = []
    opened: tuple[int, str, str, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = FENCE.match(line)
        if opened is None:
            if match:
                opened, inside = (number, match["indent"], match["ticks"], match["info"].strip()), []
        elif match and match["ticks"] == opened[2] and not match["info"].strip():
            start, _, _, info = opened
            title = re.search(r'title="([^"]*)"', info)
            text = textwrap.dedent("\n".join(inside)) + "\n"
            found.append(Block(page, start, info.split(" ")[0], title[1] if title else "", text))
            opened = None
        else:
            inside.append(line)
    if opened is not None:
        raise ValueError(f"{page}:{opened[0]}: this block is never closed")
    return found


def main() -> None:
    """Prints a line per page and the totals."""
    total: Counter[str] = Counter()
    for page in pages():
        kinds = Counter(f"{b.language}{' (file)' if b.title and b.runs else ''}" for b in blocks(page) if b.runs)
        total += kinds
        if kinds:
            print(f"{page.relative_to(ROOT)!s:<28} {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}")
    print(f"{sum(total.values())} blocks run: {', '.join(f'{n} {kind}' for kind, n in sorted(total.items()))}")


if __name__ == "__main__":
    main()
