"""DP-SGD's gradient: each example's part clipped, the sum noised."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from models import _ghost

Leaves = list[Array]


class Guard(NamedTuple):
    """How a step's gradient is protected.

    Attributes:
        clip: Largest norm of one example's gradient.
        noise: Deviation of the noise on the sum, in units of ``clip``.
        batch: Expected examples a step, which the sum is divided by: the real number is private.
    """

    clip: float
    noise: float
    batch: float


def clipped_sum(
    losses: Callable[[Leaves], tuple[Array, Array]], leaves: Leaves, real: Array, *, clip: float
) -> tuple[Leaves, Array]:
    """Sum over real examples of their gradients, each scaled to a norm of at most ``clip``.

    One pass forward; one back for the norms, by ``_ghost``, and one for the sum.

    Args:
        losses: From the leaves to each example's loss [batch], and something to hand through.
            An example's loss may depend on no other example.
        real: bool [batch]; padding counts nothing.

    References:
        Abadi et al., Deep Learning with Differential Privacy, CCS 2016, algorithm 1.
        Li et al., Large Language Models Can Be Strong DP Learners, ICLR 2022 (ghost clipping).
    """

    def traced(leaves: Leaves, tracker: Array) -> tuple[Array, Array]:
        with _ghost.tracking(tracker):
            return losses(leaves)

    tracker = jnp.zeros(real.shape)
    loss, back, kept = jax.vjp(traced, leaves, tracker, has_aux=True)
    _, squares = back(jnp.ones_like(loss))
    factor = jnp.minimum(1.0, clip / jnp.sqrt(jnp.maximum(squares, 1e-30)))
    summed, _ = back(jnp.where(real, factor, 0.0))
    return summed, kept


def noised(summed: Leaves, moves: Sequence[bool], key: Array, guard: Guard) -> Leaves:
    """The noisy mean: (sum + Normal(0, (noise x clip)^2)) / expected batch; 0 where none moves."""
    deviation = guard.noise * guard.clip
    keys = jax.random.split(key, len(summed))
    return [
        (leaf + deviation * jax.random.normal(each, leaf.shape)) / guard.batch
        if move
        else jnp.zeros_like(leaf)
        for leaf, move, each in zip(summed, moves, keys, strict=True)
    ]
