"""How good predictions are, in NumPy alone, so that every site and every check counts alike."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]
Floats = NDArray[np.float64]


def measure(y: Labels, log_probabilities: NDArray[np.float32]) -> dict[str, float | None]:
    """The metrics of one split by name: loss, accuracy, balanced_accuracy, brier; for two classes
    also auroc and auprc. None where a metric is not defined: no examples, or one class only.

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
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # tied scores share their mean rank
    wins = ranks[y == 1].sum() - cases * (cases + 1) / 2
    return float(wins / (cases * controls))


def auprc(y: Labels, score: Floats) -> float | None:
    """Average precision, the area under the steps of precision over recall; None without both."""
    cases = int((y == 1).sum())
    if not cases or cases == len(y):
        return None
    levels, place = np.unique(-score, return_inverse=True)  # from the highest score down
    found = np.bincount(place, weights=(y == 1), minlength=len(levels))
    flagged = np.bincount(place, minlength=len(levels))
    precision = np.cumsum(found) / np.cumsum(flagged)
    return float((precision * found).sum() / cases)
