"""How sure a metric is: intervals, paired differences, and AUROC pooled without the scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models._metrics import Floats, Labels, ranks

DRAWS = 1000  # of the bootstrap: the ends of a 95 % interval then rest on 25 draws each


class Interval(NamedTuple):
    """Between which values a quantity lies, at the level that was asked for."""

    low: float
    high: float


def delong(y: Labels, score: Floats, *, level: float = 0.95) -> Interval | None:
    """Of the AUROC, cut to [0, 1]; None with fewer than two cases or two controls.

    References:
        DeLong et al., Biometrics 44, 1988; Sun and Xu, IEEE Signal Processing Letters 21, 2014,
        for the ranks.
    """
    parts = _placements(y, score)
    if parts is None:
        return None
    area = float(parts[0].mean())
    error = float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)))
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    return Interval(max(0.0, area - reach), min(1.0, area + reach))


def delong_difference(
    y: Labels, score: Floats, other: Floats, *, level: float = 0.95
) -> Interval | None:
    """Of the AUROC of ``score`` less that of ``other`` on the same examples; None as above.

    References:
        DeLong et al., Biometrics 44, 1988, for correlated curves.
    """
    mine, theirs = _placements(y, score), _placements(y, other)
    if mine is None or theirs is None:
        return None
    gaps = [a - b for a, b in zip(mine, theirs, strict=True)]
    error = float(np.sqrt(sum(gap.var(ddof=1) / len(gap) for gap in gaps)))
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    middle = float(gaps[0].mean())
    return Interval(middle - reach, middle + reach)


def bootstrap(
    metric: Callable[[NDArray[np.int64]], float | None],
    groups: NDArray[np.int64],
    *,
    seed: int,
    level: float = 0.95,
    draws: int = DRAWS,
) -> Interval | None:
    """Of any metric, by drawing patients with replacement; all examples of one go together.

    Args:
        metric: From row numbers int64 [rows], with repeats, to its value there; None where not
            defined. Such draws are left out.
        groups: int64 [examples], the patient.

    Returns:
        None if the metric is undefined in more than half of the draws.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentiles).
    """
    random = np.random.Generator(np.random.PCG64(seed))
    order = np.argsort(groups, kind="stable")
    _, first = np.unique(groups[order], return_index=True)
    patients = np.split(order, first[1:])
    if not len(groups):
        return None
    found = []
    for _ in range(draws):
        drawn = random.integers(0, len(patients), len(patients))
        value = metric(np.concatenate([patients[patient] for patient in drawn]))
        if value is not None:
            found.append(value)
    if 2 * len(found) < draws:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of scores, for a site to exchange instead of the scores.

    Attributes:
        edges: float64 [bins - 1], ascending; bin ``k`` holds scores in [edges[k - 1], edges[k]).
        cases: int64 [bins], of class 1.
        controls: int64 [bins], of class 0.
    """

    edges: Floats
    cases: NDArray[np.int64]
    controls: NDArray[np.int64]


class PooledAuroc(NamedTuple):
    """An area over all sites, and how far the one from the scores themselves can be from it."""

    area: float
    error: float


def quantiles(score: Floats, *, bins: int, minimum: int) -> Floats:
    """Edges that cut this site's scores into bins of as equal counts as ties allow.

    Args:
        minimum: Fewest examples a bin; there are fewer bins where there are few examples.

    Returns:
        float64 [bins' - 1], ascending, without repeats; bins' is at most ``bins``.
    """
    levels, count = np.unique(score, return_counts=True)
    wanted = max(minimum, len(score) / bins)
    edges, held, left = [], 0, len(score)
    for level, examples in zip(levels, count, strict=True):
        if held >= wanted and left >= minimum:
            edges.append(level)
            held = 0
        held, left = held + int(examples), left - int(examples)
    return np.array(edges, dtype=np.float64)


def shared_edges(edges: Sequence[Floats], *, bins: int) -> Floats:
    """One set of edges for all sites, from each one's own: evenly spaced among all of them."""
    every = np.unique(np.concatenate([*edges, np.empty(0)]))
    if len(every) < bins:
        return every
    return every[np.linspace(0, len(every) - 1, bins - 1).round().astype(np.int64)]


def histogram(y: Labels, score: Floats, edges: Floats) -> Histogram:
    """How many cases and controls lie in each bin."""
    place = np.searchsorted(edges, score, side="right")
    cases, controls = (np.bincount(place[y == k], minlength=len(edges) + 1) for k in (1, 0))
    return Histogram(edges=edges, cases=cases, controls=controls)


def pooled_auroc(histograms: Sequence[Histogram]) -> PooledAuroc | None:
    """AUROC over all sites' examples from their histograms; None without cases or controls.

    Only pairs of a case and a control in the same bin are unknown; they count half, so the error
    is at most half their share of all pairs.

    Raises:
        ValueError: the histograms have different edges.
    """
    if any(not np.array_equal(each.edges, histograms[0].edges) for each in histograms):
        raise ValueError("histograms can be added only over the same edges")
    cases = np.sum([each.cases for each in histograms], axis=0).astype(np.float64)
    controls = np.sum([each.controls for each in histograms], axis=0).astype(np.float64)
    pairs = cases.sum() * controls.sum()
    if not pairs:
        return None
    below = np.cumsum(controls) - controls
    half = (cases * controls).sum() / 2
    return PooledAuroc(float(((cases * below).sum() + half) / pairs), float(half / pairs))


def _placements(y: Labels, score: Floats) -> tuple[Floats, Floats] | None:
    """For each case the share of controls below it, for each control that of cases above."""
    case = y == 1
    cases, controls = int(case.sum()), int((~case).sum())
    if min(cases, controls) < 2:
        return None
    places = ranks(score)
    above = (places[case] - ranks(score[case])) / controls
    below = 1 - (places[~case] - ranks(score[~case])) / cases
    return above, below
