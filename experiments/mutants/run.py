"""Important lines, changed one at a time: do the ordinary tests detect it?

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
# As tests/conftest.py sets them where it makes a folder for one run: all mutants share the programs they do not change.
PROGRAMS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    "PYTHONWARNINGS": "ignore:Error reading persistent compilation cache entry",
}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One line of a file, what it becomes, and the tests that stand nearest."""

    what: str
    file: str
    old: str
    new: str
    tests: str


FAMILY = "tests/models/test_families.py::test_every_layer_equals_the_peers_in_float64[{}]"
HUGGING_FACE = "tests/models/test_families.py::test_hugging_faces_folders_are_read_as_it_computes"

MUTANTS = [
    Mutant("LayerNorm without its eps", "clipjax/models/layers.py",
           "keepdims=True) + self.eps)", "keepdims=True))", "tests/models/test_parity.py"),
    Mutant("BatchNorm's eps ten times as large", "clipjax/models/resnet.py",
           ".astype(dtype) * jax.lax.rsqrt(var + self.eps)", ".astype(dtype) * jax.lax.rsqrt(var + 10 * self.eps)",
           "tests/models/test_parity.py"),
    Mutant("QuickGELU with 1.7 for 1.702", "clipjax/models/layers.py",
           "jax.nn.sigmoid(1.702 * x)", "jax.nn.sigmoid(1.7 * x)", "tests/models/test_parity.py"),
    Mutant("attention without its scale", "clipjax/models/layers.py",
           "q * q.shape[-1] ** -0.5, k", "q, k", "tests/models/test_parity.py"),
    Mutant("the causal mask one position off", "clipjax/models/text.py",
           "jnp.tril(jnp.ones((t, t), bool))", "jnp.tril(jnp.ones((t, t), bool), 1)", "tests/models/test_parity.py"),
    Mutant("texts cut one position before their end", "clipjax/models/kinds/text.py",
           "self.eos_id).argmax(1) + 1", "self.eos_id).argmax(1)",
           "tests/test_encoder.py"),
    Mutant("matrices not transposed when read", "checkpoints_convert/rules.py",
           "LINEAR = Layout(lambda x: x.T, lambda x: x.T, 2)", "LINEAR = Layout(lambda x: x, lambda x: x, 2)",
           "tests/models/test_parity.py tests/checkpoints_convert/test_convert.py"),
    Mutant("convolutions read as OIHW -> WHIO", "checkpoints_convert/rules.py",
           "x.transpose(2, 3, 1, 0), lambda", "x.transpose(3, 2, 1, 0), lambda",
           "tests/models/test_parity.py tests/checkpoints_convert/test_convert.py"),
    Mutant("images resized bilinearly", "clipjax/image.py",
           "image = image.resize((width, height), filter_)",
           "image = image.resize((width, height), Image.Resampling.BILINEAR)", "tests/test_image.py"),
    Mutant("the crop's offset rounded down", "clipjax/image.py",
           "left, top = round((width - size) / 2.0), round((height - size) / 2.0)",
           "left, top = (width - size) // 2, (height - size) // 2", "tests/test_image.py"),
    Mutant("the tokenizer keeps capitals", "clipjax/text/tokenizer.py",
           "_SPACES.split(mended(text).lower())", "_SPACES.split(mended(text))", "tests/text/test_tokenizer.py"),
    Mutant("prompts averaged before they are normalised", "clipjax/probes/zeroshot.py",
           "features = normalise(encode(texts))", "features = np.asarray(encode(texts), np.float32)",
           "tests/probes/test_zeroshot.py"),
    Mutant("ties in top-k decided for the later class", "clipjax/probes/metrics.py",
           "(part == own) & (before < label)", "(part == own) & (before > label)", "tests/probes/test_metrics.py"),
    Mutant("retrieval ranks an image by its worst caption", "clipjax/probes/retrieval.py",
           "np.lexsort((-score, owner))", "np.lexsort((score, owner))", "tests/probes/test_retrieval.py"),
    Mutant("an interval with the whole error in one tail", "clipjax/analysis/intervals.py",
           "n.astype(np.float64), (1 - level) / 2", "n.astype(np.float64), (1 - level)",
           "tests/analysis/test_intervals.py"),
    Mutant("a one-sided McNemar", "clipjax/analysis/paired.py",
           "np.minimum(2 * stats.binom.cdf", "np.minimum(stats.binom.cdf", "tests/analysis/test_paired.py"),
    Mutant("the paired difference the other way", "clipjax/analysis/paired.py",
           "paired_difference(both, only_b, only_a, neither, level)",
           "paired_difference(both, only_a, only_b, neither, level)", "tests/analysis/test_paired.py"),
    Mutant("Bonferroni by half the labels", "clipjax/analysis/association.py",
           "np.minimum(p * p.size, 1.0)", "np.minimum(p * (p.size / 2), 1.0)",
           "tests/analysis/test_association.py"),
    Mutant("chi-squared with the margins' sum", "clipjax/analysis/association.py",
           "table.sum(-1, keepdims=True) * table.sum(-2", "table.sum(-1, keepdims=True) + table.sum(-2",
           "tests/analysis/test_association.py"),
    Mutant("the loss in one direction only", "clipjax/train/losses.py",
           "return ((rows + columns) / 2 - positive) / len(image)", "return (rows - positive) / len(image)",
           "tests/train/test_losses.py"),
    Mutant("logit_scale not held at ln 100", "clipjax/train/losses.py",
           "clamped = jnp.minimum(logit_scale,", "clamped = jnp.maximum(logit_scale,", "tests/train/test_losses.py"),
    Mutant("a damaged cache record is believed", "clipjax/cache.py",
           " or zlib.crc32(data[start:end]) != crc:", ":", "tests/test_cache.py"),
    Mutant("hosts' rows put together in another order", "clipjax/runs/features.py",
           'order = np.argsort(rows, kind="stable")', "order = np.arange(len(rows))", "tests/runs/test_runner.py"),
    Mutant("any features pass for the canary's", "clipjax/runs/canary.py",
           "if not distance <= self._limit:", "if distance < 0:", "tests/runs/test_canary.py"),
    Mutant("labels used as indices into another list", "clipjax/data/labels.py",
           "[place.get(name, -1) for name in self.names],", "list(range(len(self.names))),",
           "tests/data/test_labels.py"),
    Mutant("numbered labels sorted as texts", "clipjax/data/labels.py",
           "tuple(sorted(names, key=int)) if", "tuple(sorted(names)) if", "tests/data/test_labels.py"),
    Mutant("a list beside the data outranks the user's", "clipjax/data/naming.py",
           "    if given:\n", "    if given and not places:\n", "tests/data/test_naming.py"),
    Mutant("labels that count from 1 taken as positions from 0", "clipjax/classes.py",
           "return tuple(number - 1 for number in given)", "return given", "tests/test_classes.py"),
    Mutant("the header of a list of names is a class", "clipjax/classes.py",
           "        rows = rows[1:]\n", "        rows = rows[0:]\n", "tests/test_classes.py"),
    Mutant("quotation marks of a tab-separated text enclose", "clipjax/data/delimited.py",
           'quoted = separator != "\\t" or _quotes_quote(content)', "quoted = True", "tests/data/test_delimited.py"),
    Mutant("rows that are too long are read", "clipjax/data/delimited.py",
           "        if len(row) != width:\n            raise", "        if len(row) < width:\n            raise",
           "tests/data/test_delimited.py"),
    Mutant("an empty cell is a value", "clipjax/data/tables.py",
           "share.setdefault(cell, cell) if cell else None", "share.setdefault(cell, cell)",
           "tests/data/test_tables.py"),
    Mutant("files with other class lists are joined", "clipjax/data/tables.py",
           "if column.declared != columns[0][1].declared:", "if False:",
           "tests/data/test_tables.py tests/data/kinds/test_parquet.py"),
    Mutant("a changed file of the same size keeps its digest", "clipjax/data/contents.py",
           "{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}", "{status.st_size}",
           "tests/data/test_contents.py"),
    Mutant("images of other row groups", "clipjax/data/kinds/parquet.py",
           "self._group(group)[i - self.starts[group]]", "self._group(group)[0]", "tests/data/kinds/test_parquet.py"),
    Mutant("classes in no set are not counted", "clipjax/design/design.py",
           "return self.sets | ({NO_SET: self.unset} if self.unset else {})", "return self.sets",
           "tests/test_design.py tests/analysis/test_rates.py"),
    Mutant("an added class is put first", "clipjax/design/design.py",
           "classes=(*self.classes, *added)", "classes=(*added, *self.classes)", "tests/test_design.py"),
    Mutant("a design of the file stands beside the user's classes", "clipjax/runs/config.py",
           "if one in given and other not in given and other in config:", "if False:",
           "tests/runs/test_design_probes.py tests/inputs/test_config_keys.py"),
    Mutant("weights come back in the fitted order of classes", "clipjax/runs/parts.py",
           "place = np.argsort(self.classes)\n", "place = np.arange(len(self.classes))\n",
           "tests/inputs/test_invariances.py"),
    Mutant("bands are not groups", "clipjax/runs/groups.py",
           "return kept | banded", "return kept", "tests/runs/test_design_probes.py"),
    Mutant("images without a group count in the first", "clipjax/analysis/rates.py",
           "of = np.full(n, -1, np.int64)", "of = np.full(n, 0, np.int64)", "tests/analysis/test_rates.py"),
    Mutant("each group against everybody", "clipjax/analysis/rates.py",
           "pairs = (k, n, k.sum() - k, n.sum() - n)", "pairs = (k, n, k.sum() + 0 * k, n.sum() + 0 * n)",
           "tests/analysis/test_rates.py"),
    Mutant("one run's answers taken for the other's", "clipjax/analysis/compare.py",
           "np.where(a, np.where(b, 0, 1), np.where(b, 2, 3))", "np.where(a, np.where(b, 0, 2), np.where(b, 1, 3))",
           "tests/analysis/test_compare.py"),
    Mutant("runs of other images are compared", "clipjax/analysis/compare.py",
           "    check(a, b, vary)\n", "", "tests/analysis/test_compare.py tests/analysis/test_report.py"),
    Mutant("the spread of folds without its correction", "clipjax/runs/scoring.py",
           "np.std(values, ddof=1)", "np.std(values)", "tests/runs/test_scoring.py"),
    Mutant("heads of 64 guessed for GELU", "checkpoints_convert/bare.py",
           '(_has_heads_of_64(image) and activation != "gelu")', "_has_heads_of_64(image)",
           "tests/checkpoints_convert/test_bare.py"),
    Mutant("a moving average counts as a set of weights", "checkpoints_convert/choice.py",
           "plain = [p for p in prefixes if not _AVERAGE.search(p)]", "plain = list(prefixes)",
           "tests/checkpoints_convert/test_choice.py"),
    Mutant("a shard with other tensors than listed is read", "checkpoints_convert/containers.py",
           "if wrong := sorted(wanted ^ held.keys()):", "if wrong := sorted(wanted - held.keys()):",
           "tests/checkpoints_convert/test_folders.py tests/checkpoints_convert/test_containers.py"),
    Mutant("options against a configuration are passed over", "checkpoints_convert/options.py",
           "if given is not None and value != given]", "if given is not None and value is given]",
           "tests/checkpoints_convert/test_options.py"),
    Mutant("open_clip is not told of QuickGELU", "checkpoints_convert/opening.py",
           '", force_quick_gelu=True" if needs_quick_gelu else ""', '""',
           "tests/checkpoints_convert/test_written_formats.py"),
    # Families: each fault of one that no name and no shape shows.
    Mutant("SigLIP's tanh GELU taken for the exact one", "clipjax/models/layers.py",
           '"gelu_tanh": jax.nn.gelu', '"gelu_tanh": exact_gelu', FAMILY.format("siglip")),
    Mutant("SigLIP's tanh GELU taken for QuickGELU", "clipjax/models/layers.py",
           '"gelu_tanh": jax.nn.gelu', '"gelu_tanh": quick_gelu', FAMILY.format("siglip")),
    Mutant("1e-5 for the eps of the last norm of images", "clipjax/models/vit.py",
           "== \"after\" else width, eps=config.eps)", "== \"after\" else width, eps=1e-5)",
           FAMILY.format("siglip")),
    Mutant("SigLIP's last pixels, which no patch covers, taken from the other side", "clipjax/models/vit.py",
           "pixels = pixels[:, : g * p, : g * p]", "pixels = pixels[:, h - g * p :, h - g * p :]",
           FAMILY.format("siglip_rest")),
    Mutant("PE-Core's pool with the heads of its blocks", "clipjax/models/families.py",
           '{"pool_heads": 8, "pool_mlp": 4 * width}', '{"pool_heads": heads, "pool_mlp": 4 * width}',
           FAMILY.format("pe_core")),
    Mutant("PE-Core's positions from 0 beside a class token", "clipjax/models/families.py",
           'Rope(None, 1, "xy", 1e4)', 'Rope(None, 0, "xy", 1e4)', FAMILY.format("pe_core")),
    Mutant("PE-Core's rows before its columns", "clipjax/models/families.py",
           'Rope(None, 1, "xy", 1e4)', 'Rope(None, 1, "yx", 1e4)', FAMILY.format("pe_core")),
    Mutant("rotary pairs are halves of a head", "clipjax/models/layers.py",
           "even, odd = y[..., 0::2], y[..., 1::2]", "even, odd = jnp.split(y, 2, -1)",
           FAMILY.format("pe_core")),
    Mutant("no rotary positions", "clipjax/models/vit.py",
           "Sight(rotation=rotation(config))", "Sight()", FAMILY.format("pe_core")),
    Mutant("rotary positions turn the class token", "clipjax/models/vit.py",
           "np.concatenate([np.zeros((int(config.class_token), 2 * quarter)), turned])",
           "np.concatenate([np.ones((int(config.class_token), 2 * quarter)), turned])",
           FAMILY.format("eva02")),
    Mutant("PE-Core at another size, whose positions timm resizes", "checkpoints_convert/open_clip_config.py",
           'if _square(v["image_size"]) != named.image_size:', "if False:",
           "tests/checkpoints_convert/test_open_clip.py"),
    Mutant("EVA02's positions not scaled to its grid", "clipjax/models/vit.py",
           "np.arange(grid) / grid * rope.grid", "np.arange(grid)", FAMILY.format("eva02")),
    Mutant("EVA02's columns before its rows", "clipjax/models/families.py",
           'Rope(16, 0, "yx", 1e4)', 'Rope(16, 0, "xy", 1e4)', FAMILY.format("eva02")),
    Mutant("EVA02's gate and value swapped", "clipjax/models/layers.py",
           "act(self.c_gate(x, lowering)) * y", "act(y) * self.c_gate(x, lowering)", FAMILY.format("eva02")),
    Mutant("EVA02-E with its norms before", "clipjax/models/families.py",
           '_EVA | {"norm": "post"}', "_EVA", FAMILY.format("eva02_e")),
    Mutant("CLIPA's class token in the mean", "clipjax/models/vit.py",
           "patches = x[:, 1:] if config.class_token else x", "patches = x", FAMILY.format("clipa")),
    Mutant("CLIPA's norm before the mean", "clipjax/models/families.py",
           '"pool": "mean", "final_norm": "after"', '"pool": "mean"', FAMILY.format("clipa")),
    Mutant("open_clip's CLIPA with the activation of its JAX original", "checkpoints_convert/open_clip_config.py",
           'if model.get("quick_gelu") else "gelu"', 'if model.get("quick_gelu") else "gelu_tanh"',
           "tests/models/test_parity.py"),
    Mutant("open_clip's CLIPA with the eps of its JAX original", "checkpoints_convert/open_clip_config.py",
           "EPS = 1e-5 ", "EPS = 1e-6 ", "tests/checkpoints_convert/test_open_clip.py"),
    Mutant("CoCa's pool with 4 heads", "clipjax/models/families.py",
           '"pool": "query", "pool_heads": 8', '"pool": "query", "pool_heads": 4', FAMILY.format("coca")),
    Mutant("CoCa's mask as corrected, not as trained", "clipjax/models/text.py",
           "[jnp.ones((len(tokens), 1), bool), tokens != PAD]", "[tokens != PAD, jnp.ones((len(tokens), 1), bool)]",
           FAMILY.format("coca")),
    Mutant("MobileCLIP-B's class token with a position", "clipjax/models/families.py",
           '{"patch": "stem", "positions": "patches",', '{"patch": "stem", "positions": "all",',
           FAMILY.format("mobileclip_b")),
    Mutant("MobileCLIP2-L's texts with a causal mask", "clipjax/models/families.py",
           '"mobileclip": {"causal": False}', '"mobileclip": {}', FAMILY.format("mobileclip_l")),
    Mutant("texts that see padding are cut at their end", "clipjax/models/kinds/text.py",
           'return self.causal and self.pool in ("argmax", "eos")', 'return self.pool != "class"',
           "tests/models/test_families.py::test_texts_that_are_read_at_their_end_may_be_cut_there"),
    Mutant("MetaCLIP 2's texts read at their highest id", "clipjax/models/text.py",
           "return jnp.equal(tokens, end).argmax(-1)", "return tokens.argmax(-1)", FAMILY.format("metaclip2")),
    Mutant("MetaCLIP 2 in a CLIPModel's folder is read", "checkpoints_convert/families/clip.py",
           'if text["vocab_size"] == _METACLIP2_WORDS:', "if False:", "tests/checkpoints_convert/test_huggingface.py"),
    Mutant("SigLIP's texts padded with 0", "checkpoints_convert/open_clip_config.py",
           '"SigLIP": 1', '"SigLIP": 0', "tests/checkpoints_convert/test_open_clip_registry.py"),
    Mutant("texts padded on the left", "clipjax/text/from_file.py",
           "ids[i, : len(row)] = row", "ids[i, T - len(row) :] = row", "tests/text/test_from_file.py"),
    Mutant("a text that is too long loses its end of text", "clipjax/text/from_file.py",
           "rows[i] = found.ids", "rows[i] = rows[i][: self._context]", "tests/text/test_from_file.py"),
    Mutant("Hugging Face's SigLIP cleaned as open_clip's", "checkpoints_convert/families/siglip.py",
           'else ("remove_punctuation", 1)', 'else ("canonicalize", 1)', HUGGING_FACE),
    Mutant("a logit bias that is not added", "clipjax/models/clip.py",
           'if "logit_bias" in params else scaled', 'if "no bias" in params else scaled', HUGGING_FACE),
    Mutant("a SigLIP that Hugging Face would clean otherwise is written for it", "checkpoints_convert/huggingface.py",
           "        _check_read_back(temporary, config, folder)", "        pass",
           "tests/checkpoints_convert/test_family_round_trips.py"),
    Mutant("an absent group counts as nothing", "clipjax/analysis/skew.py",
           "np.where(counts > ROUNDING, counts, 1) / k", "np.where(counts > ROUNDING, counts, 0.5) / k",
           "tests/analysis/test_skew.py"),
    Mutant("images of equal score all come first", "clipjax/analysis/ranking.py",
           "np.clip(k - before, 0, total) / np.maximum(total, 1)", "(k > before).astype(float)",
           "tests/analysis/test_skew.py"),
    Mutant("effect sizes over the population's deviation", "clipjax/analysis/eat.py",
           "std(axis=-1, ddof=1)", "std(axis=-1, ddof=0)", "tests/analysis/test_eat.py"),
    Mutant("the observed division does not count", "clipjax/analysis/eat.py",
           "null >= observed - ROUNDING * scale", "null > observed + ROUNDING * scale", "tests/analysis/test_eat.py"),
    Mutant("a confidence on an edge is in the bin above", "clipjax/analysis/calibration.py",
           'np.searchsorted(edges, confidence, side="left") - 1',
           'np.searchsorted(edges, confidence, side="right") - 1', "tests/analysis/test_calibration.py"),
    Mutant("the sequence of thresholds goes on after a failure", "clipjax/analysis/selective.py",
           "passed = able[: stop[0]] if len(stop) else able", "passed = able[p[able] <= delta]",
           "tests/analysis/test_selective.py"),
    Mutant("the worst group's interval is its own", "clipjax/analysis/simultaneous.py",
           "clopper_pearson(k, n, split_level(level, len(n)))", "clopper_pearson(k, n, level)",
           "tests/analysis/test_groups.py"),
    Mutant("equal captions are right", "clipjax/probes/captions.py",
           "text = (s[:, 0, 0] > s[:, 0, 1])", "text = (s[:, 0, 0] >= s[:, 0, 1])", "tests/probes/test_captions.py"),
    Mutant("the factors of the projection exchanged", "clipjax/probes/projection.py",
           "first.matrix @ np.linalg.inv(np.eye(width) + strength * spread)",
           "np.linalg.inv(np.eye(width) + strength * spread) @ first.matrix", "tests/probes/test_projection.py"),
    Mutant("only the last wording is compared", "clipjax/analysis/wording.py",
           "(answers != answers[0]).any(0)", "answers[-1] != answers[0]", "tests/analysis/test_agreement.py"),
    Mutant("only the first of several changes is made", "clipjax/data/perturb.py",
           "for part in self.parts:\n            pixels", "for part in self.parts[:1]:\n            pixels",
           "tests/data/test_perturb.py"),
    Mutant("rank 1 has the smallest share", "clipjax/analysis/panel.py",
           "values[:, :, None] < values[:, None, :]", "values[:, :, None] > values[:, None, :]",
           "tests/analysis/test_panel.py"),
    Mutant("two runs with draws of their own ranks", "clipjax/analysis/skew.py",
           "weights = weights[:, ranked.rows]", "weights = weights[:, :]", "tests/analysis/test_paired_numbers.py"),
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
            [sys.executable, "-m", "pytest", "-x", "-n0", "--no-header", "-p", "no:cacheprovider", *tests.split()],
            cwd=folder, capture_output=True, text=True, env=os.environ | PROGRAMS | {
                "PYTHONPATH": str(folder), "JAX_COMPILATION_CACHE_DIR": str(folder / ".programs")},
        )  # fmt: skip
    finally:
        file.write_text(whole)
    caught = re.findall(r"^(?:FAILED|ERROR) (\S+::\S+)", done.stdout, re.MULTILINE)  # not a file that cannot be read
    if done.returncode > 2 or (done.returncode and not caught):  # the tests themselves did not run
        raise SystemExit(f"pytest {tests} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
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
