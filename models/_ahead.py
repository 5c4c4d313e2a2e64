"""What chance decides under record-level privacy, drawn while the device works."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from models._batches import Order, sampled
from models._noise import BLOCK, Bits, Draws, by_row, columns, room_for
from models._privacy import Plan

_MOST_STEPS = 256  # of noise drawn at once: a call costs .6 ms, two steps of a small network
_MOST_DRAWS = 2**25  # drawn at once, 134 MB; three steps of ResNet-18
_FIRST, _GROWTH = 16, 4  # steps of a round's first draw, which the device waits for; times as many

Words = tuple[int, ...]


class Ahead:
    """The next epoch's batches and the next stretch's noise, made by a thread of its own.

    On a processor XLA computes what one thread gives it one after the other; what two give it goes
    side by side, and a small network leaves a core idle. Memory is taken once for all rounds: fresh
    pages from the kernel for each draw cost some percent of a small network's step.

    Args:
        examples: Of which each step takes its sample.
        epochs: In a round.
        parameters: How many numbers of noise a step has.
        sharding: How arrays lie on several devices; None for one.
    """

    def __init__(
        self, plan: Plan, *, examples: int, epochs: int, parameters: int, sharding: Any
    ) -> None:
        self._plan, self._examples, self._epochs = plan, examples, epochs
        width = columns(parameters)
        # One compiled shape, of which fewer steps fill a part.
        self._room = max(1, min(_MOST_STEPS, _MOST_DRAWS // width))
        self._bits, self._sharding = room_for(self._room, width), sharding
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._spare: list[Draws] = []
        self._given: Draws | None = None
        self.begin()

    def begin(self, *words: int) -> None:
        """A round, all of which follows from ``words``; among them is the site's secret."""
        self._words: Words = words
        self._batches: tuple[int, Future[Order]] | None = None
        self._noise: tuple[int, int, Future[Draws]] | None = None
        self._most = _FIRST // _GROWTH

    def variation(self) -> NDArray[np.uint32]:
        """What decides how the round's images vary, uint32 [2].

        A row that is left out gives those after it other numbers, and so other variations. Whoever
        could draw them, too, would see that as more than one record's difference.
        """
        words: NDArray[np.uint32] = Bits("variation", *self._words).draw(1, 2)[0]
        return words

    def draw_batches(self, epoch: int) -> None:
        """Begin with those of ``epoch``, unless they are begun or the round has no such epoch."""
        if epoch <= self._epochs and (self._batches is None or self._batches[0] != epoch):
            self._batches = epoch, self._thread.submit(self._sampled, self._words, epoch)

    def batches(self, epoch: int) -> Order:
        """Row numbers, then -1: int32 [steps, rows]; the same however often ``epoch`` is asked."""
        self.draw_batches(epoch)
        assert self._batches is not None
        return self._batches[1].result()

    def draw_noise(self, step: int, count: int) -> None:
        """Begin with that from ``step`` on: for ``count`` steps, or as many as there is room for,
        but at most some times as many as before, so that a round begins soon.
        """
        count = self._most = min(count, self._most * _GROWTH, self._room)
        self._noise = step, count, self._thread.submit(self._drawn, self._words, step, count)

    def noise(self, step: int, count: int, most: int) -> tuple[int, Draws]:
        """For how many steps from ``step`` on there is noise, and two float32 [room, columns / 2].

        As many as were begun with and at most ``most``; ``count`` where none were. What was given
        before must have been used: its memory serves the next draw.
        """
        if self._noise is None or self._noise[0] != step:
            self.draw_noise(step, count)
        assert self._noise is not None
        _, ready, drawn = self._noise
        self._noise = None
        if self._given is not None:
            self._spare.append(self._given)
            self._given = None  # also where the draw fails, and the round is begun anew
        self._given = drawn.result()
        return min(ready, most), self._given

    def _sampled(self, words: Words, epoch: int) -> Order:
        return sampled(Bits("samples", *words, epoch), self._examples, self._plan, self._epochs)

    def _drawn(self, words: Words, step: int, count: int) -> Draws:
        bits = Bits("noise", *words)
        bits.place = step * self._bits.shape[1] * 4 // BLOCK
        bits.fill(self._bits[:count])
        spare = self._spare.pop() if self._spare else self._fresh()
        draws: Draws = by_row(spare, jax.device_put(self._bits, self._sharding), np.int32(count))
        for half in draws:
            half.block_until_ready()  # before the bits' memory serves the next draw
        return draws

    def _fresh(self) -> Draws:
        half = self._room, self._bits.shape[1] // 2
        made = jax.jit(lambda: (jnp.zeros(half), jnp.zeros(half)), out_shardings=self._sharding)
        fresh: Draws = made()
        return fresh
