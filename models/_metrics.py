"""How good predictions are, in NumPy alone, so that every site and every check counts alike."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]
Floats = NDArray[np.float64]

SPECIFICITIES = (0.9, 0.95)
"""At which the sensitivity is measured: a screening clinic's and a busy ward's false alarms."""

_NEWTON_STEPS = 200  # a handful suffices unless the classes hardly overlap
_CONVERGED = 1e-12  # of the likelihood's rise, in nats: a millionth of a standard error away
BINS = 10  # of the calibration error, each with as many examples as the next


def measure(y: Labels, log_probabilities: NDArray[np.float32]) -> dict[str, float | None]:
    """The metrics of one split by name. None where a metric is not defined: no examples, or one
    class only.

    Always loss, accuracy, balanced_accuracy and brier; for two classes also auroc, auprc,
    sensitivity_at_90 and sensitivity_at_95 (per cent specificity), calibration_slope and
    calibration_error.

    Args:
        y: int32 [examples], the true class.
        log_probabilities: float32 [examples, classes], in nats.
    """
    logs = log_probabilities.astype(np.float64)
    chosen = logs.argmax(axis=1)
    metrics: dict[str, Callable[[], float | None]] = {
        "loss": lambda: log_loss(y, logs),
        "accuracy": lambda: accuracy(y, chosen),
        "balanced_accuracy": lambda: balanced_accuracy(y, chosen),
        "brier": lambda: brier(y, np.exp(logs)),
    }
    if logs.shape[1] == 2:
        score = logs[:, 1] - logs[:, 0]  # the logit: it still ranks where probabilities are 1.0
        metrics["auroc"] = lambda: auroc(y, score)
        metrics["auprc"] = lambda: auprc(y, score)
        for specificity in SPECIFICITIES:
            name = f"sensitivity_at_{specificity * 100:.0f}"
            metrics[name] = partial(sensitivity, y, score, specificity=specificity)
        metrics["calibration_slope"] = lambda: calibration_slope(y, score)
        metrics["calibration_error"] = lambda: calibration_error(y, np.exp(logs[:, 1]))
    return {name: metric() if len(y) else None for name, metric in metrics.items()}


def accuracy(y: Labels, chosen: NDArray[np.int64]) -> float:
    """Share of examples whose class was chosen, in [0, 1]."""
    return float((y == chosen).mean())


def balanced_accuracy(y: Labels, chosen: NDArray[np.int64]) -> float:
    """Mean over the classes that occur of the share that was recognised, in [0, 1]."""
    return float(np.mean([(chosen[y == label] == label).mean() for label in np.unique(y)]))


def log_loss(y: Labels, log_probabilities: Floats) -> float:
    """Mean negative log-probability of the true class, in nats."""
    return float(-np.take_along_axis(log_probabilities, y[:, None], axis=1).mean())


def brier(y: Labels, probabilities: Floats) -> float:
    """Mean squared error of probabilities: of class 1, in [0, 1], where there are two classes;
    summed over the classes, in [0, 2], where there are more.

    References:
        Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.
    """
    error = probabilities - np.eye(probabilities.shape[1])[y]
    if probabilities.shape[1] == 2:
        error = error[:, 1:]
    return float((error * error).sum(axis=1).mean())


def auroc(y: Labels, score: Floats) -> float | None:
    """Chance that a case scores above a control, ties counting half; None without both.

    References:
        Hanley and McNeil, Radiology 143, 1982: the Wilcoxon statistic.
    """
    cases = int((y == 1).sum())
    controls = len(y) - cases
    if not cases or not controls:
        return None
    wins = ranks(score)[y == 1].sum() - cases * (cases + 1) / 2
    return float(wins / (cases * controls))


def auprc(y: Labels, score: Floats) -> float | None:
    """Average precision, the area under the steps of precision over recall; None without both."""
    cases = int((y == 1).sum())
    if not cases or cases == len(y):
        return None
    found, flagged = _flagged(y, score)
    gained = np.diff(found, prepend=0)
    return float((found / flagged * gained).sum() / cases)


def sensitivity(y: Labels, score: Floats, *, specificity: float) -> float | None:
    """Largest share of cases found by a threshold that leaves at least ``specificity`` of the
    controls in peace, in [0, 1]; None without both.
    """
    cases = int((y == 1).sum())
    controls = len(y) - cases
    if not cases or not controls:
        return None
    found, flagged = _flagged(y, score)
    allowed = flagged - found <= (1 - specificity) * controls + 1e-9  # rounding of 0.1 x 10
    return float(found[allowed].max(initial=0) / cases)


def calibration_slope(y: Labels, score: Floats) -> float | None:
    """Factor on the logits, with an offset, under which the outcomes are most likely.

    1 is calibrated, below 1 too extreme, above 1 too timid. None without both classes, where all
    scores are the same, where the scores separate the classes, as the factor is then infinite, and
    where it cannot be found in float64.

    References:
        Cox, Two Further Applications of a Model for Binary Regression, Biometrika 45, 1958.
    """
    case, control = score[y == 1], score[y == 0]
    if not len(case) or not len(control) or np.ptp(score) == 0:
        return None
    if case.min() >= control.max() or case.max() <= control.min():
        return None
    low, middle, high = np.quantile(score, [0.25, 0.5, 0.75])
    spread = high - low or score.std()  # one extreme logit leaves the quartiles where they were
    x = np.stack([np.ones_like(score), (score - middle) / spread], axis=1)
    weights = _likeliest(x, y)
    return None if weights is None else float(weights[1] / spread)


def _likeliest(x: Floats, y: Labels) -> Floats | None:
    """A logistic regression's weights, float64 [2]; None where Newton's way does not end.

    A step is halved until the likelihood rises by a tenth of what its slope promises.

    References:
        Boyd and Vandenberghe, Convex Optimization, 2004, algorithm 9.5 (damped Newton).
    """
    weights = np.zeros(2)

    def loss(at: Floats) -> float:
        logits = x @ at
        return float(np.sum(np.logaddexp(0, logits) - y * logits))

    before = loss(weights)
    for _ in range(_NEWTON_STEPS):
        # exp(-|z|) neither overflows nor rounds p (1 - p) to zero where p rounds to one
        logits = x @ weights
        small = np.exp(-np.abs(logits))
        p = np.where(logits >= 0, 1, small) / (1 + small)
        slope = x.T @ (y - p)
        curve = (x * (small / (1 + small) ** 2)[:, None]).T @ x
        try:
            step = np.linalg.solve(curve, slope)
        except np.linalg.LinAlgError:
            return None
        rise = float(slope @ step)
        if not 0 <= rise < np.inf:
            return None
        if rise < _CONVERGED:
            return np.asarray(weights + step)
        length = 1.0
        while (after := loss(weights + length * step)) > before - 0.1 * length * rise:
            length /= 2
            if length < 1e-10:  # no step helps: the loss has no more digits
                return np.asarray(weights) if rise < 1e-6 else None
        weights, before = weights + length * step, after
    return None


def calibration_error(y: Labels, probability: Floats, *, bins: int = BINS) -> float:
    """Mean distance of predicted and observed frequency over bins of equal counts, in [0, 1].

    Examples with one probability lie in one bin. A bin weighs as much as it has examples.

    References:
        Nixon et al., Measuring Calibration in Deep Learning, CVPRW 2019 (adaptive bins).
    """
    place = _equal_bins(probability, bins)
    count = np.bincount(place)
    gap = np.bincount(place, weights=probability) - np.bincount(place, weights=y)
    return float(np.abs(gap[count > 0]).sum() / len(y))


def ranks(score: Floats) -> Floats:
    """Places from 1, in ascending order; equal scores share their mean place."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    found: Floats = (np.cumsum(count) - (count - 1) / 2)[place]
    return found


def _flagged(y: Labels, score: Floats) -> tuple[Floats, Floats]:
    """Cases found and examples flagged at each threshold, from the highest score down."""
    levels, place = np.unique(-score, return_inverse=True)
    found = np.bincount(place, weights=(y == 1), minlength=len(levels))
    flagged = np.bincount(place, minlength=len(levels)).astype(np.float64)
    return np.cumsum(found), np.cumsum(flagged)


def _equal_bins(score: Floats, bins: int) -> NDArray[np.int64]:
    """A bin for each example, from 0: as even as ties allow."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2  # of each value's examples, in ascending order
    binned: NDArray[np.int64] = np.minimum(middle * bins // len(score), bins - 1).astype(np.int64)
    return binned[place]
