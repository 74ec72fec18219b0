"""Random worlds with known effects: do the findings name what was planted, and only that?

    python experiments/findings/worlds.py [WORLDS] [SEED]

Each world is drawn twice: a run whose groups differ by a planted amount in one set, and two designs between which some
images of one group move from one class to a class that only the second design has, beside moves in both directions
that mean nothing. A quarter of the worlds have no effect at all.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np

from clipjax.analysis import compare, findings, intervals, rates
from clipjax.analysis.transitions import Transitions
from clipjax.design import Design, DesignClass

SETS = {"person": 6, "crime": 3, "animal": 3}
CLASSES = [DesignClass(f"{name} {i}", sets=(name,)) for name, n in SETS.items() for i in range(n)]
DESIGN = Design("before", tuple(CLASSES))
LARGER = Design("after", (*CLASSES, DesignClass("new", sets=("person",))))
NULL = 0.25  # of the worlds have no effect


@dataclasses.dataclass(frozen=True)
class World:
    """Groups of N images, the set or class that is planted, for which group, and how far."""

    columns: dict[str, np.ndarray]
    column: str
    group: str
    n: int
    size: float


def class_moves(
    a: np.ndarray, b: np.ndarray, classes: Sequence[str], columns: dict[str, np.ndarray]
) -> compare.ClassMoves:
    """Class names [N] under two designs -> what moved, of everybody and by each column."""
    cells = [rates.cells(grouping, columns, len(a)) for grouping in [(), *((name,) for name in columns)]]
    return compare.moves_of_classes(Transitions.of_names(a, b, cells), classes)


def world(rng: np.random.Generator) -> World:
    """Two columns that are independent of each other; group sizes as unequal as people's ages are."""
    n = int(rng.choice([300, 1000, 3000]))
    columns = {}
    for name, groups in (("age", int(rng.integers(2, 8))), ("tone", 3)):
        shares = rng.dirichlet(np.full(groups, 2.0))
        columns[name] = np.array([f"{name[0]}{i}" for i in range(groups)], object)[rng.choice(groups, n, p=shares)]
    column = str(rng.choice(list(columns)))
    group = str(rng.choice(np.unique(columns[column].astype(str))))
    size = 0.0 if rng.random() < NULL else float(rng.uniform(0.05, 0.4))
    return World(columns, column, group, n, size)


def question(f: findings.Finding) -> str:
    """The family that a finding was tested in."""
    return next(key for key in ("set", "class", "moved") if key in f.what)


def one_run(w: World, rng: np.random.Generator) -> tuple[Counter, bool]:
    """The planted group is given `crime` more often, by w.size, at the cost of `person`."""
    of = {"person": np.full(w.n, 0.85), "crime": np.full(w.n, 0.1), "animal": np.full(w.n, 0.05)}
    inside = w.columns[w.column] == w.group
    of["crime"] = of["crime"] + w.size * inside
    of["person"] = of["person"] - w.size * inside
    which = (rng.random(w.n)[:, None] > np.cumsum(np.stack(list(of.values()), 1), 1)).sum(1).clip(max=2)
    first = np.cumsum([0, *SETS.values()])[which]
    answers = first + (rng.random(w.n) * np.array(list(SETS.values()))[which]).astype(int)
    tallied = rates.tallies(answers, w.columns, rates.groupings("", list(w.columns)), len(DESIGN.classes))
    records = rates.records_of(tallied, DESIGN, rates.Method())
    up, down = {"crime": 1, "person": -1}, Counter()
    named = False
    for f in findings.of_records(records):
        if f.kind != "disparity":
            continue
        what = (f.what.get("set") or f.what["class"]).split()[0]
        other = len(np.unique(w.columns[w.column].astype(str))) == 2 and f.group.get(w.column) not in (None, w.group)
        planted = w.size > 0 and what in up and (f.group == {w.column: w.group} or other)
        right = planted and (f.value > 0) == (up[what] * (-1 if other else 1) > 0)
        echo = w.size > 0 and what in up and w.column in f.group and not planted
        down[question(f), "right" if right else "echo" if echo else "false"] += 1
        named |= right and "set" in f.what
    return down, named


def two_runs(w: World, rng: np.random.Generator) -> tuple[Counter, bool]:
    """Of the planted group a share w.size of the class `person 0` moves to `new`; 2% of all move to and fro."""
    a = rng.choice(len(CLASSES), w.n, p=[0.4, *np.full(len(CLASSES) - 1, 0.6 / (len(CLASSES) - 1))])
    b = a.copy()
    noise = rng.random(w.n) < 0.04
    pairs = {1: 2, 2: 1, 6: 9, 9: 6}  # within a set, and between two: as often one way as the other
    b[noise] = [pairs.get(c, c) for c in a[noise]]
    gone = (a == 0) & (w.columns[w.column] == w.group) & (rng.random(w.n) < w.size)
    b[gone] = len(CLASSES)
    asked = compare.shared(*(compare.set_questions(d, x) for d, x in ((DESIGN, a), (LARGER, b))))
    tallied = compare.tallies(*asked, w.columns, compare.groupings(list(w.columns), len(SETS)), {})
    records = compare.records_of(list(asked[0]), tallied, compare.LEVEL, rates.MIN_N)
    names = [np.array(d.names, object)[x] for d, x in ((DESIGN, a), (LARGER, b))]
    count, named = Counter(), False
    for f in findings.of_comparison(records, *class_moves(*names, DESIGN.names, w.columns)):
        if f.kind != "moved":
            continue
        mine = f.group.get(w.column) == w.group
        if "class" in f.what:  # all images and the groups of the other column hold images that moved, too
            right = w.size > 0 and f.what["class"] == "person 0" and f.value < 0 and (mine or w.column not in f.group)
            echo = False
        else:
            two = len(np.unique(w.columns[w.column].astype(str))) == 2
            right = w.size > 0 and "moved" in f.what and ((mine and f.value > 0) or (two and not mine and f.value < 0))
            echo = w.size > 0 and "moved" in f.what and w.column in f.group and not right
        count[question(f), "right" if right else "echo" if echo else "false"] += 1
        named |= right and mine
    return count, named


def detectable(w: World, kind: str) -> bool:
    """Whether an effect of this size is expected to be found: four times in five, or with moves enough."""
    n = int((w.columns[w.column] == w.group).sum())
    if not 0 < n < w.n:
        return False
    if kind == "run":
        return w.size >= findings.detectable(0.1, n, w.n - n, 0.05 / 24)
    return 0.4 * n * w.size >= 11  # moves: 2 * 0.5^11 is 0.001


def measure(worlds: int, seed: int) -> dict[str, dict[str, object]]:
    """Counts of statements and of missed effects with exact intervals; the false discovery rate of each question, the
    mean over worlds of the share of false statements, with its standard error."""
    out: dict[str, dict[str, object]] = {}
    for kind, draw in (("run", one_run), ("comparison", two_runs)):
        rng, total, shares = np.random.default_rng(seed), Counter(), {}
        for _ in range(worlds):
            w = world(rng)
            count, named = draw(w, rng)
            for (_, verdict), n in count.items():
                total[verdict] += n
            for q in ("set", "class", *["moved"] * (kind == "comparison")):
                n = sum(v for (asked, _), v in count.items() if asked == q)
                shares.setdefault(q, []).append(count[q, "false"] / max(n, 1))
            size = "none" if w.size == 0 else "large" if detectable(w, kind) else "small"
            total[size] += 1
            total[f"{size}, named" if size != "none" else "none, but a statement"] += (
                named if size != "none" else bool(sum(count.values()))
            )
        found: dict[str, object] = {"worlds": worlds} | {k: total[k] for k in ("right", "echo", "false")}
        for name, k, n in (
            ("false among all statements", total["false"], total["right"] + total["echo"] + total["false"]),
            ("worlds without an effect in which anything is stated", total["none, but a statement"], total["none"]),
            ("missed, of effects large enough", total["large"] - total["large, named"], total["large"]),
            ("missed, of smaller effects", total["small"] - total["small, named"], total["small"]),
        ):
            low, high = intervals.clopper_pearson(k, n)
            found[name] = {
                "k": k,
                "n": n,
                "share": round(k / n, 4),
                "interval": [round(float(low), 4), round(float(high), 4)],
            }
        found["false discovery rate"] = {
            q: [round(float(np.mean(x)), 4), round(float(np.std(x) / np.sqrt(worlds)), 4)] for q, x in shares.items()
        }
        out[kind] = found
    return out


if __name__ == "__main__":
    print(json.dumps(measure(*(int(word) for word in sys.argv[1:3] or ("200", "0"))), indent=1))
