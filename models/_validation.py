"""What a trained model is worth at one site: metrics with intervals, by subgroup, and in pairs.

NumPy alone, on predictions. What of it may leave the site is decided elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets import Feature, Split
from models import _intervals, _metrics
from models._intervals import Interval
from models._metrics import Floats, Labels

Rows = NDArray[np.int64]
Scored = dict[str, float | None]

# Examples; from there on a draw costs some 10 ms and 200 are made, not 1,000. An end of an interval
# then rests on five draws: chance moves it by a fifth of the standard error, and not by a tenth.
_MANY = 5000
_FEW_DRAWS = 200
_NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One model on one group of examples.

    Attributes:
        metrics: By name; None where not defined.
        low: Lower end of the 95 % interval, of the metrics that have one: not where every draw
            came to the same, e.g. 1.0, since that tells nothing of chance.
        high: Upper end.
    """

    metrics: Scored
    low: dict[str, float]
    high: dict[str, float]


class Difference(NamedTuple):
    """A metric of one model less that of another on the same examples, with a 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """A split of the examples by one feature, e.g. men and women.

    Attributes:
        names: Of the groups, as printed.
        members: int64 [examples], each example's group.
    """

    names: tuple[str, ...]
    members: Rows


def primary(metric: str, classes: int) -> str:
    """The metric by which two models are compared: the study's own if more of it is better."""
    if classes == 2:
        return metric if metric in ("auroc", "auprc", "accuracy") else "auroc"
    return "accuracy"


def judge(
    y: Labels,
    logs: NDArray[np.float32],
    patients: Rows,
    *,
    specificity: float,
    seed: int,
    brief: bool = False,
) -> Judged:
    """How good predictions are, with intervals over patients.

    Args:
        y: int32 [examples], the true class.
        logs: float32 [examples, classes], log-probabilities.
        patients: int64 [examples].
        specificity: At which sensitivity is measured.
        brief: Only what a subgroup shows: AUROC and Brier, or accuracy and Brier.

    References:
        DeLong et al., Biometrics 44, 1988, for AUROC where each patient has one example; patients
        are drawn with replacement for the rest, 1,000 times, or 200 from 5,000 examples on.
    """
    chosen = _chosen(logs.shape[1], specificity, brief=brief)
    if not len(y):
        return Judged(metrics=dict.fromkeys(chosen), low={}, high={})
    wide: Floats = logs.astype(np.float64)
    metrics: Scored = {name: metric(y, wide) for name, metric in chosen.items()}
    drawn = dict(chosen)
    ends: dict[str, Interval] = {}
    if "auroc" in chosen and len(np.unique(patients)) == len(patients):
        del drawn["auroc"]
        if found := _intervals.delong(y, _score(wide)):
            ends["auroc"] = found
    ends |= _drawn(drawn, y, wide, patients, seed=seed)
    if "auroc" in drawn and metrics["auroc"] in (0.0, 1.0):
        people = min(len(np.unique(patients[y == label])) for label in (0, 1))
        ends["auroc"] = _intervals.separated(metrics["auroc"], people)
    defined = {name: end for name, end in ends.items() if metrics[name] is not None}
    return Judged(
        metrics=metrics,
        low={name: end.low for name, end in defined.items()},
        high={name: end.high for name, end in defined.items()},
    )


def differences(
    y: Labels,
    logs: NDArray[np.float32],
    other: NDArray[np.float32],
    patients: Rows,
    *,
    metric: str,
    seed: int,
) -> dict[str, Difference]:
    """``metric`` and Brier of ``logs`` less those of ``other``, on the same patients.

    References:
        DeLong et al., Biometrics 44, 1988, for correlated curves; else patients are drawn with
        replacement, both models' predictions of one going together.
    """
    names = dict.fromkeys((metric, "brier"))
    mine, theirs = logs.astype(np.float64), other.astype(np.float64)
    kinds = _kinds(0.0)
    found: dict[str, Difference] = {}
    single = len(np.unique(patients)) == len(patients)
    for name in names:
        kind = kinds[name]
        first, second = kind(y, mine), kind(y, theirs)
        if first is None or second is None:
            continue
        if name == "auroc" and single:
            interval = _intervals.delong_difference(y, _score(mine), _score(theirs))
        else:
            interval = _intervals.bootstrap(
                partial(_gap, kind, y, mine, theirs),
                patients,
                seed=seed,
                draws=_draws(len(y)),
            )
        if interval is not None:
            found[name] = Difference(first - second, *interval)
    return found


def groups(
    split: Split, features: Sequence[Feature], *, by: str, bands: Sequence[float]
) -> Groups | None:
    """The examples by the feature ``by``, or None where the data have no such feature.

    Args:
        bands: Ascending limits in years, for an age.
    """
    place = next((i for i, f in enumerate(features) if f.name in _ALIASES.get(by, (by,))), None)
    if place is None:
        return None
    x, mask = split.x[..., place], split.mask[..., place]
    if x.ndim == 2:  # hours: the first at which it was measured
        hour = mask.argmax(axis=1)
        rows = np.arange(len(x))
        x, mask = x[rows, hour], mask[rows, hour]
    if features[place].kind == "number":
        limits = np.asarray(bands, dtype=np.float64)
        members = np.searchsorted(limits, x, side="right")
        names = _bands(limits)
    else:
        levels = [0, 1]
        members = np.searchsorted(levels, x)
        names = tuple(f"{features[place].name} {level}" for level in levels)
    if not mask.all():
        members = np.where(mask, members, len(names))
        names = (*names, _NOT_MEASURED)
    return Groups(names=names, members=members.astype(np.int64))


_ALIASES = {"sex": ("sex", "male"), "age": ("age", "age_approx")}


class Bounds(NamedTuple):
    """An area, and between which two it lies for certain."""

    area: float
    low: float
    high: float


class Bins(NamedTuple):
    """How many of one class have a score in each stretch, from one site.

    Attributes:
        edges: float64 [bins + 1], ascending.
        counts: float64 [bins]; the true ones differ by at most the rounding's half.
    """

    edges: Floats
    counts: Floats


def pooled_auroc(cases: Sequence[Bins], controls: Sequence[Bins], *, off: float) -> Bounds | None:
    """AUROC over all sites' examples from histograms whose edges differ; None without both.

    A case in a stretch above a control's surely scores higher. Where two stretches overlap, the
    area takes scores to be spread evenly over each, and the bounds take nothing.

    Args:
        off: By how many examples a count may be off.

    Returns:
        The bounds hold for any scores and any true counts that fit what is given.
    """
    low, high, wins = _edges(cases)
    under, over, losses = _edges(controls)
    if not wins.sum() or not losses.sum():
        return None
    surely = (low[:, None] >= over[None, :]).astype(np.float64)
    never = (high[:, None] <= under[None, :]).astype(np.float64)
    likely = _above(low[:, None], high[:, None], under[None, :], over[None, :])
    area = float(wins @ likely @ losses / (wins.sum() * losses.sum()))
    least = [_extreme(row, losses, off, sign=1) for row in surely]
    most = [_extreme(1 - row, losses, off, sign=-1) for row in never]
    return Bounds(
        area,
        _extreme(np.array(least), wins, off, sign=1),
        _extreme(np.array(most), wins, off, sign=-1),
    )


def _above(a: Floats, b: Floats, c: Floats, d: Floats) -> Floats:
    """Chance that a number drawn evenly from [a, b] is above one drawn evenly from [c, d]."""

    def below(x: Floats) -> Floats:  # the integral, up to x, of how much of [c, d] lies below
        inside = np.clip(x, c, d)
        return (inside - c) ** 2 / (2 * (d - c)) + np.maximum(x - d, 0.0)

    return (below(b) - below(a)) / (b - a)


def _edges(bins: Sequence[Bins]) -> tuple[Floats, Floats, Floats]:
    low = np.concatenate([each.edges[:-1] for each in bins] or [np.empty(0)])
    high = np.concatenate([each.edges[1:] for each in bins] or [np.empty(0)])
    counts = np.concatenate([each.counts for each in bins] or [np.empty(0)])
    return low, high, counts


def _extreme(values: Floats, counts: Floats, off: float, *, sign: int) -> float:
    """The least (or, with sign -1, the largest) mean of ``values`` under weights within ``off``.

    The extreme has all weights at their upper end up to a threshold in the values' order and at
    their lower end beyond it, so trying every threshold finds it.
    """
    order = np.argsort(sign * values, kind="stable")
    v, more, less = values[order], counts[order] + off, np.maximum(counts[order] - off, 0.0)
    found = []
    for threshold in range(len(v) + 1):
        weights = np.concatenate([more[:threshold], less[threshold:]])
        if weights.sum():
            found.append(float((weights * v).sum() / weights.sum()))
    return sign * min(sign * each for each in found)


def _kinds(specificity: float) -> dict[str, Callable[[Labels, Floats], float | None]]:
    return {
        "auroc": lambda y, logs: _metrics.auroc(y, _score(logs)),
        "auprc": lambda y, logs: _metrics.auprc(y, _score(logs)),
        "accuracy": lambda y, logs: _metrics.accuracy(y, logs.argmax(axis=1)),
        "balanced_accuracy": lambda y, logs: _metrics.balanced_accuracy(y, logs.argmax(axis=1)),
        "brier": lambda y, logs: _metrics.brier(y, np.exp(logs)),
        "loss": _metrics.log_loss,
        "sensitivity": lambda y, logs: _metrics.sensitivity(
            y, _score(logs), specificity=specificity
        ),
        "calibration_slope": lambda y, logs: _metrics.calibration_slope(y, _score(logs)),
        "calibration_intercept": lambda y, logs: calibration_intercept(y, _score(logs)),
        "calibration_error": lambda y, logs: _metrics.calibration_error(y, np.exp(logs[:, 1])),
    }


def _chosen(
    classes: int, specificity: float, *, brief: bool
) -> dict[str, Callable[[Labels, Floats], float | None]]:
    kinds = _kinds(specificity)
    names = tuple(kinds)
    if brief:
        names = ("auroc", "brier") if classes == 2 else ("accuracy", "brier")
    elif classes != 2:
        names = ("accuracy", "balanced_accuracy", "brier", "loss")
    return {name: kinds[name] for name in names}


def calibration_intercept(y: Labels, score: Floats) -> float | None:
    """What must be added to every logit so that as many cases are expected as there are.

    0 is calibrated in the large, above 0 the model expects too few. None without both classes.

    References:
        Van Calster et al., A calibration hierarchy for risk models, J Clin Epidemiol 74, 2016.
    """
    cases = int((y == 1).sum())
    if not cases or cases == len(y):
        return None
    even = np.log(cases / (len(y) - cases))  # the answer if all scores were 0
    low, high = float(even - score.max()), float(even - score.min())
    middle = (low + high) / 2
    for _ in range(100):  # Newton, or halving where that leads out of the bracket
        p = 1 / (1 + np.exp(-np.clip(score + middle, -500, 500)))
        gap = cases - p.sum()
        low, high = (middle, high) if gap > 0 else (low, middle)
        if high - low < 1e-9:
            break
        slope = (p * (1 - p)).sum()
        step = gap / slope if slope > 0 else np.inf
        if abs(step) < 1e-9:
            break
        middle = middle + step if low < middle + step < high else (low + high) / 2
    return float(middle)


def _drawn(
    kinds: Mapping[str, Callable[[Labels, Floats], float | None]],
    y: Labels,
    logs: Floats,
    patients: Rows,
    *,
    seed: int,
) -> dict[str, Interval]:
    """Percentile intervals of all ``kinds`` from the same draws of patients."""
    seen: dict[str, list[float]] = {name: [] for name in kinds}

    def measure(rows: Rows) -> float | None:
        for name, kind in kinds.items():
            value = kind(y[rows], logs[rows])
            if value is not None:
                seen[name].append(value)
        return None

    draws = _draws(len(y))
    _intervals.bootstrap(measure, patients, seed=seed, draws=draws)
    return {
        name: Interval(*map(float, np.quantile(values, [0.025, 0.975])))
        for name, values in seen.items()
        if 2 * len(values) >= draws and min(values) < max(values)
    }


def _draws(examples: int) -> int:
    return _intervals.DRAWS if examples < _MANY else _FEW_DRAWS


def _gap(
    kind: Callable[[Labels, Floats], float | None], y: Labels, a: Floats, b: Floats, rows: Rows
) -> float | None:
    first, second = kind(y[rows], a[rows]), kind(y[rows], b[rows])
    return None if first is None or second is None else first - second


def _score(logs: Any) -> Floats:
    """The logit: it still ranks where probabilities are 1.0."""
    score: Floats = logs[:, 1].astype(np.float64) - logs[:, 0]
    return score


def _bands(limits: Floats) -> tuple[str, ...]:
    if not len(limits):
        return ("all",)
    shown = [f"{limit:g}" for limit in limits]
    between = (f"{a} to {b}" for a, b in pairwise(shown))
    return (f"under {shown[0]}", *between, f"{shown[-1]} and over")
