"""How much record-level privacy a recipe gives at most: epsilon from below, by planted records.

Some patients' records get the wrong class and are trained on or left out by the toss of a coin, in
dry runs that are thrown away. Whoever guesses the coins too well shows that epsilon is larger.

References:
    Steinke et al., Privacy Auditing with One (1) Training Run, NeurIPS 2023, theorem 5.2.
"""

import math

import numpy as np
from numpy.typing import NDArray

from models._leakage_scores import Flags, binomial
from models._metrics import Floats

CANARIES = 100
"""In a dry run; fewer where they would be more than a tenth of the patients."""

SHARES = (1.0, 0.25)
"""Of the coins that are guessed, the surest ones; each has its half of the 5 % of error."""


def epsilon(scores: Floats, inside: Flags, *, delta: float, level: float = 0.95) -> float:
    """The largest epsilon that the guesses refute at ``level``; 0 if none.

    All coins of all dry runs count as one mechanism's, as each run has coins of its own.

    Args:
        scores: float64 [runs, canaries], larger where the canary was rather trained on.
        inside: bool [runs, canaries], the coins.
    """
    order = np.argsort(scores, axis=None)
    coins = inside.ravel()[order]
    error, found = (1 - level) / len(SHARES), 0.0
    for share in SHARES:
        half = max(1, int(len(coins) * share) // 2)
        right = int((~coins[:half]).sum() + coins[-half:].sum())
        found = max(found, bound(right, 2 * half, coins=len(coins), delta=delta, error=error))
    return found


def bound(right: int, guesses: int, *, coins: int, delta: float, error: float) -> float:
    """The largest epsilon under which so many right guesses have a chance below ``error``."""

    def chance(epsilon: float) -> float:
        return _chance(right, guesses, coins=coins, epsilon=epsilon, delta=delta)

    if chance(0.0) >= error:
        return 0.0
    low, high = 0.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) < error else (low, middle)
    return low


def _chance(right: int, guesses: int, *, coins: int, epsilon: float, delta: float) -> float:
    """Most that the chance of ``right`` or more can be under (epsilon, delta)."""
    p = binomial(guesses, 1 / (1 + math.exp(-epsilon)))
    beta = float(p[right:].sum())
    if not delta or not right:
        return min(beta, 1.0)
    below = np.cumsum(p[:right][::-1])  # chance of right - i to right - 1, for i from 1
    alpha = float((below / np.arange(1, right + 1)).max())
    return min(beta + 2 * coins * delta * alpha, 1.0)


def plant(
    patients: NDArray[np.int64], random: np.random.Generator
) -> tuple[NDArray[np.int64], Flags]:
    """One record each of some patients, int64 [canaries], and all records of these patients.

    Args:
        patients: int64 [records], from 0 without a gap.
    """
    people = int(patients.max()) + 1
    chosen = random.permutation(people)[: min(CANARIES, people // 10)]
    _, first = np.unique(patients, return_index=True)
    return first[chosen], np.isin(patients, chosen)
