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
from models._ahead import Ahead
from models._batches import Order, shuffled, widened
from models._bookmark import Bookmark, Place
from models._descent import NO_NOISE, Course
from models._privacy import Plan
from models._program import Program, State

Vector = NDArray[np.float32]
Progress = Callable[[int, int, float], None]

_PACE = 0.5  # seconds between reports; a person sees movement, and the device hardly waits
_TOLD = 0.8  # of them, after which a report is due: a stretch seldom takes quite as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A site's part of a round.

    Attributes:
        vector: float32 [parameters], finite.
        loss: Mean over all examples seen while training, in nats, without weights and penalty.
            Under record-level privacy it is not part of what is protected.
        examples: Rows in the training split, or as much less as fewer steps were asked for: the
            weight in the mean over sites.
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
        secret: Of the site alone; with round and stream it decides samples, noise and how images
            vary under a plan.
        everywhere: How arrays lie that every device holds; None on one device.
        by_rows: How arrays lie whose columns the devices share.
        width: Devices.
        pieces: Into how many parts a batch is cut.
        ahead: Draws batches and noise; None without a plan.
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
    pace: int = 1
    ahead: Ahead | None = None


@dataclass(slots=True)
class _Best:
    """The epoch to end with, where early stopping chooses; its parameters and its loss in nats."""

    epoch: int = 0
    loss: float = math.inf
    vector: Vector | None = None
    local: Vector | None = None


class Round:
    """The work of one round.

    Args:
        seed: The study's; with round and stream it decides the order of examples.
        secret: Of the site alone; under a plan it takes part in that, and decides the noise and how
            images vary.
        judge: From parameters and the site's own part to their mean loss on the validation split,
            in nats; None where nobody asks, or there is no such split.
        bookmark: Where to go on from, and to note where the round stands; None for neither.
        share: How much of the steps to do, more than 0 and at most 1.
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
        bookmark: Bookmark | None = None,
        share: float = 1.0,
    ) -> None:
        self._bench, self._x, self._round = bench, x, round
        plan = bench.plan
        planned = bench.training.steps(bench.examples) if plan is None else plan.steps
        self._planned, self._limit = planned, max(1, math.ceil(planned * share - 1e-9))
        self._fewer = share < 1 or bench.training.share < 1
        self._tell, self._judge, self._bookmark = tell, judge, bookmark
        self._random = np.random.Generator(np.random.PCG64([seed, round, stream]))
        self._ahead = bench.ahead
        if self._ahead is not None:
            self._ahead.begin(secret, seed, round, stream)
        self._losses: list[float] = []  # a step's sum over its examples, in nats
        self._sizes: list[int] = []
        self._best = _Best()
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
            steps=np.int32(self._planned),
        )
        if training.augmentation:
            variation = (
                self._random.integers(0, 2**32, 2, dtype=np.uint32)
                if self._ahead is None
                else self._ahead.variation()
            )
            course = course._replace(variation=variation)
        state, start, first = self._resumed(state)
        for number in range(start, training.epochs + 1):
            state = self._epoch(number, state, course, first)
            first = 0
            if self._judge is None:
                self._best.epoch = number
            elif not self._better(state, number):
                break
            if self._fewer and len(self._losses) >= self._limit:
                break
        if self._told < len(self._losses):
            self._report(len(self._losses))
        best = self._best
        if best.vector is None or best.local is None:
            best.vector, best.local = functions.vector(state), functions.own(state)
        return Trained(
            vector=finite(best.vector, "training diverged"),
            loss=math.fsum(self._losses) / max(sum(self._sizes[: len(self._losses)]), 1),
            examples=max(1, round(bench.examples * self._limit / self._planned)),
            steps=len(self._losses),
            seconds=time.monotonic() - began,
            local=finite(best.local, "training diverged"),
            epoch=best.epoch,
            pieces=bench.pieces,
        )

    def _better(self, state: State, number: int) -> bool:
        """Whether to go on after this epoch; keeps its parameters if they are the best so far."""
        assert self._judge is not None
        found = self._bench.program.vector(state), self._bench.program.own(state)
        loss = self._judge(*found)
        if loss < self._best.loss or self._best.vector is None:
            self._best = _Best(number, loss, *found)
        return number - self._best.epoch < self._bench.training.patience

    def _epoch(self, number: int, state: State, course: Course, first: int) -> State:
        """One pass over the examples from step ``first``, a stretch of some half second at a time.

        Under a plan what chance decides of the next stretch is drawn while the device works on this
        one.
        """
        bench, steps = self._bench, self._limit
        course = course._replace(before=np.int32(len(self._losses) - first))
        begun = self._random.bit_generator.state, len(self._sizes)
        order = self._order(number)
        self._sizes += (order >= 0).sum(axis=1).tolist()
        resident = jax.device_put(widened(order, bench.width * bench.pieces), bench.by_rows)
        last = len(order)
        if self._fewer:
            last = min(last, first + self._limit - len(self._losses))
        while first < last:
            started = time.monotonic()
            count, draws = self._stretch(last - first)
            end = first + count
            state, sums = bench.program.advance(
                state,
                self._x,
                bench.labels,
                resident,
                np.int32(first),
                np.int32(end),
                course._replace(draws=draws),
            )
            self._draw_ahead(number, len(self._losses) + count, last - end or len(order))
            self._losses += np.asarray(sums)[first:end].tolist()
            now = time.monotonic()
            bench.pace = _paced(bench.pace, count / (now - started))
            first = end
            if now - self._told_at >= _TOLD * _PACE or len(self._losses) == steps:
                self._report(steps)
            if self._bookmark is not None and self._bookmark.due:
                self._bookmark.write(self._place(number, first, state, *begun))
        return state

    def _order(self, number: int) -> Order:
        if self._ahead is not None:
            return self._ahead.batches(number)
        return shuffled(self._random, self._bench.examples, self._bench.training.batch)

    def _stretch(self, left: int) -> tuple[int, Any]:
        """How many of the ``left`` steps to do now, at least one, and their noise under a plan."""
        count, step = min(self._bench.pace, left), len(self._losses)
        if self._ahead is None:
            return count, NO_NOISE
        return self._ahead.noise(step, count, left)

    def _draw_ahead(self, number: int, step: int, left: int) -> None:
        """Begin with the noise from ``step`` on, unless the round ends there, and the batches of
        the epoch after ``number``.
        """
        if self._ahead is not None and step < self._limit:
            self._ahead.draw_noise(step, min(self._bench.pace, left))
            self._ahead.draw_batches(number + 1)

    def _place(
        self, number: int, first: int, state: State, chance: Any, epochs_before: int
    ) -> Place:
        """Before step ``first`` of epoch ``number``, which began with ``chance``."""
        best = self._best
        arrays = {f"{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        if best.vector is not None and best.local is not None:
            arrays |= {"best vector": best.vector, "best local": best.local}
        return Place(
            arrays,
            {
                "epoch": number,
                "first": first,
                "losses": self._losses,
                "sizes": self._sizes[:epochs_before],
                "chance": chance,
                "best": [best.epoch, best.loss],
            },
        )

    def _resumed(self, state: State) -> tuple[State, int, int]:
        """The state, epoch and step to go on from: the bookmark's, or the beginning."""
        found = None if self._bookmark is None else self._bookmark.read()
        if found is None:
            return state, 1, 0
        arrays, facts = found
        leaves, tree = jax.tree.flatten(state)
        kept = [np.asarray(arrays[f"{i}"]) for i in range(len(leaves))]
        self._losses, self._sizes = facts["losses"], facts["sizes"]
        self._told = len(self._losses)
        self._random.bit_generator.state = facts["chance"]
        epoch, loss = facts["best"]
        best = arrays.get("best vector"), arrays.get("best local")
        self._best = _Best(epoch, loss, *best)
        state = jax.tree.unflatten(tree, jax.device_put(kept, self._bench.everywhere))
        return state, facts["epoch"], facts["first"]

    def _report(self, steps: int) -> None:
        done = len(self._losses)
        if self._tell is not None:
            # Of one private batch a loss would tell without noise; it may be of a single row.
            loss = math.fsum(self._losses[self._told :]) / max(
                sum(self._sizes[self._told : done]), 1
            )
            self._tell(done, steps, loss if self._bench.plan is None else math.nan)
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


def _paced(pace: int, speed: float) -> int:
    """How many steps fill the time between reports, at ``speed`` steps a second.

    At most twice ``pace``, the number so far: one short measurement is no speed.
    """
    return max(1, min(2 * pace, int(speed * _PACE)))
