"""One table, four forms: CSV, Markdown, LaTeX (booktabs) and HTML say the same cells."""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipjax.analysis.records import Record
from clipjax.files import write_text

Cell = str | int | float | None
_MARKDOWN = re.compile(r"[\\|]")  # what ends a cell, and what would undo its escape
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "†": r"\dag{}", "–": "--", "≥": r"$\geq$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "∞": r"$\infty$", "χ": r"$\chi$", "²": r"$^2$",
    "→": r"$\rightarrow$", "…": r"\ldots{}", "[": "{[}", '"': r"\textquotedbl{}", "\n": " ",
}  # fmt: skip
_NEGATIVE = re.compile(r"(?<![\w.-])-(?=\d)")  # a minus sign, not a hyphen
_FORMULA = re.compile(r"[=+@\t\r-]")  # what a spreadsheet takes for the start of a formula
_SPECIAL = re.compile(r'[",\r\n]')
_TYPED = re.compile(r"[-+.\d]|(true|false|nan|inf|infinity|null|none|na)$", re.IGNORECASE)
WIDE = 60  # characters of a row that a column of a two-column page holds, at most
LONG = 40  # characters that a cell of a printed table has in one line
PARBOX = r"\parbox[t]{18em}{\raggedright\strut %s\strut}"  # LONG characters wide
TALL = 40  # lines of a table that a page holds


@dataclasses.dataclass(frozen=True)
class Table:
    """`name` is the file's, `title` the caption, `note` what a reader needs to know. Cells are shown as they are."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    data: Sequence[Sequence[Cell]] = ()  # for programs: a header, then one value per cell

    def csv(self) -> str:
        """RFC 4180 with \\n: one value per cell where the table has `data`."""
        return csv_text(self.data, typed=True) if self.data else csv_text([self.columns, *self.rows])

    def markdown(self) -> str:
        """Title, table, note."""
        lines = markdown_lines([self.columns, *self.rows], self._left())
        return "\n".join([f"**{self.title}**", "", *lines, *(["", self.note] if self.note else []), ""])

    def latex(self) -> str:
        """Table floats of at most TALL lines, over both columns of a page where they are wide, never wider than that.

        Needs \\usepackage{booktabs, graphicx} and, for accented letters, \\usepackage[T1]{fontenc}.
        """
        wrapped = [self._wraps(i) for i in range(len(self.columns))]
        head = " & ".join(latex(c) for c in self.columns) + r" \\"
        spec = "".join("l" if left else "r" for left in self._left())
        widest = sum(LONG if wraps else self._widest(i) + 2 for i, wraps in enumerate(wrapped))
        kind = "table*" if widest > WIDE else "table"
        note = [rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {latex(self.note)}}}"] if self.note else []
        parts: list[list[str]] = [[]]
        lines = 0
        for row in self.rows:
            cells = [(latex(text(c)), wraps) for c, wraps in zip(row, wrapped, strict=True)]
            height = max(-(-len(text(c)) // (LONG - 8)) if wraps else 1 for c, wraps in zip(row, wrapped, strict=True))
            if lines + height > TALL:
                parts.append([])
                lines = 0
            lines += height
            parts[-1].append(" & ".join(PARBOX % said if wraps else said for said, wraps in cells) + r" \\")
        out = []
        for i, part in enumerate(parts):
            title = latex(self.title) + (f" (part {i + 1} of {len(parts)})" if len(parts) > 1 else "")
            label = f"tab:{self.name}" + (f"-{i + 1}" if i else "")
            out += [
                rf"\begin{{{kind}}}", r"\centering\footnotesize", rf"\caption{{{title}}}\label{{{label}}}",
                r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%", rf"\begin{{tabular}}{{{spec}}}",
                r"\toprule", head, r"\midrule", *part, r"\bottomrule",
                r"\end{tabular}}", *note, rf"\end{{{kind}}}", "",
            ]  # fmt: skip
        return "\n".join(out)

    def html(self) -> str:
        """A <table> with caption; every text escaped."""
        left = self._left()

        def row(cells: Sequence[Cell], head: bool) -> str:
            parts = []
            for i, c in enumerate(cells):
                named = ' scope="col"' if head else ' scope="row"' if i == 0 else ""
                tag = "th" if named else "td"
                parts.append(f"<{tag}{named}{'' if left[i] else ' class=number'}>{html.escape(text(c))}</{tag}>")
            return f"<tr>{''.join(parts)}</tr>"

        note = f"<p class=note>{html.escape(self.note)}</p>" if self.note else ""
        body = "\n".join(row(r, False) for r in self.rows)
        title = html.escape(self.title)
        head = f"<caption>{title}</caption>\n<thead>{row(self.columns, True)}</thead>"
        return (
            f'<div class=table role="region" aria-label="{title}" tabindex=0><table>{head}\n<tbody>{body}</tbody>'
            f"</table></div>{note}\n"
        )

    def write(self, folder: Path) -> None:
        """folder/name.csv, .md and .tex."""
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in (("csv", self.csv()), ("md", self.markdown()), ("tex", self.latex())):
            write_text(folder / f"{self.name}.{suffix}", content)

    def _widest(self, i: int) -> int:
        return max(len(text(row[i])) for row in [self.columns, *self.rows])

    def _wraps(self, i: int) -> bool:
        """Whether a column of a printed table has several lines a cell: long texts of words that are not."""
        words = (word for row in self.rows for word in text(row[i]).split(" "))
        return self._widest(i) > LONG and max(map(len, words), default=0) <= LONG // 2

    def _left(self) -> list[bool]:
        """Columns of words are set to the left, columns of numbers to the right."""
        return [not all(_is_number(row[i]) for row in self.rows) or not self.rows for i in range(len(self.columns))]


def csv_text(rows: Iterable[Iterable[Cell]], typed: bool = False) -> str:
    """Rows, the header first, as RFC 4180 with \\n: whatever a cell holds, it is read back as one.

    A text that a spreadsheet would run as a formula gets an apostrophe in front. typed: only numbers are numbers; a
    text that reads like one, a date or a truth value ("007", "1/2", "true") is in quotes, which readers respect.
    """
    return "".join(",".join(_quoted(cell, typed) for cell in row) + "\n" for row in rows)


def _quoted(cell: Cell, typed: bool) -> str:
    said = _plain(cell)
    if _SPECIAL.search(said) or (typed and isinstance(cell, str) and _TYPED.match(said)):
        return '"' + said.replace('"', '""') + '"'
    return said


def _plain(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return repr(float(cell))  # of numpy too
    said = text(cell)
    return f"'{said}" if _FORMULA.match(said) and not _is_decimal(said) else said


def _is_decimal(said: str) -> bool:
    try:
        float(said)
    except ValueError:
        return False
    return True


def tidy(runs: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> list[list[Cell]]:
    """Records of named runs -> a header and a row per record: `run`, what it is, a column per group column, numbers;
    lists with | between their parts."""
    flat: list[dict[str, Any]] = []
    for name, records in runs:
        for r in records:
            group = {f"group.{column}": value for column, value in (r.get("group") or {}).items()}
            rest = {key: _listed(value) for key, value in r.items() if not isinstance(value, Mapping)}
            flat.append({"run": name, "metric": rest.pop("metric", None), **group, **rest})
    head = list(dict.fromkeys(key for row in flat for key in row))
    return [[*head], *([row.get(key) for key in head] for row in flat)]


def _listed(value: Any) -> Cell:
    """A list as one cell."""
    return "|".join(map(text, value)) if isinstance(value, list) else value


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
    """Escaped for LaTeX; letters that its usual fonts lack become their number."""
    words = _NEGATIVE.sub("\0", words)
    return "".join(
        r"$-$" if c == "\0" else _LATEX.get(c) or (c if ord(c) < 0x250 else f"U+{ord(c):04X}") for c in words
    )


def _is_number(cell: Cell) -> bool:
    if cell is None or isinstance(cell, (int, float)):
        return True
    return not cell or cell[0] in "-–+∞0123456789."
