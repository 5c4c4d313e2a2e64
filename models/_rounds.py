"""One site's steps of one round, epoch by epoch, on data that stays on the device."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from models import ModelError, Training
from models._privacy import Plan
from models._program import Course, Program, State

Vector = NDArray[np.float32]
Progress = Callable[[int, int, float], None]

_PACE = 0.5  # seconds between reports; a person sees movement, and the device hardly waits
_SPARE = 6  # deviations of a Poisson batch's size that its rows have room for


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A site's part of a round.

    Attributes:
        vector: float32 [parameters], finite.
        loss: Mean over all examples seen while training, in nats, without weights and penalty.
            Under record-level privacy it is not part of what is protected.
        examples: Rows in the training split: the weight in the mean over sites.
        seconds: Wall time, compilation included.
        steps: How many were made; with early stopping perhaps fewer than planned.
        local: float32 [local], what the site keeps for itself and gives to the next round.
        epoch: The epoch, from 1, whose parameters these are: the last, or with early stopping the
            best on the validation split.
        pieces: Into how many parts each batch was cut for want of memory; 1 for none.
    """

    vector: Vector
    loss: float
    examples: int
    seconds: float
    steps: int
    local: Vector
    epoch: int
    pieces: int


@dataclass(slots=True, kw_only=True)
class Bench:
    """What a site keeps between rounds.

    Attributes:
        labels: int32 [examples] of the training split, on the device.
        plan: Of record-level privacy; None without.
        secret: Of the site alone; with round and stream it decides samples and noise under a plan.
        everywhere: How arrays lie that every device holds; None on one device.
        by_rows: How arrays lie whose columns the devices share.
        width: Devices.
        pieces: Into how many parts a batch is cut.
        pace: Steps a stretch; follows the device's speed.
    """

    program: Program
    training: Training
    examples: int
    labels: Any
    plan: Plan | None
    secret: int
    everywhere: Any
    by_rows: Any
    width: int
    pieces: int = 1
    pace: int = 16


class Round:
    """The work of one round.

    Args:
        seed: The study's; with round and stream it decides the order of examples.
        secret: Of the site alone; under a plan it takes part in that, and decides the noise.
        judge: From parameters and the site's own part to their mean loss on the validation split,
            in nats; None where nobody asks, or there is no such split.
    """

    def __init__(
        self,
        bench: Bench,
        x: Any,
        *,
        seed: int,
        round: int,
        stream: int,
        secret: int,
        tell: Progress | None,
        judge: Callable[[Vector, Vector], float] | None,
    ) -> None:
        self._bench, self._x, self._round = bench, x, round
        self._tell, self._judge = tell, judge
        words = [seed, round, stream] if bench.plan is None else [secret, seed, round, stream]
        self._random = np.random.Generator(np.random.PCG64(words))
        self._losses: list[float] = []  # a step's sum over its examples, in nats
        self._sizes: list[int] = []
        self._told, self._told_at = 0, time.monotonic()  # what ``tell`` has heard of

    def run(self, vector: Vector, local: Vector, began: float) -> Trained:
        """The epochs, up to the last or to where the validation split's loss stops to fall.

        Args:
            began: When the work began, by the monotonic clock, in seconds.

        Raises:
            ModelError: training diverged.
        """
        bench, training = self._bench, self._bench.training
        functions = bench.program
        vector, local = jax.device_put((vector, local), bench.everywhere)
        state = functions.begin(vector, local)
        course = Course(
            anchor=functions.begin(vector, local).leaves if training.proximal else [],
            rate=np.float32(training.decay ** (self._round - 1)),
            before=np.int32(0),
            steps=np.int32(training.epochs * -(-bench.examples // training.batch)),
            key=np.zeros(2, np.uint32)
            if bench.plan is None
            else self._random.integers(0, 2**32, 2, dtype=np.uint32),
            variation=self._random.integers(0, 2**32, 2, dtype=np.uint32)
            if training.augmentation
            else np.zeros(2, np.uint32),
        )
        best, kept, epoch = math.inf, None, 0
        for number in range(1, training.epochs + 1):
            state = self._epoch(state, course._replace(before=np.int32(len(self._losses))))
            if self._judge is None:
                epoch = number
                continue
            found = functions.vector(state), functions.own(state)
            loss = self._judge(*found)
            if loss < best or kept is None:
                best, kept, epoch = loss, found, number
            elif number - epoch >= training.patience:
                break
        if self._told < len(self._losses):
            self._report(len(self._losses))
        vector, local = kept or (functions.vector(state), functions.own(state))
        return Trained(
            vector=finite(vector, "training diverged"),
            loss=math.fsum(self._losses) / max(sum(self._sizes), 1),
            examples=bench.examples,
            steps=len(self._losses),
            seconds=time.monotonic() - began,
            local=finite(local, "training diverged"),
            epoch=epoch,
            pieces=bench.pieces,
        )

    def _epoch(self, state: State, course: Course) -> State:
        """One pass over the examples, a stretch of some half second at a time."""
        bench = self._bench
        if bench.plan is None:
            order = _batches(self._random.permutation(bench.examples), bench.training.batch)
        else:
            order = sampled(self._random, bench.examples, bench.plan, bench.training.epochs)
        self._sizes += (order >= 0).sum(axis=1).tolist()
        resident = jax.device_put(
            _widened(order, math.lcm(bench.width, bench.pieces)), bench.by_rows
        )
        first = 0
        while first < len(order):
            end, started = min(first + bench.pace, len(order)), time.monotonic()
            state, sums = bench.program.advance(
                state, self._x, bench.labels, resident, np.int32(first), np.int32(end), course
            )
            self._losses += np.asarray(sums)[first:end].tolist()
            now = time.monotonic()
            bench.pace = _paced(bench.pace, (end - first) / (now - started))
            first = end
            steps = int(course.steps)
            if now - self._told_at >= _PACE or len(self._losses) == steps:
                self._report(steps)
        return state

    def _report(self, steps: int) -> None:
        done = len(self._losses)
        if self._tell is not None:
            seen = max(sum(self._sizes[self._told : done]), 1)  # a Poisson batch may be empty
            self._tell(done, steps, math.fsum(self._losses[self._told :]) / seen)
        self._told, self._told_at = done, time.monotonic()


def finite(vector: Vector, what: str) -> Vector:
    """``vector`` as it is.

    Raises:
        ModelError: not every number is finite; ``what`` opens the sentence.
    """
    if not np.isfinite(vector).all():
        raise ModelError(
            f"{what}: not every parameter is a finite number.",
            remedy="Lower the study's learning rate, or set a clip.",
        )
    return vector


def sampled(
    random: np.random.Generator, examples: int, plan: Plan, epochs: int
) -> NDArray[np.int32]:
    """An epoch of Poisson samples: each example is in each step's batch by its own chance.

    Returns:
        int32 [steps, rows], row numbers, then -1. There is room for the largest batch whatever
        its size; room is given in steps, so that few shapes need compiling.
    """
    steps = plan.steps // epochs
    batches = [np.flatnonzero(random.random(examples) < plan.rate) for _ in range(steps)]
    room = min(examples, math.ceil(plan.batch + _SPARE * math.sqrt(plan.batch)))
    while room < max(map(len, batches)):
        room *= 2
    order = np.full((steps, room), -1, dtype=np.int32)
    for row, batch in zip(order, batches, strict=True):
        row[: len(batch)] = batch
    return order


def _batches(rows: NDArray[np.int64], batch: int) -> NDArray[np.int32]:
    """Row numbers as int32 [steps, batch]; the last step is filled up with -1."""
    order = np.full((-(-len(rows) // batch), batch), -1, dtype=np.int32)
    order.ravel()[: len(rows)] = rows
    return order


def _widened(order: NDArray[np.int32], multiple: int) -> NDArray[np.int32]:
    """``order`` with padding, so that its columns can be cut into so many equal parts."""
    return np.pad(order, ((0, 0), (0, -order.shape[1] % multiple)), constant_values=-1)


def _paced(pace: int, speed: float) -> int:
    """How many steps fill the time between reports, at ``speed`` steps a second.

    At most twice ``pace``, the number so far: one short measurement is no speed.
    """
    return max(1, min(2 * pace, int(speed * _PACE)))
