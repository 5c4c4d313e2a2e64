"""A gated recurrent unit whose way back through time ends in one matrix product."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from models import _ghost, _initial
from models._layers import Linear


class Recurrence(nnx.Module):
    """The part of a GRU that depends on its own past.

    References:
        Cho et al., Learning Phrase Representations, EMNLP 2014; in cuDNN's and PyTorch's form,
        where the reset gate acts after the matrix product.
    """

    MEASURED = True

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        bound = width**-0.5
        self.kernel = nnx.Param(_initial.uniform(rngs.params(), (width, 3 * width), bound=bound))
        self.bias = nnx.Param(_initial.uniform(rngs.params(), (3 * width,), bound=bound))

    def __call__(self, given: Array) -> Array:
        """Inputs' share of the gates (reset, update, new) [time, batch, 3 width] to the states
        [time, batch, width]; the state before the first is 0.
        """
        kernel, bias = self.kernel[...], self.bias[...]

        def through(slot: Array | None) -> tuple[Array, Array]:
            slot = None if slot is None else slot.swapaxes(0, 1)
            states = _unroll(given, kernel, bias, slot)
            return states, jnp.pad(states[:-1], ((1, 0), (0, 0), (0, 0))).swapaxes(0, 1)

        return _ghost.looped(
            self,
            through,
            lambda before: before @ kernel + bias,
            _ghost.both(_ghost.dense, _ghost.bias),
        )


class Gru(nnx.Module):
    """Layers of GRU over the measured values and the flags of what was measured, then a dense one.

    A value that was not measured is 0, the agreed mean; its flag says so.
    """

    def __init__(
        self, *, features: int, outputs: int, width: int, layers: int, rngs: nnx.Rngs
    ) -> None:
        sizes = [2 * features] + [width] * (layers - 1)
        self.given = nnx.List([Linear(size, 3 * width, rngs=rngs) for size in sizes])
        self.recurrent = nnx.List([Recurrence(width, rngs=rngs) for _ in sizes])
        self.head = Linear(width, outputs, rngs=rngs)

    def __call__(self, x: Array, measured: Array) -> Array:
        """float32 and bool [batch, time, features] to logits [batch, outputs]."""
        x = jnp.concatenate([x, measured.astype(x.dtype)], axis=-1)
        x = x.swapaxes(0, 1)  # the time first while it is small: the gates are ten times as wide
        for given, recurrent in zip(self.given, self.recurrent, strict=True):
            x = recurrent(given(x, by_time=True))
        return self.head(x[-1])


@jax.custom_vjp
def _unroll(given: Array, kernel: Array, bias: Array, slot: Array | None) -> Array:
    """The states [time, batch, width] of gates' inputs [time, batch, 3 width].

    A slot shaped like ``given`` receives the slopes of what the states recall.
    """
    return _onward(given, kernel, bias, slot)[0]


def _onward(given: Array, kernel: Array, bias: Array, slot: Array | None) -> tuple[Array, Any]:
    def step(state: Array, given: Array) -> tuple[Array, tuple[Array, ...]]:
        recalled = state @ kernel + bias
        (a, b, c), (p, q, own) = jnp.split(given, 3, axis=-1), jnp.split(recalled, 3, axis=-1)
        reset, update = jax.nn.sigmoid(a + p), jax.nn.sigmoid(b + q)
        new = jnp.tanh(c + reset * own)
        after = new + update * (state - new)
        return after, (after, reset, update, new, own)

    start = jnp.zeros((given.shape[1], kernel.shape[0]), given.dtype)
    _, (states, *gates) = jax.lax.scan(step, start, given)
    before = jnp.concatenate([start[None], states[:-1]])
    return states, (before, gates, kernel, bias, slot)


def _back(kept: Any, slope: Array) -> tuple[Array, Array, Array, Array | None]:
    before, (reset, update, new, own), kernel, bias, slot = kept
    # What a state's slope is multiplied by, for all times at once: the loop only multiplies.
    to_new = (1 - update) * (1 - new * new)
    to_update = (before - new) * update * (1 - update)
    to_reset = to_new * own * reset * (1 - reset)

    def step(later: Array, now: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        slope, update, *to = now
        slope = slope + later
        by_new, recalled = slope * to[0], jnp.concatenate([slope * each for each in to[1:]], -1)
        return slope * update + recalled @ kernel.T, (by_new, recalled)

    factors = update, to_new, to_reset, to_update, to_new * reset
    _, (by_new, recalled) = jax.lax.scan(
        step, jnp.zeros_like(before[0]), (slope, *factors), reverse=True
    )
    given = jnp.concatenate([recalled[..., : 2 * kernel.shape[0]], by_new], axis=-1)
    # One product over all times at once; adding one up in every step takes a third longer.
    by_kernel = _rows(before).T @ _rows(recalled)
    by_slot = None if slot is None else recalled
    return given, by_kernel, recalled.sum(axis=(0, 1)).astype(bias.dtype), by_slot


def _rows(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])


_unroll.defvjp(_onward, _back)
