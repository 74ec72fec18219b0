"""The linear probe beside scikit-learn's LogisticRegression: one fit, the first fit of a process, the whole sweep.

    python benchmarks/linear_probe.py [--n=50000] [--d=512] [--classes=100] [--C=0.316] [--rounds=3]
        [--only=fit,first,sweep] [--json=FILE]

Synthetic features like CLIP's: norm 10, a large common mean, a spectrum over 1.5 decades; float32 for both.
scikit-learn uses its defaults (lbfgs, tol=1e-4) and max_iter=1000, as in the paper; --tol changes the tolerance.

- fit: one `clipjax.probes.linear.fit`, from arrays on the host to arrays on the host, compiled in a round before.
- first: the same in a new Python process each round, including compilation, without imports.
- sweep: `clipjax.probes.linear.sweep` with everything in it (hold-out, 15 fits, refit), compiled before, against
  scikit-learn with the same hold-out, the same values of C by the same rule, and the same refit, every fit from
  zero, as in scripts for CLIP. It takes minutes: a third of the rounds of the others, at least one.

`extra` compares the results: the objective in float64 relative to scikit-learn's (below 0: clipjax is lower),
accuracy on 20,000 other rows, iterations and evaluations, the product rate reached and that of plain matrix products.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from side_by_side import OURS, Row, interleave, main, threads

threads()
import numpy as np  # noqa: E402

PEER = "scikit-learn"


def features(n: int, d: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same classes for every n; rows are not those of a larger n."""
    shape = np.random.default_rng(0)
    spectrum = np.logspace(0, -1.5, d, dtype=np.float32)
    axes = np.linalg.qr(shape.normal(size=(d, d)))[0].astype(np.float32)
    centers = (0.3 * shape.normal(size=(classes, d)) * spectrum).astype(np.float32)
    common = shape.normal(size=d).astype(np.float32)
    common *= 2 * np.linalg.norm(spectrum) / np.linalg.norm(common)
    r = np.random.default_rng(seed)
    labels = r.integers(0, classes, n)
    x = centers[labels] + r.normal(size=(n, d)).astype(np.float32) * spectrum
    x = x @ axes + common
    return x * np.float32(10 / (np.linalg.norm(common) * 1.2)), labels


def objective(x: np.ndarray, labels: np.ndarray, C: float, weights: np.ndarray, bias: np.ndarray) -> float:
    """scikit-learn's, in float64, by blocks."""
    from scipy.special import log_softmax

    weights, bias, loss = weights.astype(np.float64), bias.astype(np.float64), 0.0
    for i in range(0, len(x), 8192):
        scores = log_softmax(x[i : i + 8192] @ weights.T + bias, axis=1)
        loss -= scores[np.arange(len(scores)), labels[i : i + 8192]].sum()
    return C * loss + (weights**2).sum() / 2


def theirs(x: np.ndarray, y: np.ndarray, C: float, tol: float):
    """scikit-learn's fit; the objective shows whether it has converged."""
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(C=C, max_iter=1000, tol=tol).fit(x, y)


def their_sweep(x: np.ndarray, y: np.ndarray, tol: float) -> tuple[float, dict[int, int], Any]:
    """`clipjax.probes.linear.sweep`'s protocol with scikit-learn's fits: best C, iterations by step, the refit."""
    from clipjax.probes import linear

    held = linear.hold_out(y)
    train = np.ones(len(y), bool)
    train[held] = False
    values: dict[int, float] = {}
    iterations: dict[int, int] = {}
    x_train, y_train, span = x[train], y[train], linear.DECADES * linear.PER_DECADE

    def visit(i: int) -> None:
        if abs(i) <= span and i not in values:
            found = theirs(x_train, y_train, 10.0 ** (i / linear.PER_DECADE), tol)
            values[i], iterations[i] = float(found.score(x[held], y[held])), int(found.n_iter_[0])

    def best() -> int:
        return max(values, key=lambda i: (values[i], -i))

    for i in range(-span, span + 1, 2 * linear.PER_DECADE):
        visit(i)
    step = linear.PER_DECADE
    while step:
        middle = best()
        visit(middle - step)
        visit(middle + step)
        step //= 2
    C = 10.0 ** (best() / linear.PER_DECADE)
    return C, iterations, theirs(x, y, C, tol)


def product_rates(n: int, d: int, classes: int) -> dict[str, float]:
    """GF/s of a fit's two products alone, all rows at once, and of a square one: the best of five, in XLA."""
    import jax
    import jax.numpy as jnp

    x, w, s, square = jnp.ones((n, d)), jnp.ones((classes, d)), jnp.ones((n, classes)), jnp.ones((2048, 2048))
    found = {}
    for name, product, a, b, flop in (
        ("logits", lambda x, w: x @ w.T, x, w, 2 * n * d * classes),
        ("gradient", lambda s, x: s.T @ x, s, x, 2 * n * d * classes),
        ("square", lambda a, b: a @ b, square, square, 2 * 2048**3),
    ):
        run = jax.jit(product)
        found[name] = flop / 1e9 / min(interleave({"": lambda: run(a, b).block_until_ready()}, 5)[""])  # noqa: B023
    return found


def ends(x, y, C, test, ours, peer) -> dict[str, float]:
    """The results of two fits of one problem, relative to the peer."""
    both = [objective(x, y, C, w, b) for w, b in (ours, peer)]
    right = [float(((test[0] @ w.T + b).argmax(1) == test[1]).mean()) for w, b in (ours, peer)]
    return {
        "objective_relative": both[0] / both[1] - 1,
        "accuracy": right[0],
        "accuracy_difference": right[0] - right[1],
    }


def first_fit(name: str, args: argparse.Namespace) -> float:
    """Seconds of the first fit in a new process."""
    sizes = [f"--{key}={getattr(args, key)}" for key in ("n", "d", "classes", "C", "tol")]
    command = [sys.executable, __file__, f"--child={name}", *sizes]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path})
    return json.loads(out.stdout.splitlines()[-1])


def child(args: argparse.Namespace) -> float:
    """The child process of `first_fit`."""
    from sklearn.linear_model import LogisticRegression  # noqa: F401

    from clipjax.probes import linear

    x, y = features(args.n, args.d, args.classes, 1)
    start = time.perf_counter()
    if args.child == OURS:
        linear.fit(x, y, args.C)
    else:
        theirs(x, y, args.C, args.tol)
    return time.perf_counter() - start


def measure(args: argparse.Namespace) -> Iterator[Row]:
    if args.child:
        print(json.dumps(child(args)))
        sys.exit()
    from clipjax.probes import linear

    x, y = features(args.n, args.d, args.classes, 1)
    test = features(20_000, args.d, args.classes, 2)
    case = f"{args.n:,} x {args.d} x {args.classes}"
    only, found = args.only.split(","), {}
    if "fit" in only:

        def run(name, solve):
            return lambda: found.__setitem__(name, solve())

        calls = {
            OURS: run(OURS, lambda: linear.fit(x, y, args.C)),
            PEER: run(PEER, lambda: theirs(x, y, args.C, args.tol)),
        }
        calls[OURS]()  # compiles
        seconds = interleave(calls, args.rounds, warm=False)
        peer = found[PEER]
        extra: dict[str, Any] = ends(x, y, args.C, test, found[OURS], (peer.coef_, peer.intercept_))
        again = linear.Problem(x, y).solve(args.C)
        rates = product_rates(args.n, args.d, args.classes)
        flop = 4 * args.n * args.d * args.classes * again.evaluations
        extra |= {
            "iterations": again.iterations,
            "evaluations": again.evaluations,
            "their_iterations": int(peer.n_iter_[0]),
        }
        extra |= {
            "gflops_of_the_fit": flop / 1e9 / min(seconds[OURS]),
            "gflops_of_products": rates,
            "C": args.C,
            "tol": args.tol,
        }
        yield Row("linear probe", f"one fit, {case}", seconds, unit="fit", bar=2.0, extra=extra)
    if "first" in only:
        taken: dict[str, list[float]] = {OURS: [], PEER: []}
        for i in range(args.rounds):
            for name in sorted(taken, reverse=i % 2 == 1):
                taken[name].append(first_fit(name, args))
        yield Row("linear probe", f"first fit of a process, compiled in it, {case}", taken, unit="fit")
    if "sweep" in only:

        def ours() -> None:
            found["sweep"] = linear.sweep(x, y)

        def others() -> None:
            found["their sweep"] = their_sweep(x, y, args.tol)

        ours()  # compiles
        seconds = interleave({OURS: ours, PEER: others}, max(args.rounds // 3, 1), warm=False)
        mine, (C, iterations, refit) = found["sweep"], found["their sweep"]
        right = [
            float(((test[0] @ w.T + b).argmax(1) == test[1]).mean())
            for w, b in (mine[1:3], (refit.coef_, refit.intercept_))
        ]
        extra = {"C": mine.C, "their_C": C, "accuracy": right[0], "accuracy_difference": right[0] - right[1]}
        extra["iterations"] = {f"{r['C']:.3g}": r.iterations for r in mine.records} | {"refit": mine.refit.iterations}
        extra["their_iterations"] = {f"{10 ** (i / linear.PER_DECADE):.3g}": k for i, k in iterations.items()}
        extra["their_iterations"]["refit"] = int(refit.n_iter_[0])
        yield Row("linear probe", f"regularisation sweep, {case}", seconds, unit="sweep", bar=3.0, extra=extra)


def arguments(parser: argparse.ArgumentParser) -> None:
    for name, default in (("n", 50_000), ("d", 512), ("classes", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--C", type=float, default=0.316)
    parser.add_argument("--tol", type=float, default=1e-4, help="scikit-learn's")
    parser.add_argument("--only", default="fit,first,sweep")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.set_defaults(rounds=3)


if __name__ == "__main__":
    main(__doc__, measure, arguments)
