"""Which examples are in each step of an epoch: tables of row numbers, filled up with -1."""

import math

import numpy as np
from numpy.typing import NDArray

from models._noise import Bits
from models._privacy import Plan

Order = NDArray[np.int32]

_SPARE = 6  # deviations of a Poisson batch's size that its rows have room for


def shuffled(random: np.random.Generator, examples: int, batch: int) -> Order:
    """Every example once, int32 [steps, batch], or no wider than there are examples."""
    batch = max(1, min(batch, examples))
    order = np.full((-(-examples // batch), batch), -1, dtype=np.int32)
    order.ravel()[:examples] = random.permutation(examples)
    return order


def sampled(bits: Bits, examples: int, plan: Plan, epochs: int) -> Order:
    """An epoch of Poisson samples: each example is in each step's batch by its own chance.

    Returns:
        int32 [steps, rows], row numbers, then -1. There is room for the largest batch whatever
        its size; room is given in steps, so that few shapes need compiling.
    """
    steps = plan.steps // epochs
    step, example = np.divmod(_chosen(bits, steps * examples, plan.rate), examples)
    sizes = np.bincount(step, minlength=steps)
    room = widest(plan, examples)
    while room < sizes.max():
        room *= 2
    order = np.full((steps, room), -1, dtype=np.int32)
    order[step, np.arange(len(step)) - (np.cumsum(sizes) - sizes)[step]] = example
    return order


def _chosen(bits: Bits, trials: int, rate: float) -> NDArray[np.int64]:
    """Which of so many independent trials of chance ``rate`` succeed, ascending.

    The trials up to the next success are counted by a geometric number: to draw one for each
    success, not one for each trial, takes a tenth of the time at one in two hundred.

    References:
        Devroye, Non-Uniform Random Variate Generation, 1986, sections X.2 and XII.1.
    """
    if rate >= 1:
        return np.arange(trials)
    found, last = [], -1
    while last < trials:
        expected = (trials - last) * rate
        draws = bits.draw(1, 2 * math.ceil(expected + _SPARE * math.sqrt(expected) + 1))
        share = ((draws.view(np.uint64)[0] >> np.uint64(11)) + 0.5) * 2.0**-53  # in (0, 1)
        # A chance near 0 makes gaps that no sum may hold; beyond the trials all are alike.
        gaps = np.minimum(np.log(share) / math.log1p(-rate), trials).astype(np.int64)
        found.append(last + np.cumsum(gaps + 1))
        last = int(found[-1][-1])
    successes = np.concatenate(found)
    return successes[successes < trials]


def widest(plan: Plan, examples: int) -> int:
    """For how many rows of a Poisson sample there is room, but for one in a thousand million."""
    expected = plan.rate * examples
    return min(examples, math.ceil(expected + _SPARE * math.sqrt(expected)))


def widths(room: int, batch: float) -> tuple[int, ...]:
    """For how many rows a step of Poisson samples is compiled, ascending, up to ``room``.

    Most batches are much smaller than the largest: with these a step computes on 4 % more rows than
    it has, for an expected batch of 256, and not on 37 %; for one of 8 on 41 %, and not on 212 %.
    """
    steps = (math.ceil((batch + k * math.sqrt(batch)) / 8) * 8 for k in (-1, 0, 1, 2))
    return (*sorted({width for width in steps if 0 < width < room}), room)


def widened(order: Order, multiple: int) -> Order:
    """``order`` with padding, so that its columns can be cut into so many equal parts."""
    return np.pad(order, ((0, 0), (0, -order.shape[1] % multiple)), constant_values=-1)
