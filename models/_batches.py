"""Which examples are in each step of an epoch: tables of row numbers, filled up with -1."""

import math

import numpy as np
from numpy.typing import NDArray

from models._noise import Bits
from models._privacy import Plan

Order = NDArray[np.int32]

_SPARE = 6  # deviations of a Poisson batch's size that its rows have room for


def shuffled(random: np.random.Generator, examples: int, batch: int) -> Order:
    """Every example once, int32 [steps, batch]."""
    order = np.full((-(-examples // batch), batch), -1, dtype=np.int32)
    order.ravel()[:examples] = random.permutation(examples)
    return order


def sampled(bits: Bits, examples: int, plan: Plan, epochs: int) -> Order:
    """An epoch of Poisson samples: each example is in each step's batch by its own chance.

    Returns:
        int32 [steps, rows], row numbers, then -1. There is room for the largest batch whatever
        its size; room is given in steps, so that few shapes need compiling.
    """
    steps, below = plan.steps // epochs, math.floor(plan.rate * 2**32)
    batches = [np.flatnonzero(bits.draw(1, examples)[0] < below) for _ in range(steps)]
    room = min(examples, math.ceil(plan.batch + _SPARE * math.sqrt(plan.batch)))
    while room < max(map(len, batches)):
        room *= 2
    order = np.full((steps, room), -1, dtype=np.int32)
    for row, batch in zip(order, batches, strict=True):
        row[: len(batch)] = batch
    return order


def widths(room: int, batch: float) -> tuple[int, ...]:
    """For how many rows a step of Poisson samples is compiled, ascending, up to ``room``.

    Most batches are much smaller than the largest: with these three a step computes on 7 % more
    rows than it has, for an expected batch of 256, and not on 37 %.
    """
    steps = (math.ceil((batch + k * math.sqrt(batch)) / 8) * 8 for k in (0.5, 1.5))
    return (*sorted({width for width in steps if width < room}), room)


def widened(order: Order, multiple: int) -> Order:
    """``order`` with padding, so that its columns can be cut into so many equal parts."""
    return np.pad(order, ((0, 0), (0, -order.shape[1] % multiple)), constant_values=-1)
