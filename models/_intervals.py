"""How sure a metric is: intervals, and paired differences."""

from collections.abc import Callable
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

    Where the scores separate the classes the variance is 0, which is no certainty: then it is that
    of ``separated``.

    References:
        DeLong et al., Biometrics 44, 1988; Sun and Xu, IEEE Signal Processing Letters 21, 2014,
        for the ranks.
    """
    parts = _placements(y, score)
    if parts is None:
        return None
    area = float(parts[0].mean())
    if area in (0.0, 1.0):
        return separated(area, min(map(len, parts)), level=level)
    error = float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)))
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    return Interval(max(0.0, area - reach), min(1.0, area + reach))


def separated(area: float, pairs: int, *, level: float = 0.95) -> Interval:
    """Of an AUROC that came out as 1 (or 0): what could hardly have come out so.

    Cases and controls make ``pairs`` pairs, as many as there are of the fewer, that share nobody:
    that all are won has the chance of the true area to the power of ``pairs``.

    References:
        Clopper and Pearson, Biometrika 26, 1934, of so many wins out of as many pairs; Obuchowski
        and Lieber, Academic Radiology 9, 2002, on estimated areas of 1.
    """
    low = ((1 - level) / 2) ** (1 / pairs)
    return Interval(low, 1.0) if area == 1 else Interval(0.0, 1 - low)


def delong_difference(
    y: Labels, score: Floats, other: Floats, *, level: float = 0.95
) -> Interval | None:
    """Of the AUROC of ``score`` less that of ``other`` on the same examples; None as above.

    Where both separate the classes, in different orders, each may be as far off as ``separated``.

    References:
        DeLong et al., Biometrics 44, 1988, for correlated curves.
    """
    mine, theirs = _placements(y, score), _placements(y, other)
    if mine is None or theirs is None:
        return None
    gaps = [a - b for a, b in zip(mine, theirs, strict=True)]
    areas = float(mine[0].mean()), float(theirs[0].mean())
    if areas[0] == areas[1] and areas[0] in (0, 1) and (ranks(score) != ranks(other)).any():
        low, high = separated(areas[0], min(map(len, mine)), level=level)
        return Interval(low - high, high - low)
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
