"""The same numbers as the code that papers published, over 200 random inputs each.

CLIPJAX_PEER_CODE names a folder with clones of oxai/debias-vision-lang, oxai/visogender, IML-DKFZ/fd-shifts and
chingyaoc/debias_vl. Nothing of them is copied here: named functions are read from their files, whose imports need a GPU
or data. Differences: debias-vision-lang takes more than k images where rank k is tied, visogender breaks ties by file
order, and fd-shifts draws the area from coverage 0 with the first risk repeated.
"""

import ast
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clipjax.analysis import selective, skew
from clipjax.probes import projection

pytestmark = pytest.mark.peers
SEEDS = range(200)


def published(path, *names, **known):
    """These functions of a file in the folder of clones."""
    file = Path(os.environ.get("CLIPJAX_PEER_CODE", "missing")) / path
    if not file.is_file():
        pytest.skip(f"CLIPJAX_PEER_CODE has no {path}")
    wanted = [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.FunctionDef) and n.name in names]
    assert len(wanted) == len(names)
    space = {"np": np, "math": math, "Counter": Counter} | known
    for one in wanted:  # annotations name what is not imported
        one.returns = None
        for argument in (*one.args.args, *one.args.kwonlyargs):
            argument.annotation = None
    exec(compile(ast.Module(wanted, []), str(file), "exec"), space)
    return [space[name] for name in names]


def ranking(seed, groups):
    """40 different scores and groups, each of which has six images or more."""
    generator = np.random.default_rng(seed)
    group = np.append(np.repeat(np.arange(groups), 6), generator.integers(0, groups, 40 - 6 * groups))
    return generator.normal(size=40) + group * generator.normal(), group


@pytest.mark.parametrize("seed", SEEDS)
def test_debias_vision_lang(seed):
    pandas = pytest.importorskip("pandas")
    file, names = (
        "debias-vision-lang/debias_clip/measuring_bias.py",
        ("compute_skew_metrics", "normalized_discounted_KL"),
    )
    skews, ndkl = published(file, *names, pd=pandas)
    scores, group = ranking(seed, 2 + seed % 3)
    table = pandas.DataFrame({"score": scores, "label": group})
    with np.errstate(all="ignore"):
        theirs = skews(table, 10) | ndkl(table, len(table))
    for reference, name in (("uniform", "eq_opp"), ("share", "dem_par")):
        assert skew.max_skew(scores, group, 10, reference).value == pytest.approx(theirs[f"maxskew_{name}"], abs=1e-12)
        assert skew.ndkl(scores, group, reference).value == pytest.approx(theirs[f"ndkl_{name}"], abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_visogender(seed):
    (bias,) = published("visogender/src/metrics.py", "calculate_retrieval_bias")
    generator, names = np.random.default_rng(seed), ["masculine", "feminine"]
    scores, group = generator.normal(size=20), generator.permutation(np.repeat([0, 1], [8, 12]))
    given = {"error": False, "logits_list": scores.tolist(), "occ_genders": [names[g] for g in group]}
    theirs = bias({"judge": given})["judge"]
    for k in (5, 12):
        found = {r.group["group"]: r.value for r in skew.skew_at_k(scores, group, k, "share", names)}
        assert found == pytest.approx(theirs[f"skew@{k}"], abs=1e-12)
        assert skew.max_skew(scores, group, k, "share").value == pytest.approx(theirs[f"maxskew@{k}"], abs=1e-12)
        assert skew.min_skew(scores, group, k, "share").value == pytest.approx(theirs[f"minskew@{k}"], abs=1e-12)
        one = skew.bias_at_k(scores, group, k, ("masculine", "feminine"), names)
        assert one.value == pytest.approx(theirs[f"bias@{k}"], abs=1e-12)
    assert skew.ndkl(scores, group, "share").value == pytest.approx(theirs["ndkl"], abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_fd_shifts(seed):
    risks, generalised = published(
        "fd-shifts/fd_shifts/analysis/rc_stats_utils.py", "selective_risk_stats", "generalized_risk_stats"
    )
    generator = np.random.default_rng(seed)
    confidence = np.round(generator.random(50), 1 + seed % 3)  # with many ties, few and none
    right = generator.random(50) < confidence
    theirs, own = risks(confids=confidence, residuals=1.0 - right), selective.risk_coverage(confidence, right)
    assert own.coverage == pytest.approx(theirs["coverages"][-2::-1])
    assert own.risk == pytest.approx(theirs["risks"][-2::-1])
    assert own.threshold == pytest.approx(theirs["thresholds"][::-1])
    both = generalised(confids=confidence, residuals=1.0 - right)
    assert selective.augrc(confidence, right).value == pytest.approx(-np.trapezoid(both["risks"], both["coverages"]))


@pytest.mark.parametrize("seed", SEEDS)
def test_debias_vl(seed):
    decomposition = pytest.importorskip("sklearn.decomposition")
    names = "get_proj_matrix", "get_A", "get_M"
    away, apart, mean = published("debias_vl/discriminative/main.py", *names, TruncatedSVD=decomposition.TruncatedSVD)
    mean.__globals__["get_A"] = apart
    generator = np.random.default_rng(seed)
    prompts, z = generator.normal(size=(2 + seed % 4, 16)), generator.normal(size=(6, 16))
    prompts, z = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (prompts, z))
    first, pairs = away(prompts), [(0, 1), (2, 3), (4, 5)]
    assert projection.orthogonal_projection(prompts).matrix == pytest.approx(first, abs=1e-10)
    theirs = first @ np.linalg.inv(1000 * mean(z, pairs) + np.eye(16))
    assert projection.calibrated_projection(prompts, pairs, 1000, candidates=z).matrix == pytest.approx(
        theirs, abs=1e-9
    )
