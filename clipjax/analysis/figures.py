"""Figures of a report: each takes plain values, gives a Drawing with a text that says the same in words.

Colours are Okabe and Ito's, which colour-blind readers can distinguish; series differ in marker too, for print. Names
are set as `clipjax.analysis.letters` says.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.analysis.letters import FAMILIES, short, to_glyphs, width
from clipjax.analysis.records import Record
from clipjax.files import write_atomically, write_text

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
GREY = "#767676"
DPI = 160
ROWS = 5.8  # inches of a figure of rows: a narrow screen shows all of it in letters that can be read
LONGEST = 34  # columns of letters that a name on an axis holds
MOST_COLUMNS = 10  # of a heat map: what a page of paper holds in letters that can be read


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """A figure and what it shows, in words, for those who cannot see it."""

    figure: Any
    alt: str

    def svg(self) -> str:
        """Letters as text; the same bytes for the same figure."""
        return self._svg  # a file, and a part of the page

    @functools.cached_property
    def _svg(self) -> str:
        out = io.BytesIO()
        with _style():
            self.figure.get_layout_engine().execute(self.figure)
            self.figure.set_layout_engine(None)  # with one, matplotlib draws twice at every save
            self.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "clipjax"})
        return out.getvalue().decode()

    @functools.cached_property
    def png(self) -> bytes:
        """Letters as they can be drawn on this machine."""
        _ = self.svg()  # before its texts are changed
        wider = to_glyphs(self.figure)
        out = io.BytesIO()
        with _style():
            options: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.02} if wider else {}  # draws twice
            self.figure.savefig(out, format="png", dpi=DPI, metadata={"Software": "clipjax"}, **options)
        return out.getvalue()

    def address(self) -> str:
        """The figure as an address that holds it, for the <img> of a page that needs no other file."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg().encode()).decode()}"

    def save(self, folder: Path, name: str) -> None:
        """folder/name.png and folder/name.svg, whole or not at all."""
        svg = self.svg()
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.svg", svg)
        write_atomically(folder / f"{name}.png", lambda path: path.write_bytes(self.png))


@dataclasses.dataclass(frozen=True)
class Series:
    """Rates of some groups under one design or model; None where there is no such group."""

    label: str
    values: Sequence[float | None]
    low: Sequence[float | None]
    high: Sequence[float | None]
    counts: Sequence[str]
    small: Sequence[bool]

    @staticmethod
    def of(label: str, records: Sequence[Record | None]) -> Series:
        """Of a record for each group, None where there is no such group."""
        values, low, high = ([getattr(r, part, None) for r in records] for part in ("value", "low", "high"))
        counts = [f"{r.k}/{r.n}" if r else "" for r in records]
        return Series(label, values, low, high, counts, [bool(r and r.small) for r in records])


def rates_by_group(
    groups: Sequence[str], series: Sequence[Series], quantity: str, overall: float | None = None,
    unit: str = "percent of the group's images",
) -> Drawing:  # fmt: skip
    """A row per group, a dot with its interval per series, k/n at the right; small cells are hollow.

    overall: the rate of all images, a line across the groups. unit: what the axis counts.
    """
    offsets = (np.arange(len(series)) - (len(series) - 1) / 2) * min(0.26, 0.75 / max(len(series), 1))
    height = 1.0 + len(groups) * max(0.32, 0.2 * len(series)) + 0.25 * len(series)
    figure, axes = _axes(ROWS, height)
    most = max([100.0 * h for s in series for h in s.high if h is not None] or [1.0])
    for i, s in enumerate(series):
        shown = [g for g in range(len(groups)) if s.values[g] is not None]
        x, low, high = (100 * np.array([v[g] for g in shown], float) for v in (s.values, s.low, s.high))
        y, colour = np.array(shown) + offsets[i], COLOURS[i % len(COLOURS)]
        axes.hlines(y, low, high, color=colour, lw=1.6)
        face = ["white" if s.small[g] else colour for g in shown]
        axes.scatter(
            x,
            y,
            marker=MARKERS[i % len(MARKERS)],
            s=26,
            color=face,
            edgecolors=colour,
            zorder=3,
            clip_on=False,  # a dot at 0 or at 100 is whole
            label=short(s.label, 60),
        )
        for g, at in zip(shown, y, strict=True):
            _text(axes, 1.02, at, s.counts[g], transform=axes.get_yaxis_transform(), fontsize=7.5, color=colour)
    _rows(axes, groups)
    axes.set_xlim(0, min(100.0, most * 1.05 + 0.5))
    _x_label(axes, f"{quantity}, {unit}{_few(*series)}")
    _grid(axes, "x")
    if overall is not None:
        axes.axvline(100 * overall, color="black", lw=0.9, ls="--", zorder=1)
        _text(
            axes, 100 * overall, 1.01, f"all images {100 * overall:.1f}%", transform=axes.get_xaxis_transform(),
            fontsize=7.5, ha="center", va="bottom",
        )  # fmt: skip
    if len(series) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, ncols=1, fontsize=8)
    words = [
        f"{g}: " + "; ".join(_words(s, i) for s in series if s.values[i] is not None) for i, g in enumerate(groups)
    ]
    every = "" if overall is None else f" All images: {100 * overall:.1f}%."
    return Drawing(figure, f"{quantity} by group. " + ". ".join(words) + f".{every}")


def differences_by_group(groups: Sequence[str], of: Series, quantity: str, hollow: str = "few images") -> Drawing:
    """A row per group: a difference with its interval around the line at zero, and its counts at the right.

    hollow: what a hollow dot is, where `of.small` has one.
    """
    figure, axes = _axes(ROWS, 1.0 + 0.32 * max(len(groups), 1))
    value, low, high = (100 * np.array([np.nan if x is None else x for x in v]) for v in (of.values, of.low, of.high))
    y = range(len(groups))
    axes.axvline(0, color="black", lw=0.9)
    axes.hlines(y, low, high, color=COLOURS[0], lw=1.6)
    face = ["white" if small else COLOURS[0] for small in of.small]
    axes.scatter(value, y, s=26, color=face, edgecolors=COLOURS[0], zorder=3, clip_on=False)
    for at, said in zip(y, of.counts, strict=True):
        _text(axes, 1.02, at, said, transform=axes.get_yaxis_transform(), fontsize=7.5, color=GREY)
    _rows(axes, groups)
    reach = 1.06 * max([*np.abs(low), *np.abs(high), 1.0])
    axes.set_xlim(-reach, reach)
    _x_label(axes, f"{quantity}, points of percent{_few(of, hollow=hollow)}")
    _grid(axes, "x")
    words = [
        f"{g}: {v:+.1f} ({a:+.1f} to {b:+.1f}; {said})"
        for g, v, a, b, said in zip(groups, value, low, high, of.counts, strict=True)
    ]
    return Drawing(figure, f"{quantity} by group, in points. " + ". ".join(words) + ".")


def bars(places: Sequence[tuple[str, str]], series: Sequence[Series]) -> Drawing:
    """(data set, metric) along the axis, a bar with its interval per series at each."""
    longest = max(min(width(said), LONGEST) for place in places for said in place)
    figure, axes = _axes(max(5.0, 1.0 + len(places) * max(0.5 * len(series), 0.09 * longest)), 4.0)
    wide = 0.8 / len(series)
    for i, s in enumerate(series):
        shown = [p for p in range(len(places)) if s.values[p] is not None]
        value, low, high = (100 * np.array([np.nan if v[p] is None else v[p] for p in shown], float) for v in (
            s.values, s.low, s.high,
        ))  # fmt: skip
        at = np.array(shown) + (i - (len(series) - 1) / 2) * wide
        axes.bar(at, value, wide * 0.92, color=COLOURS[i % len(COLOURS)], label=short(s.label, LONGEST))
        axes.errorbar(at, value, [value - low, high - value], fmt="none", ecolor="black", elinewidth=1, capsize=2)
    axes.set_xticks(
        range(len(places)), [f"{short(name, LONGEST)}\n{short(metric, LONGEST)}" for name, metric in places]
    )
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    axes.set_ylim(0, 100)
    _plain(axes.set_ylabel("percent, with its interval"))
    _grid(axes, "y")
    legend = figure.legend(loc="outside upper center", ncols=min(len(series), 4), frameon=False)
    for label in legend.get_texts():
        label.set_parse_math(False)
    words = [
        f"{name}, {metric}: " + "; ".join(_words(s, p) for s in series if s.values[p] is not None)
        for p, (name, metric) in enumerate(places)
    ]
    return Drawing(figure, ". ".join(words) + ".")


def mirrored_bars(
    panels: Sequence[tuple[str, Sequence[str], Sequence[float], Sequence[float]]], names: tuple[str, str]
) -> Drawing:
    """Figure 1 of the paper: (title, labels, rates of the first group, of the second) per panel; bars to both sides."""
    rows = max([len(labels) for _, labels, *_ in panels] + [1])
    figure, grid = _axes(5.2 * len(panels), 1.3 + 0.24 * rows, columns=len(panels))
    most = max([100 * v for _, _, a, b in panels for v in (*a, *b)] + [1.0])
    alt = []
    for axes, (title, labels, first, second) in zip(np.atleast_1d(grid), panels, strict=True):
        y = np.arange(len(labels))
        axes.barh(y, [-100 * v for v in first], color=COLOURS[1], height=0.74, label=names[0])
        axes.barh(
            y, [100 * v for v in second], color=COLOURS[0], height=0.74, label=names[1], hatch="//", edgecolor="w"
        )
        axes.axvline(0, color="black", lw=0.8)
        axes.set_xlim(-most * 1.08, most * 1.08)
        axes.xaxis.set_major_formatter(lambda v, _: f"{abs(v):g}")
        _rows(axes, labels)
        _x_label(axes, "percent of images with the label")
        _title(axes, title)
        _grid(axes, "x")
        alt.append(
            f"{title}: "
            + ", ".join(f"{n} {100 * a:.1f} and {100 * b:.1f}" for n, a, b in zip(labels, first, second, strict=True))
        )
    figure.legend(
        *np.atleast_1d(grid)[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    return Drawing(figure, f"Percent of images by label, {names[0]} and {names[1]}. " + ". ".join(alt) + ".")


def threshold_curves(
    thresholds: np.ndarray, curves: dict[str, np.ndarray], classes: int, marks: Sequence[float], quantity: str
) -> Drawing:
    """`quantity` against the threshold in multiples of the uniform probability 1/K (logarithmic)."""
    figure, axes = _axes(7.0, 3.8)
    x = np.asarray(thresholds) * classes
    for i, (name, y) in enumerate(curves.items()):
        line = {"color": COLOURS[i % len(COLOURS)], "ls": ("-", "--", ":", "-.")[i % 4]}
        axes.plot(x, y, lw=1.8, label=short(name, LONGEST), **line)
    axes.set_xscale("log")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(bottom=0)
    for at, text in [(1.0, f"uniform, 1/{classes}"), *((m * classes, f"p = {100 * m:g}%") for m in marks)]:
        if x[0] <= at <= x[-1]:
            axes.axvline(at, color=GREY, lw=1, ls=":" if at != 1.0 else "-")
            _text(axes, at, 1.01, text, transform=axes.get_xaxis_transform(), fontsize=8, rotation=30, color=GREY)
    axes.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    _x_label(axes, f"threshold times K ({classes} labels): 1 is what a uniform answer gives each label")
    _plain(axes.set_ylabel(quantity))
    _grid(axes, "both")
    axes.legend(frameon=False)
    at = [int(np.abs(np.asarray(thresholds) - m).argmin()) for m in marks]
    words = [
        f"{name}: " + ", ".join(f"{y[i]:.2f} at {100 * m:g}%" for i, m in zip(at, marks, strict=True))
        for name, y in curves.items()
    ]
    return Drawing(figure, f"{quantity} by threshold. " + "; ".join(words) + ".")


def heat_maps(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    quantity: str,
    small: np.ndarray | None = None,
    tails: Sequence[str] = (),
) -> list[Drawing]:
    """values [R, C] as shares (nan: no such cell), each written into its cell as percent; `small` ones with †.

    The longer side goes down the page, and what is still wider than MOST_COLUMNS is cut into several figures. `tails`
    stand behind the names of the rows: "(n = 12)".
    """
    values = np.asarray(values, float)
    small = np.zeros(values.shape, bool) if small is None else np.array(small)
    few: np.ndarray = np.all(small, axis=1)  # marked once, at the row's name
    small[few] = False
    tails = [tail + "†" * bool(mark) for tail, mark in zip(tails or [""] * len(rows), few, strict=True)]
    most = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    words = []
    for row, tail, shares in zip(rows, tails, values, strict=True):
        top = [c for c in np.argsort(-np.nan_to_num(shares), kind="stable")[:3] if np.isfinite(shares[c])]
        words.append(f"{row}{tail}: " + ", ".join(f"{columns[c]} {100 * shares[c]:.1f}" for c in top))
    down = [short(name, LONGEST, tail) for name, tail in zip(rows, tails, strict=True)]
    across = [short(name, LONGEST) for name in columns]
    if len(across) > len(down):
        values, small, down, across = values.T, small.T, across, down
    parts = np.array_split(np.arange(len(across)), -(-len(across) // MOST_COLUMNS) or 1)
    out = []
    for i, part in enumerate(parts):
        of = f" (part {i + 1} of {len(parts)})" if len(parts) > 1 else ""
        said = f"{quantity}, percent{of}{' (†: few images)' if small.any() or few.any() else ''}"
        figure = _heat_map(values[:, part], down, [across[c] for c in part], said, small[:, part], most)
        alt = "Largest of each group: " + "; ".join(words) if i == 0 else f"Part {i + 1}; the first names the largest"
        out.append(Drawing(figure, f"{quantity}. {alt}."))
    return out


def _heat_map(
    values: np.ndarray, rows: Sequence[str], across: Sequence[str], title: str, small: np.ndarray, most: float
) -> Any:
    longest = [max(map(width, names), default=0) for names in (rows, across)]
    figure, axes = _axes(
        max(0.8 + 0.08 * max(longest) + 0.46 * len(across), 0.6 + 0.08 * width(title)),
        0.9 + 0.06 * longest[1] + 0.26 * max(len(rows), 2),
    )
    axes.imshow(100 * values, cmap="Blues", vmin=0, vmax=max(100 * most, 1e-9), aspect="auto")
    for r, c in np.ndindex(values.shape):
        if np.isfinite(values[r, c]):
            text = f"{100 * values[r, c]:.1f}" if values[r, c] < 0.9995 else "100"
            text = (text if values[r, c] else "0") + ("†" if small[r, c] else "")
            _text(axes, c, r, text, ha="center", fontsize=8, color="white" if values[r, c] > 0.6 * most else "black")
    axes.set_xticks(range(len(across)), across, rotation=45, ha="right", rotation_mode="anchor")
    _rows(axes, rows, inverted=False)
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    axes.set_facecolor("#dddddd")
    _plain(axes.set_title(short(title, 70), fontsize=9, loc="left"))
    return figure


def flows(moves: Sequence[tuple[str, str, int]], n: int, of: str = "images", most: int = 14) -> Drawing:
    """(class under A, class under B, images) -> bands from the classes of A at the left to those of B at the right, as
    wide as their images are many; the commonest moves, the rest in one band."""
    ordered = sorted(moves, key=lambda m: (-m[2], m[0], m[1]))
    shown, rest = ordered[:most], ordered[most:]
    if rest:
        others = f"{len(rest)} other moves"
        shown = [*shown, (others, others, sum(count for *_, count in rest))]
    total = sum(count for *_, count in shown) or 1
    figure, axes = _axes(ROWS, max(1.6, 0.8 + 0.3 * max(len({m[i] for m in shown}) for i in (0, 1))) if shown else 1.6)
    gap = 0.06 * total
    place: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for side, starts in enumerate(place):
        sizes: dict[str, int] = {}
        for a, b, count in shown:
            sizes[(a, b)[side]] = sizes.get((a, b)[side], 0) + count
        at = 0.0
        for name, size in sizes.items():
            starts[name] = at
            _text(
                axes, (-0.02, 1.02)[side], at + size / 2, short(name, 28, f"  {size}"), fontsize=8.5,
                ha=("right", "left")[side],
            )  # fmt: skip
            axes.fill_betweenx([at, at + size], *((-0.012, 0.0), (1.0, 1.012))[side], color="black", lw=0)
            at += size + gap
    x = np.linspace(0, 1, 60)
    bend = x**2 * (3 - 2 * x)
    for i, (a, b, count) in enumerate(shown):
        start, end = place[0][a], place[1][b]
        low = start + (end - start) * bend
        axes.fill_between(x, low, low + count, color=COLOURS[i % 6], alpha=0.55, lw=0.6, edgecolor="black")
        place[0][a] += count
        place[1][b] += count
    axes.set_xlim(-0.45, 1.45)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_axis_off()
    _plain(axes.set_title(f"A → B: {sum(count for *_, count in moves)} of {n} {short(of, 60)}", fontsize=9))
    words = [f"{a} → {b}: {count}" for a, b, count in shown]
    return Drawing(figure, f"Of {n} {of}, those that moved from a class of A to one of B. " + "; ".join(words) + ".")


def sweep_strip(
    groups: Sequence[str], values: Sequence[Sequence[float]], base: Sequence[float], quantity: str
) -> Drawing:
    """Every design of a sweep as a dot, per group; the design itself is the orange diamond."""
    figure, axes = _axes(ROWS, 1.2 + 0.36 * len(groups))
    rng = np.random.default_rng(0)
    for g, rates in enumerate(values):
        jitter = rng.uniform(-0.22, 0.22, len(rates))
        whole = {"clip_on": False}  # a dot at 0 or at 100
        axes.scatter(100 * np.asarray(rates), g + jitter, s=9, color=COLOURS[0], alpha=0.45, lw=0, **whole)
        axes.scatter(
            [100 * base[g]], [g], marker="D", s=36, color=COLOURS[1], edgecolors="black", lw=0.6, zorder=3, **whole
        )
    _rows(axes, groups)
    axes.set_xlim(left=0)
    _x_label(axes, f"{quantity}, percent (diamond: the design itself)")
    _grid(axes, "x")
    words = [
        f"{g}: {100 * min(v):.1f} to {100 * max(v):.1f}, itself {100 * b:.1f}"
        for g, v, b in zip(groups, values, base, strict=True)
    ]
    return Drawing(figure, f"{quantity} over the swept designs. " + "; ".join(words) + ".")


def _axes(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with _style():
        pads = {"w_pad": 0.1, "h_pad": 0.06}  # inches: the reader's font may be a little wider
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(**pads), dpi=72)  # as an .svg is drawn
        FigureCanvasAgg(figure)
        return figure, figure.subplots(1, columns)


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    settings = {
        "svg.hashsalt": "clipjax", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False,
        "axes.spines.right": False, "axes.edgecolor": "#444444", "hatch.linewidth": 0.5,
        "font.sans-serif": FAMILIES,
    }  # fmt: skip
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's machine has it, see letters.py
        yield


def _few(*series: Series, hollow: str = "few images") -> str:
    """What a hollow dot is, where there is one."""
    return f" (hollow: {hollow})" if any(any(s.small) for s in series) else ""


def _rows(axes: Any, names: Sequence[str], longest: int = LONGEST, inverted: bool = True) -> None:
    axes.set_yticks(range(len(names)), [short(name, longest) for name in names])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    if inverted:
        axes.set_ylim(len(names) - 0.45, -0.55)


def _words(s: Series, i: int) -> str:
    label = f"{s.label} " if s.label else ""
    value, low, high = (100 * float(v[i] or 0) for v in (s.values, s.low, s.high))
    return f"{label}{value:.1f}% ({s.counts[i]}; {low:.1f} to {high:.1f})"


def _text(axes: Any, x: float, y: float, text: str, **options: Any) -> None:
    axes.text(
        x,
        y,
        text,
        va=options.pop("va", "center" if "rotation" not in options else "bottom"),
        parse_math=False,
        **options,
    )


def _x_label(axes: Any, text: str) -> None:
    _plain(axes.set_xlabel(text))


def _title(axes: Any, text: str) -> None:
    _plain(axes.set_title(short(text, 60), fontsize=9.5))


def _plain(text: Any) -> None:
    """A dollar sign in somebody's class name is a dollar sign."""
    text.set_parse_math(False)


def _grid(axes: Any, which: str) -> None:
    axes.grid(axis=which, color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
