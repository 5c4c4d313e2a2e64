"""The gradient of one step: over a batch whole or in pieces, plain or with record-level privacy."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models._augmentation import varied
from models._batches import widths
from models._convolution import nested
from models._ghost import clipped_sum
from models._network import Inputs, Leaves
from models._noise import Draws, Guard, noised
from models._objective import Objective

NO_NOISE = (np.zeros((0, 0), np.float32),) * 2


class Course(NamedTuple):
    """What stays the same through the steps of a stretch.

    Attributes:
        anchor: The leaves at the round's start, for FedProx; empty without it.
        rate: Factor on the learning rate in this round.
        before: Steps of the round that came before this epoch.
        steps: Steps of the whole round.
        variation: uint32 [2], decides how images vary, if they do.
        draws: Twice float32 [steps, half], standard normal, together at least the parameters:
            DP-SGD's noise from the stretch's first step on; empty without it.
    """

    anchor: Leaves
    rate: np.float32
    before: np.int32
    steps: np.int32
    variation: Any = np.zeros(2, np.uint32)
    draws: Any = NO_NOISE


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How a step comes to its gradient.

    Attributes:
        pieces: Into how many parts a batch is cut at least, one after the other.
        guard: Clips and noises gradients, if given.
    """

    aim: Objective
    pieces: int
    guard: Guard | None

    def gradient(
        self,
        leaves: Leaves,
        x: Inputs,
        y: Array,
        rows: Array,
        at: Array,
        course: Course,
        *,
        fitted: bool = False,
    ) -> tuple[Leaves, Array, Leaves]:
        """Of the examples ``rows`` int32 [batch], -1 on padding: the gradient of their mean loss,
        or the sum of clipped gradients; the plain sum of losses; the leaves with new statistics.

        Args:
            at: The step, counted from the epoch's start.
            fitted: There are as many ``rows`` as one of ``widths`` says, so none is chosen here.
        """
        examples, cut = (rows >= 0).sum(), self._cut(len(rows))

        def part(leaves: Leaves, rows: Array) -> tuple[Leaves, Array, Leaves]:
            batch, labels = self._gather(x, y, rows, at, course)
            return self._slope(leaves, batch, labels, rows >= 0, examples, course, cut)

        if cut > 1:
            return self._added(part, leaves, rows, cut)
        sizes = self.widths(len(rows))
        if fitted or len(sizes) == 1:
            return part(leaves, rows)
        # What nearly every step has is computed by the same code in the same memory, which stays in
        # a processor's cache; only what comes on top of it is one of several.
        always = sizes[0]
        gradient, total, _ = part(leaves, rows[:always])

        def more(size: int, leaves: Leaves) -> tuple[Leaves, Array]:
            if size == always:
                return [jnp.zeros_like(leaf) for leaf in leaves], jnp.zeros(())
            return part(leaves, rows[always:size])[:2]

        fitting = sum((examples > size).astype(jnp.int32) for size in sizes[:-1])
        with nested():
            added, rest = jax.lax.switch(fitting, [partial(more, size) for size in sizes], leaves)
        summed = [a + b for a, b in zip(gradient, added, strict=True)]
        return summed, total + rest, leaves  # which have no statistics under a guard

    def widths(self, room: int) -> tuple[int, ...]:
        """For how many rows a step is compiled, ascending, up to ``room``."""
        if self.guard is None or self.pieces > 1 or jax.local_device_count() > 1:
            return (room,)  # devices share the columns evenly
        return widths(room, self.guard.batch)

    def protected(self, summed: Leaves, leaves: Leaves, draws: Draws, course: Course) -> Leaves:
        """The noisy mean of clipped gradients, and the slope of the penalty, which no row moves."""
        assert self.guard is not None
        noisy = noised(summed, self.aim.net.moves, draws, self.guard)
        if not self.aim.penalises:
            return noisy
        pull = jax.grad(self.aim.penalty)(leaves, course.anchor)
        return [a + b for a, b in zip(noisy, pull, strict=True)]

    def _cut(self, rows: int) -> int:
        """Into how many parts so many rows are cut: what memory asks for, or a CPU's cache."""
        fitting = self.aim.net.at_once
        alone = jax.default_backend() == "cpu" and jax.local_device_count() == 1
        if fitting is None or self.guard is not None or not alone:
            return self.pieces
        counts = range(self.pieces, rows // fitting + 1, self.pieces)
        return max((count for count in counts if rows % count == 0), default=self.pieces)

    def _added(
        self, part: Any, leaves: Leaves, rows: Array, pieces: int
    ) -> tuple[Leaves, Array, Leaves]:
        """What the pieces of a batch give together; of their statistics the mean over examples."""
        moved, examples = self.aim.net.statistics, (rows >= 0).sum()

        def piece(carry: Any, rows: Array) -> tuple[Any, None]:
            gradient, total, statistics = carry
            more, add, after = part(leaves, rows)
            weight = (rows >= 0).sum() / jnp.maximum(examples, 1)
            summed = [a + b for a, b in zip(gradient, more, strict=True)]
            means = [a + weight * after[at] for a, at in zip(statistics, moved, strict=True)]
            return (summed, total + add, means), None

        nothing = [jnp.zeros_like(leaf) for leaf in leaves]
        # Every piece-th row, so that padding at the end is spread over the pieces.
        parts = rows.reshape(-1, pieces).T
        with nested():
            (gradient, total, statistics), _ = jax.lax.scan(
                piece, (nothing, jnp.zeros(()), [nothing[at] for at in moved]), parts
            )
        settled = list(leaves)
        for at, value in zip(moved, statistics, strict=True):
            settled[at] = value
        return gradient, total, settled

    def _gather(
        self, x: Inputs, y: Array, rows: Array, at: Array, course: Course
    ) -> tuple[Inputs, Array]:
        batch = jax.tree.map(lambda part: jnp.take(part, rows, 0, mode="clip"), x)
        how = self.aim.training.augmentation
        if how:
            key = jax.random.fold_in(jax.random.wrap_key_data(course.variation), course.before + at)
            images, table = batch
            batch = varied(images, rows, key, how), table
        return batch, jnp.take(y, rows, mode="clip")

    def _slope(
        self,
        leaves: Leaves,
        x: Inputs,
        y: Array,
        real: Array,
        examples: Array,
        course: Course,
        pieces: int,
    ) -> tuple[Leaves, Array, Leaves]:
        if self.guard is None:
            ascent = jax.grad(self.aim.share, has_aux=True)
            gradient, (total, moved) = ascent(leaves, x, y, real, examples, course.anchor, pieces)
            settled = list(leaves)
            for place, value in zip(self.aim.net.statistics, moved, strict=True):
                settled[place] = value
            return gradient, total, settled

        def losses(aim: Objective, leaves: Leaves) -> tuple[Array, Array]:
            chosen, loss, _ = aim.judged(leaves, x, y, real)
            return loss, chosen

        gradient, chosen = clipped_sum(
            partial(losses, self.aim),
            leaves,
            real,
            clip=self.guard.clip,
            wide=partial(losses, self.aim.wide),
        )
        return gradient, -jnp.where(real, chosen, 0.0).sum(), leaves
