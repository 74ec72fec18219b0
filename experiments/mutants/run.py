"""Twenty-four important lines, changed one at a time: do the ordinary tests detect it?

    python experiments/mutants/run.py [--only=3,7] [--work=FOLDER]

Works on a copy of the tracked files. For each mutant the nearest ordinary tests run until the first failure (`-x`).
With --whole, a mutant that they do not detect is tested against all tests. Writes results/results.json and
results/table.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One line of a file, what it becomes, and the tests that stand nearest."""

    what: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = [
    Mutant("LayerNorm without its eps", "clipjax/models/layers.py",
           "keepdims=True) + self.eps)", "keepdims=True))", "tests/models"),
    Mutant("BatchNorm's eps ten times as large", "clipjax/models/resnet.py",
           "jax.lax.rsqrt(var + self.eps)", "jax.lax.rsqrt(var + 10 * self.eps)", "tests/models"),
    Mutant("QuickGELU with 1.7 for 1.702", "clipjax/models/layers.py",
           "jax.nn.sigmoid(1.702 * x)", "jax.nn.sigmoid(1.7 * x)", "tests/models"),
    Mutant("attention without its scale", "clipjax/models/layers.py",
           "q * q.shape[-1] ** -0.5, k", "q, k", "tests/models"),
    Mutant("the causal mask one position off", "clipjax/models/text.py",
           "jnp.tril(jnp.ones((t, t), bool))", "jnp.tril(jnp.ones((t, t), bool), 1)", "tests/models"),
    Mutant("texts cut one position before their end", "clipjax/models/kinds/text.py",
           "return tokens.argmax(1) + 1", "return tokens.argmax(1)",
           "tests/test_encoder.py tests/models"),
    Mutant("matrices not transposed when read", "checkpoints_convert/rules.py",
           "LINEAR = Layout(lambda x: x.T, lambda x: x.T)", "LINEAR = Layout(lambda x: x, lambda x: x)",
           "tests/checkpoints_convert"),
    Mutant("convolutions read as OIHW -> WHIO", "checkpoints_convert/rules.py",
           "x.transpose(2, 3, 1, 0), lambda", "x.transpose(3, 2, 1, 0), lambda",
           "tests/models tests/checkpoints_convert"),
    Mutant("pictures resized bilinearly", "clipjax/image.py",
           "image = image.resize((width, height), Image.Resampling.BICUBIC)",
           "image = image.resize((width, height), Image.Resampling.BILINEAR)", "tests/test_image.py"),
    Mutant("the crop's offset rounded down", "clipjax/image.py",
           "left, top = round((width - size) / 2.0), round((height - size) / 2.0)",
           "left, top = (width - size) // 2, (height - size) // 2", "tests/test_image.py"),
    Mutant("the tokenizer keeps capitals", "clipjax/text/tokenizer.py",
           "return text.lower().split()", "return text.split()", "tests/text"),
    Mutant("prompts averaged before they are normalised", "clipjax/probes/zeroshot.py",
           "    x = normalise(text_features)\n", "    x = np.asarray(text_features, np.float32)\n", "tests/probes"),
    Mutant("ties in top-k decided for the later class", "clipjax/probes/metrics.py",
           "(part == own) & (before < label)", "(part == own) & (before > label)", "tests/probes"),
    Mutant("retrieval ranks by the picture's index", "clipjax/probes/retrieval.py",
           "np.argsort(owner, kind=\"stable\")", "np.arange(len(owner))", "tests/probes"),
    Mutant("an interval with the whole error in one tail", "clipjax/analysis/intervals.py",
           "n.astype(np.float64), (1 - level) / 2", "n.astype(np.float64), (1 - level)", "tests/analysis"),
    Mutant("a one-sided McNemar", "clipjax/analysis/paired.py",
           "np.minimum(2 * stats.binom.cdf", "np.minimum(stats.binom.cdf", "tests/analysis"),
    Mutant("the paired difference the other way", "clipjax/analysis/paired.py",
           "paired_difference(both, only_b, only_a, neither, level)",
           "paired_difference(both, only_a, only_b, neither, level)", "tests/analysis"),
    Mutant("Bonferroni by half the labels", "clipjax/analysis/association.py",
           "np.minimum(p * p.size, 1.0)", "np.minimum(p * (p.size / 2), 1.0)", "tests/analysis"),
    Mutant("chi-squared with the margins' sum", "clipjax/analysis/association.py",
           "table.sum(-1, keepdims=True) * table.sum(-2", "table.sum(-1, keepdims=True) + table.sum(-2",
           "tests/analysis"),
    Mutant("the loss in one direction only", "clipjax/train/losses.py",
           "return ((rows + columns) / 2 - positive) / len(image)", "return (rows - positive) / len(image)",
           "tests/train"),
    Mutant("logit_scale not held at ln 100", "clipjax/train/losses.py",
           "return jnp.minimum(logit_scale,", "return jnp.maximum(logit_scale,", "tests/train"),
    Mutant("a damaged cache record is believed", "clipjax/cache.py",
           " or zlib.crc32(data[start:end]) != crc:", ":", "tests/test_cache.py"),
    Mutant("hosts' rows put together in another order", "clipjax/runs/job.py",
           'order = np.argsort(rows, kind="stable")', "order = np.arange(len(rows))", "tests/runs/test_runner.py"),
    Mutant("any features pass for the canary's", "clipjax/runs/canary.py",
           "if not distance <= self._limit:", "if distance < 0:", "tests/runs/test_canary.py"),
]  # fmt: skip


def copy(folder: Path) -> None:
    """The files that git tracks or would."""
    listing = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=True,
    )  # fmt: skip
    for name in listing.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def tried(mutant: Mutant, folder: Path, tests: str) -> dict[str, object]:
    """What the tests say of the copy with this line broken."""
    file = folder / mutant.file
    whole = file.read_text()
    if whole.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.file}: {mutant.old!r} stands there {whole.count(mutant.old)} times; mend the list")
    file.write_text(whole.replace(mutant.old, mutant.new))
    begin = time.time()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests.split()],
            cwd=folder, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(folder)},
        )  # fmt: skip
    finally:
        file.write_text(whole)
    caught = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1):
        caught = caught or [f"pytest ended with {done.returncode}"]
    return {"caught_by": caught, "seconds": round(time.time() - begin, 1), "tests": tests}


def table(results: dict[str, dict]) -> str:
    lines = ["| | broken | where | red |", "|---|---|---|---|"]
    for i, m in enumerate(MUTANTS, 1):
        if m.what in results:
            caught = results[m.what]["caught_by"]
            told = f"`{caught[0].replace('tests/', '', 1)}`" if caught else "**nothing**"
            lines.append(f"| {i} | {m.what} | `{m.file}` | {told} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="numbers, from 1")
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--whole", action="store_true", help="all ordinary tests for what the nearest do not notice")
    args = parser.parse_args()
    chosen = [int(i) - 1 for i in args.only.split(",") if i] or range(len(MUTANTS))
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    with tempfile.TemporaryDirectory(dir=args.work, prefix="clipjax-mutants-") as name:
        folder = Path(name)
        copy(folder)
        for i in chosen:
            mutant = MUTANTS[i]
            found = tried(mutant, folder, mutant.tests)
            if not found["caught_by"] and args.whole:
                found = tried(mutant, folder, "tests")
            results[mutant.what] = found
            print(
                f"{i + 1:2} {mutant.what}: {', '.join(found['caught_by'][:1]) or 'NOTHING'} ({found['seconds']} s)",
                flush=True,
            )
            kept.write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "table.md").write_text(table(results))


if __name__ == "__main__":
    main()
