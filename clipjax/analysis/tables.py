"""One table, four forms: CSV, Markdown, LaTeX (booktabs) and HTML say the same cells."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from clipjax.analysis.records import Record
from clipjax.files import write_text

Cell = str | int | float | None
_MARKDOWN = re.compile(r"[\\|]")  # what ends a cell, and what would undo its escape
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "†": r"\dag{}", "–": "--", "≥": r"$\geq$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Table:
    """`name` is the file's, `title` the caption, `note` what a reader needs to know. Cells are shown as they are."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def csv(self) -> str:
        """RFC 4180 with \\n."""
        return csv_text([self.columns, *self.rows])

    def markdown(self) -> str:
        """Title, table, note."""
        lines = markdown_lines([self.columns, *self.rows], self._left())
        return "\n".join([f"**{self.title}**", "", *lines, *(["", self.note] if self.note else []), ""])

    def latex(self) -> str:
        """A table float; needs \\usepackage{booktabs}."""
        rows = [" & ".join(latex(text(c)) for c in row) + r" \\" for row in [self.columns, *self.rows]]
        spec = "".join("l" if left else "r" for left in self._left())
        note = [rf"\par\smallskip\footnotesize {latex(self.note)}"] if self.note else []
        return "\n".join([
            r"\begin{table}", r"\centering", rf"\caption{{{latex(self.title)}}}", rf"\begin{{tabular}}{{{spec}}}",
            r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}", *note, r"\end{table}", "",
        ])  # fmt: skip

    def html(self) -> str:
        """A <table> with caption; every text escaped."""
        left = self._left()

        def row(cells: Sequence[Cell], tag: str) -> str:
            parts = [
                f"<{tag}{'' if left[i] else ' class=number'}>{html.escape(text(c))}</{tag}>"
                for i, c in enumerate(cells)
            ]
            return f"<tr>{''.join(parts)}</tr>"

        note = f"<p class=note>{html.escape(self.note)}</p>" if self.note else ""
        body = "\n".join(row(r, "td") for r in self.rows)
        head = f"<caption>{html.escape(self.title)}</caption>\n<thead>{row(self.columns, 'th')}</thead>"
        return f"<div class=table><table>{head}\n<tbody>{body}</tbody></table></div>{note}\n"

    def write(self, folder: Path) -> None:
        """folder/name.csv, .md and .tex."""
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in (("csv", self.csv()), ("md", self.markdown()), ("tex", self.latex())):
            write_text(folder / f"{self.name}.{suffix}", content)

    def _left(self) -> list[bool]:
        """Columns of words are set to the left, columns of numbers to the right."""
        return [not all(_is_number(row[i]) for row in self.rows) or not self.rows for i in range(len(self.columns))]


def csv_text(rows: Iterable[Iterable[Cell]]) -> str:
    """Rows, the header first, as RFC 4180 with \\n: whatever a cell holds, it is read back as one."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([text(cell) for cell in row] for row in rows)
    return out.getvalue()


def markdown_lines(rows: Sequence[Sequence[Cell]], left: Sequence[bool] | None = None) -> list[str]:
    """Rows, the header first, as the lines of a Markdown table; columns that are not `left` are set to the right."""
    marks = ["---" if is_left else "---:" for is_left in left or [True] * len(rows[0])]
    escaped = [[_MARKDOWN.sub(r"\\\g<0>", text(cell)).replace("\n", " ") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [escaped[0], marks, *escaped[1:]]]


def text(cell: Cell) -> str:
    """What a cell says; nothing for None."""
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def percent(value: float | None, decimals: int = 1) -> str:
    """0.1444 -> "14.4"; nothing for None."""
    return "" if value is None else f"{100 * value:.{decimals}f}"


def rate(record: Record, decimals: int = 1) -> str:
    """ "14.4 [12.6, 16.4] 203/1406", with a dagger where the cell is small."""
    bounds = f"[{percent(record.low, decimals)}, {percent(record.high, decimals)}]"
    mark = "†" if record.small else ""
    return f"{percent(record.value, decimals)}{mark} {bounds} {record.k}/{record.n}"


def latex(words: str) -> str:
    """Escaped for LaTeX."""
    return "".join(_LATEX.get(c, c) for c in words)


def _is_number(cell: Cell) -> bool:
    if cell is None or isinstance(cell, (int, float)):
        return True
    return not cell or cell[0] in "-0123456789."
