"""The longest functions and the largest files of a source tree, and repeated code.

    python experiments/second_reading/measure.py [--revision=REV] [--min-lines=4]

Reads the Python files that git tracks, in the working tree or at --revision, and runs none of them. A repetition is a
run of at least --min-lines equal lines of code in two places, or two functions with equal bodies. Blank lines,
comments, docstrings, imports and single brackets do not count, nor does a run in more than eight places, which is
common syntax.
"""

from __future__ import annotations

import argparse
import ast
import collections
import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = (("clipjax", "checkpoints_convert"), ("tests",), ("benchmarks", "experiments", "configs"))
PLACES = 8
SHORTEST_BODY = 60  # characters: below, equal bodies say nothing


def sources(revision: str | None) -> dict[str, str]:
    """Path -> text of every tracked Python file."""
    listing = ["ls-tree", "-r", "--name-only", revision] if revision else ["ls-files"]
    rooms = [room for rooms in ROOMS for room in rooms]
    names = [name for name in git(*listing, "--", *rooms).split("\n") if name.endswith(".py")]
    if revision:
        return {name: git("show", f"{revision}:{name}") for name in names}
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in names if (ROOT / name).exists()}


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout


def functions(text: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def code_lines(text: str) -> list[tuple[int, str]]:
    """(number, text) of every line that counts."""
    passed: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (is_text or isinstance(node, ast.Import | ast.ImportFrom)):
            passed |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = ((n, " ".join(line.split())) for n, line in enumerate(text.split("\n"), 1) if n not in passed)
    return [(n, line) for n, line in lines if re.search(r"\w", line) and not line.startswith("#")]


def runs(files: dict[str, str], least: int) -> list[str]:
    """ "7 lines: a.py:1-9 ~ b.py:3-11", the longest first."""
    lines = {name: code_lines(text) for name, text in files.items()}
    seen: dict[tuple[str, ...], list[tuple[str, int]]] = collections.defaultdict(list)
    for name, found in lines.items():
        for i in range(len(found) - least + 1):
            seen[tuple(line for _, line in found[i : i + least])].append((name, i))
    pairs = {
        (a, b)
        for places in seen.values() if 1 < len(places) <= PLACES
        for k, a in enumerate(places) for b in places[k + 1 :] if a[0] != b[0] or b[1] - a[1] >= least
    }  # fmt: skip
    rows = []
    for (file_a, i), (file_b, j) in pairs:
        if ((file_a, i - 1), (file_b, j - 1)) not in pairs:  # where the run begins
            n = 1
            while ((file_a, i + n), (file_b, j + n)) in pairs:
                n += 1
            ends = ((f, lines[f][k][0], lines[f][k + least + n - 2][0]) for f, k in ((file_a, i), (file_b, j)))
            rows.append((least + n - 1, " ~ ".join(f"{f}:{first}-{last}" for f, first, last in ends)))
    return [f"{n} lines: {where}" for n, where in sorted(rows, key=lambda row: (-row[0], row[1]))]


def equal_bodies(files: dict[str, str]) -> list[str]:
    """Functions that say the same, whatever they are called."""
    places: dict[str, list[str]] = collections.defaultdict(list)
    for name, text in files.items():
        for node in functions(text):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            places["\n".join(map(ast.unparse, body))].append(f"{name}:{node.name}")
    return [" ~ ".join(found) for body, found in places.items() if len(found) > 1 and len(body) > SHORTEST_BODY]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--revision", help="default: the working tree")
    parser.add_argument("--min-lines", type=int, default=4)
    args = parser.parse_args()
    files = sources(args.revision)
    measured: dict[str, object] = {}
    for rooms in ROOMS:
        mine = {name: text for name, text in files.items() if name.split("/")[0] in rooms}
        lengths = [(f.end_lineno - f.lineno + 1, f"{n}:{f.name}") for n, text in mine.items() for f in functions(text)]
        sizes = [(text.count("\n"), name) for name, text in mine.items()]
        measured[", ".join(rooms)] = {
            "files": len(sizes), "lines": sum(n for n, _ in sizes), "functions": len(lengths),
            "lines of a function": round(sum(n for n, _ in lengths) / len(lengths), 1),
            "functions over 50 lines": sum(n > 50 for n, _ in lengths),
            "longest functions": sorted(lengths, reverse=True)[:6], "largest files": sorted(sizes, reverse=True)[:6],
        }  # fmt: skip
    measured |= {"equal bodies": equal_bodies(files), "repeated runs": runs(files, args.min_lines)}
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
