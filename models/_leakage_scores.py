"""How well a stranger tells who was in the training data: attacks on confidences, in NumPy alone.

A confidence is the logit of the probability that a model gives to a record's true class. Columns
are patients or records, rows are models; ``inside`` says who trained which model.

References:
    Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022 (LiRA).
    Zarifzadeh et al., Low-Cost High-Power Membership Inference Attacks, ICML 2024 (RMIA).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models._intervals import DRAWS, Interval
from models._metrics import Floats

Flags = NDArray[np.bool_]

FALSE_POSITIVES = 0.01
"""Share of non-members that may be accused: what leaks shows where few mistakes are allowed."""

_TAIL = 0.06  # of the non-members' scores; a resampled 1 % lies within it
_FEWEST = 30  # non-members of a class that suffice to say where their scores lie
_WEIGHT = 16  # pseudo-observations of the mean variance: a record has some 20 models of its own


class Rates(NamedTuple):
    """Members found at ``FALSE_POSITIVES``, with a 95 % interval, and the score it takes."""

    rate: float
    interval: Interval
    threshold: float


def confidences(y: NDArray[np.int32], log_probabilities: NDArray[np.float32]) -> Floats:
    """Log p(y) - log(1 - p(y)), float64 [..., records], of [..., records, classes]."""
    logs = log_probabilities.astype(np.float64)
    columns = np.broadcast_to(y[:, None], (*logs.shape[:-1], 1))
    chosen = np.take_along_axis(logs, columns, axis=-1)[..., 0]
    others = logs.copy()
    np.put_along_axis(others, columns, -np.inf, axis=-1)
    top = others.max(axis=-1)
    found: Floats = chosen - top - np.log(np.exp(others - top[..., None]).sum(axis=-1))
    return found


def lira(
    target: Floats,
    members: Flags,
    classes: NDArray[np.int32],
    shadows: Floats,
    inside: Flags,
) -> Floats:
    """Log likelihood ratio of 'was a member', for each record: LiRA, online variant.

    Each record's confidence is taken as normal, once over the shadow models that saw it and once
    over those that did not; variances are drawn towards their mean over records. Before, the
    target's confidences are shifted and scaled by class so that its non-members lie where the
    shadows' do: a joint model has seen other hospitals' patients, and is better for everybody.

    Args:
        target: float64 [records], of the attacked model.
        members: bool [records], who trained it; only non-members are looked at here.
        classes: int32 [records].
        shadows: float64 [models, records].
        inside: bool [models, records].
    """
    (mean_in, deviation_in), (mean_out, deviation_out) = (
        _moments(shadows, inside),
        _moments(shadows, ~inside),
    )
    place = (target - mean_out) / deviation_out
    for group in _groups(classes, members):
        middle, spread = _middle(place[group & ~members])
        place[group] = (place[group] - middle) / spread
    seen = (mean_out + deviation_out * place - mean_in) / deviation_in
    ratio: Floats = (place**2 - seen**2) / 2 + np.log(deviation_out / deviation_in)
    return ratio


def rmia(target: Floats, shadows: Floats) -> Floats:
    """Log ratio of a record's probability under the target and under the mean of few models."""
    found: Floats = _log_sigmoid(target) - np.log(np.exp(_log_sigmoid(shadows)).mean(axis=0))
    return found


def by_patient(scores: Floats, patients: NDArray[np.int64]) -> Floats:
    """Log ratios of each patient's records added up, [..., patients]."""
    count = int(patients.max()) + 1
    if count == len(patients):  # one record each, which may still lie in any order
        found = np.empty_like(scores)
        found[..., patients] = scores
        return found
    rows = scores.reshape(-1, scores.shape[-1])
    summed = np.stack([np.bincount(patients, weights=row, minlength=count) for row in rows])
    return summed.reshape(*scores.shape[:-1], count).astype(np.float64)


def pooled(scores: Floats, inside: Flags, *, seed: int) -> Rates:
    """Of many targets attacked in turn, at one threshold over all of them.

    The interval is over targets and patients, both drawn with replacement: a handful of odd
    patients, or of odd models, widens it.

    Args:
        scores: float64 [targets, patients].
        inside: bool [targets, patients].

    References:
        Owen, The Pigeonhole Bootstrap, Annals of Applied Statistics 1, 2007.
    """
    targets, patients = scores.shape
    outside = (~inside).astype(np.float64)
    cut = np.quantile(scores[~inside], 1 - _TAIL)
    at, who = np.nonzero(scores >= cut)
    order = np.argsort(-scores[at, who], kind="stable")
    at, who = at[order], who[order]
    ranked, member = scores[at, who], inside[at, who]

    def found(models: Floats, people: Floats) -> tuple[float, int]:
        weight = models[at] * people[who]
        allowed = FALSE_POSITIVES * (models @ outside @ people)
        accused = np.cumsum(np.where(member, 0.0, weight))
        last = int(np.searchsorted(accused, allowed * (1 + 1e-9), side="right"))
        hits = weight[:last][member[:last]].sum()
        return float(hits / max(models @ inside @ people, 1e-12)), last

    rate, last = found(np.ones(targets), np.ones(patients))
    random = np.random.Generator(np.random.PCG64(seed))
    rates = [
        found(
            random.multinomial(targets, np.full(targets, 1 / targets)).astype(np.float64),
            random.multinomial(patients, np.full(patients, 1 / patients)).astype(np.float64),
        )[0]
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(rates, [0.025, 0.975])
    threshold = float(ranked[min(last, len(ranked) - 1)])
    return Rates(rate, Interval(float(low), float(high)), threshold)


def clopper_pearson(hits: int, trials: int, *, level: float = 0.95) -> Interval:
    """Exact interval of a share.

    References:
        Clopper and Pearson, Biometrika 26, 1934.
    """
    aside = (1 - level) / 2
    low = 0.0 if not hits else _root(lambda p: at_least(hits, trials, p) - aside)
    high = 1.0 if hits == trials else _root(lambda p: at_least(hits + 1, trials, p) - (1 - aside))
    return Interval(low, high)


def at_least(hits: int, trials: int, chance: float) -> float:
    """Probability of so many hits or more."""
    return float(binomial(trials, chance)[hits:].sum())


def binomial(trials: int, chance: float) -> Floats:
    """Probabilities of 0, 1, ... ``trials`` hits."""
    if chance <= 0 or chance >= 1:
        certain: Floats = np.eye(1, trials + 1, 0 if chance <= 0 else trials)[0]
        return certain
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    hits = np.arange(trials + 1)
    ways = logs[-1] - logs[hits] - logs[trials - hits]
    found: Floats = np.exp(ways + hits * np.log(chance) + (trials - hits) * np.log1p(-chance))
    return found


def _moments(shadows: Floats, taken: Flags) -> tuple[Floats, Floats]:
    """Mean and deviation of each record over the models that are ``taken``, float64 [records]."""
    count = taken.sum(axis=0)
    total = np.where(taken, shadows, 0.0).sum(axis=0)
    everybody = total.sum() / max(count.sum(), 1)
    mean = np.where(count > 0, total / np.maximum(count, 1), everybody)
    squares = np.where(taken, (shadows - mean) ** 2, 0.0).sum(axis=0)
    freedom = np.maximum(count - 1, 0)
    common = squares.sum() / max(freedom.sum(), 1)
    variance = (squares + _WEIGHT * common) / (freedom + _WEIGHT)
    return mean, np.sqrt(np.maximum(variance, 1e-12))


def _groups(classes: NDArray[np.int32], members: Flags) -> list[Flags]:
    """Records class by class; all together where a class has too few non-members."""
    found = [classes == label for label in np.unique(classes)]
    enough = all((group & ~members).sum() >= _FEWEST for group in found)
    return found if enough else [np.ones(len(classes), dtype=bool)]


def _middle(place: Floats) -> tuple[float, float]:
    """Median and spread (1 for a standard normal) of the bulk, whatever the tails do."""
    if len(place) < _FEWEST:
        return 0.0, 1.0
    low, middle, high = np.quantile(place, [0.25, 0.5, 0.75])
    return float(middle), max(float(high - low) / 1.349, 1e-6)


def _log_sigmoid(x: Floats) -> Floats:
    found: Floats = -np.logaddexp(0, -x)
    return found


def _root(function: Callable[[float], float]) -> float:
    """Where a rising function of a chance crosses 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2
