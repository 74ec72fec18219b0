"""Are confidences what they say? Calibration error in bins, Brier score and its parts, log loss, temperature.

The confidence of an image is its largest probability, and it is right where that class is its label. Equal-width bins
are (low, high], the first holding 0 as well; bins of equal mass have their edges at the sorted confidences of ranks
floor(j N / bins), and equal confidences share a bin. Confidence of a bin is the mean in it, not its centre.

ECE depends on the bins and on N: it is above zero for a perfectly calibrated model as well. `null_mean` is its mean
when images are right with exactly their confidence (consistency resampling, Broecker and Smith 2007), `p` the chance
of an ECE at least as large as observed then. A bootstrap of ECE adds that bias once more, so the interval is reflected
about the value, and it reaches down to 0 where the test does not reject calibration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import expit

from clipjax.analysis.intervals import bootstrap, bootstrap_statistic, clopper_pearson
from clipjax.analysis.rates import Method
from clipjax.analysis.records import Record
from clipjax.errors import InputError

Probability = Literal["softmax", "sigmoid"]
Scheme = Literal["width", "mass"]
USUAL = Method()
BINS = 15
DRAWS = 1000  # of right and wrong by the confidences
SUM = 1e-3  # how far the probabilities of an image may be from 1: they may be float16
REFLECTED = "reflected bootstrap over images, and the test of calibration"
ROUNDING = 1e-12


class Top(NamedTuple):
    """Confidence float64 [N] of each image's answer, and whether it is right, bool [N]."""

    confidence: np.ndarray
    right: np.ndarray


def top(probabilities: np.ndarray, labels: np.ndarray) -> Top:
    """Probabilities [N, C], labels int [N] -> the likeliest class's probability (the first of equals), and if right."""
    probabilities, labels = check_probabilities(probabilities, labels)
    best = probabilities.argmax(1)
    return Top(probabilities[np.arange(len(best)), best], best == labels)


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS, scheme: Scheme = "width", method: Method = USUAL
) -> Record:
    """Top-label ECE: the mean over images of |accuracy - confidence| of their bin."""
    return error_of(*top(probabilities, labels), bins, scheme, method)


def maximum_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS, scheme: Scheme = "width", method: Method = USUAL
) -> Record:
    """MCE: the largest |accuracy - confidence| of a bin; the emptiest bin decides."""
    return error_of(*top(probabilities, labels), bins, scheme, method, "mce")


def root_mean_square_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS, scheme: Scheme = "width", method: Method = USUAL
) -> Record:
    """RMSCE: the root of the mean over images of (accuracy - confidence)^2 of their bin."""
    return error_of(*top(probabilities, labels), bins, scheme, method, "rmsce")


def classwise_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS, scheme: Scheme = "width"
) -> Record:
    """The mean over classes of the ECE of that class's probability against whether it is the label (SCE; ACE with bins
    of equal mass)."""
    probabilities, labels = check_probabilities(probabilities, labels)
    check_bins(bins, scheme)
    classes = probabilities.shape[1]
    found = [float(_expected(_bins(Top(probabilities[:, c], labels == c), bins, scheme))) for c in range(classes)]
    return Record(
        metric="classwise_ece", group={}, n=len(labels), value=float(np.mean(found)), classes=classes, bins=bins,
        scheme=scheme,
    )  # fmt: skip


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS, scheme: Scheme = "width") -> float:
    """Confidence [N], right bool [N] -> ECE: for one group, or for yes-or-no answers."""
    check_bins(bins, scheme)
    return float(_expected(_bins(Top(np.asarray(confidence, np.float64), np.asarray(right, bool)), bins, scheme)))


def debiased_square(confidence: np.ndarray, right: np.ndarray, bins: int = BINS, scheme: Scheme = "width") -> float:
    """The squared calibration error without its bias (Kumar et al. 2019); bins of one image count as they are."""
    check_bins(bins, scheme)
    n, k, mean = _bins(Top(np.asarray(confidence, np.float64), np.asarray(right, bool)), bins, scheme)
    n, k, mean = n[n > 0], k[n > 0], mean[n > 0]
    rate = k / n
    bias = rate * (1 - rate) / np.maximum(n - 1, 1)
    return float((n * ((rate - mean) ** 2 - bias)).sum() / n.sum())


def reliability_curve(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS, scheme: Scheme = "width", method: Method = USUAL
) -> list[Record]:
    """A record per bin that holds images: its edges, mean confidence, and the accuracy with its exact interval."""
    return curve_of(*top(probabilities, labels), bins, scheme, method)


def curve_of(
    confidence: np.ndarray, right: np.ndarray, bins: int = BINS, scheme: Scheme = "width", method: Method = USUAL
) -> list[Record]:
    """`reliability_curve` of confidence [N] and right bool [N]."""
    check_bins(bins, scheme)
    both = Top(np.asarray(confidence, np.float64), np.asarray(right, bool))
    edges = _edges(both.confidence, bins, scheme)
    n, k, mean = _bins(both, bins, scheme)
    low, high = clopper_pearson(k, n, method.level)
    if scheme == "mass":
        edges = np.concatenate([[both.confidence.min()], edges, [both.confidence.max()]])
    return [
        Record(
            metric="reliability", group={}, k=int(k[b]), n=int(n[b]), value=float(k[b] / n[b]), low=float(low[b]),
            high=float(high[b]), level=method.level, method="clopper-pearson", bins=bins, scheme=scheme,
            low_edge=float(edges[b]), high_edge=float(edges[b + 1]), confidence=float(mean[b]),
            accuracy=float(k[b] / n[b]), small=bool(n[b] < method.min_n),
        )
        for b in np.flatnonzero(n)
    ]  # fmt: skip


def brier_score(probabilities: np.ndarray, labels: np.ndarray, method: Method = USUAL) -> Record:
    """The mean over images of the squared distance of the probabilities from the truth, summed over classes: 0 to 2.

    For two classes it is twice scikit-learn's value of a binary forecast.
    """
    probabilities, labels = check_probabilities(probabilities, labels)
    each = (probabilities**2).sum(1) - 2 * probabilities[np.arange(len(labels)), labels] + 1
    return mean_of("brier", each, method)


def brier_decomposition(
    confidence: np.ndarray, right: np.ndarray, bins: int = BINS, scheme: Scheme = "width"
) -> Record:
    """Confidence [N] of an event, bool [N] -> its Brier score = reliability - resolution + uncertainty + within.

    `within` is what the bins hide: variance of the forecasts in a bin minus twice their covariance with the outcome.
    The sum closes.
    """
    check_bins(bins, scheme)
    both = Top(np.asarray(confidence, np.float64), np.asarray(right, bool))
    n, k, mean = _bins(both, bins, scheme)
    place = _place(both.confidence, bins, scheme)
    rate = k / np.maximum(n, 1)
    base, weight = both.right.mean(), n / n.sum()
    reliability, resolution = float(weight @ (mean - rate) ** 2), float(weight @ (rate - base) ** 2)
    spread, wrong = both.confidence - mean[place], both.right - rate[place]
    within = float((spread**2).mean() - 2 * (spread * wrong).mean())
    return Record(
        metric="brier_decomposition", group={}, n=len(place), value=float(((both.confidence - both.right) ** 2).mean()),
        bins=bins, scheme=scheme, reliability=reliability, resolution=resolution, uncertainty=float(base * (1 - base)),
        within=within,
    )  # fmt: skip


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, method: Method = USUAL) -> Record:
    """Logits [N, C], labels int [N] -> the mean of -ln softmax of the label, in float64 and unclipped.

    A label of probability 0 makes it infinite: null, and `infinite` says how many.
    """
    logits, labels = _check_logits(logits, labels)
    each = losses(logits, labels, 1.0)
    if infinite := int(np.isinf(each).sum()):
        return Record(metric="nll", group={}, n=len(each), value=None, infinite=infinite)
    return mean_of("nll", each, method)


def fit_temperature(
    logits: np.ndarray,
    labels: np.ndarray,
    scale: float = 1.0,
    fitted_on: str = "",
    probability: Probability = "softmax",
) -> Record:
    """Logits [N, C], labels int [N] of a part that is not measured on -> the temperature T with the least log loss.

    softmax(logits / T), or the sigmoid of each class (whose logits have their bias); `value` and `temperature` are T,
    `scale` the logit scale over T. The loss is convex in 1/T, and its slope is followed by bisection and Newton steps.

    Raises:
        InputError: the optimum is at 0 (every answer right) or at infinity (labels no likelier than the others).
    """
    logits, labels = _check_logits(logits, labels)
    slope = _slope if probability == "softmax" else _sigmoid_slope
    own = logits[np.arange(len(labels)), labels]
    if slope(logits, labels, 0.0)[0] >= 0:
        raise InputError(
            "temperature is not identified: the labels of the fitting split are no likelier than other classes"
        )
    others = np.where(np.arange(logits.shape[1]) == labels[:, None], -np.inf, logits).max(1)
    if (own > others).all() if probability == "softmax" else (own > 0).all() and (others < 0).all():
        raise InputError("temperature is not identified: every answer of the fitting split is right")
    beta = _least(lambda beta: slope(logits, labels, beta))
    return Record(
        metric="temperature", group={}, n=len(labels), value=1 / beta, temperature=1 / beta, scale=scale * beta,
        fitted_on=fitted_on or None,
    )  # fmt: skip


def _least(slope: Callable[[float], tuple[float, float]]) -> float:
    """Where an increasing function of a positive number is zero, from its value and derivative: Newton in a bracket."""
    low, high = 0.0, 1.0
    while slope(high)[0] < 0:
        low, high = high, 2 * high
        if high > 1e12:
            raise InputError("temperature is not identified: the loss falls as it goes to 0")
    x = (low + high) / 2
    for _ in range(200):
        value, rise = slope(x)
        low, high = (x, high) if value < 0 else (low, x)
        step = x - value / rise if rise > 0 else np.inf
        new = step if low < step < high else (low + high) / 2
        if abs(new - x) <= 1e-13 * x:
            return new
        x = new
    return x


def _slope(logits: np.ndarray, labels: np.ndarray, beta: float) -> tuple[float, float]:
    """First and second derivative of the mean log loss in beta."""
    odds = np.exp(beta * (logits - logits.max(1, keepdims=True)))
    p = odds / odds.sum(1, keepdims=True)
    mean = (p * logits).sum(1)
    variance = (p * (logits - mean[:, None]) ** 2).sum(1).mean()
    return float((mean - logits[np.arange(len(labels)), labels]).mean()), float(variance)


def _sigmoid_slope(logits: np.ndarray, labels: np.ndarray, beta: float) -> tuple[float, float]:
    """The same of the loss of a yes-or-no event per class, summed over classes."""
    p = expit(beta * logits)
    own = logits[np.arange(len(labels)), labels]
    return float(((logits * p).sum(1) - own).mean()), float((logits**2 * p * (1 - p)).sum(1).mean())


def sigmoid_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-ln of the probability of every yes and no, summed over the classes of each image: float64 [N]."""
    return np.logaddexp(0, logits).sum(1) - logits[np.arange(len(labels)), labels]


def losses(logits: np.ndarray, labels: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """-ln softmax(beta logits) of the label of each image: float64 [N]."""
    shifted = beta * (logits - logits.max(1, keepdims=True))
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]


def mean_of(metric: str, each: np.ndarray, method: Method = USUAL) -> Record:
    """The mean of a loss of each image [N]."""
    low, high = bootstrap(each, method.seed, method.level)
    return Record(
        metric=metric, group={}, n=len(each), value=float(each.mean()), low=low, high=high, level=method.level,
        method="bootstrap over images",
    )  # fmt: skip


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]  # n, right, mean confidence of each bin, [..., bins]


def error_of(
    confidence: np.ndarray, right: np.ndarray, bins: int = BINS, scheme: Scheme = "width", method: Method = USUAL,
    metric: Literal["ece", "mce", "rmsce"] = "ece",
) -> Record:  # fmt: skip
    """Confidence [N], right bool [N] -> a calibration error with what a calibrated model has."""
    check_bins(bins, scheme)
    statistic = {"ece": _expected, "mce": _largest, "rmsce": _root_mean_square}[metric]
    both = Top(np.asarray(confidence, np.float64), np.asarray(right, bool))
    order = np.lexsort(both[::-1])  # the images' own order decides nothing
    both = Top(both.confidence[order], both.right[order])
    value = float(statistic(_bins(both, bins, scheme)))
    place = _place(both.confidence, bins, scheme)
    member = np.eye(bins)[place]
    n, total = member.sum(0), both.confidence @ member
    generator = np.random.default_rng(method.seed)
    drawn = np.concatenate([
        (generator.random((100, len(order))) < both.confidence).astype(np.float64) @ member for _ in range(DRAWS // 100)
    ])  # fmt: skip
    null = statistic((n, drawn, total / np.maximum(n, 1)))

    def resampled(weights: np.ndarray) -> np.ndarray:
        if scheme == "mass":
            return np.array([statistic(_bins(both, bins, scheme, w)) for w in weights])
        counts = weights @ member
        return statistic(
            (counts, weights * both.right @ member, weights * both.confidence @ member / np.maximum(counts, 1))
        )

    p = (int((null >= value - ROUNDING).sum()) + 1) / (DRAWS + 1)
    low, high = bootstrap_statistic(resampled, len(order), method.seed, method.level)
    low, high = max(2 * value - high, 0.0), min(max(2 * value - low, value), 1.0)
    if p > 1 - method.level:
        low = 0.0
    return Record(
        metric=metric, group={}, n=len(order), value=value, low=low, high=high, level=method.level, method=REFLECTED,
        bins=bins, scheme=scheme, null_mean=float(null.mean()), p=p,
        small=len(order) < method.min_n,
    )  # fmt: skip


def _expected(parts: Parts) -> np.ndarray:
    n, k, mean = parts
    return np.abs(k - n * mean).sum(-1) / n.sum(-1)


def _largest(parts: Parts) -> np.ndarray:
    n, k, mean = parts
    return np.where(n > 0, np.abs(k / np.maximum(n, 1) - mean), 0).max(-1)


def _root_mean_square(parts: Parts) -> np.ndarray:
    n, k, mean = parts
    return np.sqrt((n * (k / np.maximum(n, 1) - mean) ** 2).sum(-1) / n.sum(-1))


def _bins(both: Top, bins: int, scheme: Scheme, weights: np.ndarray | None = None) -> Parts:
    """n, right and mean confidence [bins] of each bin."""
    confidence, right = both
    if weights is not None:
        rows = np.repeat(np.arange(len(confidence)), weights.astype(np.int64))
        confidence, right = confidence[rows], right[rows]
    place = _place(confidence, bins, scheme)
    n, k, total = (np.bincount(place, w, minlength=bins) for w in (None, right.astype(np.float64), confidence))
    return n, k, total / np.maximum(n, 1)


def bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The bin of equal width of each confidence, int [N]."""
    return _place(confidence, bins, "width")


def _edges(confidence: np.ndarray, bins: int, scheme: Scheme) -> np.ndarray:
    """All edges [bins + 1] of equal width; the inner ones [bins - 1] of equal mass."""
    if scheme == "width":
        return np.arange(bins + 1) / bins
    return np.sort(confidence)[np.arange(1, bins) * len(confidence) // bins]


def _place(confidence: np.ndarray, bins: int, scheme: Scheme) -> np.ndarray:
    """The bin of each confidence, int [N]."""
    edges = _edges(confidence, bins, scheme)
    if scheme == "width":
        return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    return np.searchsorted(edges, confidence, side="right")


def check_bins(bins: int, scheme: str) -> None:
    """InputError for bins that do not exist."""
    if bins < 1:
        raise InputError(f"bins={bins}; choose 1 or more, {BINS} is usual")
    if scheme not in ("width", "mass"):
        raise InputError(f"scheme {scheme!r}; choose width or mass")


def check_probabilities(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 [N, C] whose rows sum to 1, and labels int [N] within them; or InputError with the row."""
    probabilities, labels = _check_logits(probabilities, labels, "probabilities")
    total = probabilities.sum(1)
    if (bad := np.flatnonzero((np.abs(total - 1) > SUM) | (probabilities < 0).any(1))).size:
        raise InputError(f"probabilities of row {bad[0]} sum to {total[bad[0]]:.4g}; each row sums to 1, none below 0")
    return probabilities, labels


def _check_logits(logits: np.ndarray, labels: np.ndarray, what: str = "logits") -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or not logits.size or labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(f"{what} are {logits.shape} and labels {labels.dtype} {labels.shape}; they are [N, C] and [N]")
    bad = np.isnan(logits) | (logits == np.inf) if what == "logits" else ~np.isfinite(logits)
    if (rows := np.flatnonzero(bad.any(1))).size:
        raise InputError(f"{what} of row {rows[0]} are not numbers")
    if (outside := np.flatnonzero((labels < 0) | (labels >= logits.shape[1]))).size:
        raise InputError(
            f"labels: row {outside[0]} is {labels[outside[0]]}; the classes are 0 .. {logits.shape[1] - 1}"
        )
    return logits, labels
