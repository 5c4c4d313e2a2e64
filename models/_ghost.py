"""Norms of per-example gradients from one backward pass, without the gradients themselves.

A layer ends in a ``tap``: it passes its output on, and on the way back measures what each example
adds to the squared norm of the layer's gradient. All taps of a network write into the cotangent of
one ``tracker``, so the gradient with respect to it is the squared norm over all parameters.

References:
    Goodfellow, Efficient Per-Example Gradient Computations, arXiv 1510.01799, 2015.
    Bu et al., Scalable and Efficient Training of Large CNNs with DP, NeurIPS 2022 (mixed ghost).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Measure = Callable[[Any, Array], Array]
"""(what the layer kept, the output's cotangent) to the squared norm by example, float32 [batch]."""

_tracker: ContextVar[Array | None] = ContextVar("tracker", default=None)


@contextmanager
def tracking(tracker: Array) -> Iterator[None]:
    """While a network is traced: let its layers measure into ``tracker``, float32 [batch]."""
    token = _tracker.set(tracker)
    try:
        yield
    finally:
        _tracker.reset(token)


def tracker() -> Array | None:
    """What layers measure into at this moment, for a layer that needs a way back of its own."""
    return _tracker.get()


def tap(measure: Measure, output: Array, *kept: Array) -> Array:
    """``output`` as it is; what ``measure`` says of it goes to the tracker, if there is one.

    Not for a layer that is called twice on one input, nor inside a loop over time: there the
    gradients must be added before they are squared.
    """
    into = _tracker.get()
    if into is None:
        return output
    tapped: Array = _tap(measure, output, kept, into)
    return tapped


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _tap(measure: Measure, output: Array, kept: Any, tracker: Array) -> Array:
    del measure, kept, tracker
    return output


def _forward(measure: Measure, output: Array, kept: Any, tracker: Array) -> tuple[Array, Any]:
    del measure, tracker
    return output, kept


def _backward(measure: Measure, kept: Any, slope: Array) -> tuple[Array, Any, Array]:
    wide = [array.astype(jnp.float32) for array in kept]
    return (
        slope,
        jax.tree.map(jnp.zeros_like, kept),
        measure(wide, slope.astype(jnp.float32)),
    )


_tap.defvjp(_forward, _backward)


def dense(kept: Any, slope: Array) -> Array:
    """Of a kernel [inputs, outputs]; kept is the layer's input [batch, ..., inputs].

    With steps in between the sum over pairs of steps, or the gradients themselves where they are
    smaller than the pairs.
    """
    (x,) = kept
    if x.ndim == 2:
        return _square(x) * _square(slope)
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    slope = slope.reshape(x.shape[0], -1, slope.shape[-1])
    if 2 * x.shape[1] ** 2 <= x.shape[2] * slope.shape[2]:
        pairs = jnp.einsum("bsi,bti->bst", x, x) * jnp.einsum("bso,bto->bst", slope, slope)
        return jnp.maximum(pairs.sum(axis=(1, 2)), 0)  # rounding may pass below 0
    return _square(jnp.einsum("bti,bto->bio", x, slope))


def bias(kept: Any, slope: Array) -> Array:
    """Of a bias over the last axis; nothing is kept."""
    del kept
    return _square(_steps(slope))


def scale(kept: Any, slope: Array) -> Array:
    """Of a factor over the last axis; kept is what it multiplies."""
    (x,) = kept
    return _square(_steps(x * slope))


def depthwise(kept: Any, slope: Array) -> Array:
    """Of one filter a channel; kept are the patches [batch, height, width, taps, channels]."""
    (patches,) = kept
    return _square(jnp.einsum("bhwkc,bhwc->bkc", patches, slope))


def position(kept: Any, slope: Array) -> Array:
    """Of a parameter that is added as it is to every example; nothing is kept."""
    del kept
    return _square(slope)


def position_scale(kept: Any, slope: Array) -> Array:
    """Of a factor for each place and channel; kept is what it multiplies, [batch, places, 1]."""
    (x,) = kept
    return _square(x * slope)


def _steps(x: Array) -> Array:
    """Sum over all axes but the first and the last, [batch, channels]."""
    return x.reshape(x.shape[0], -1, x.shape[-1]).sum(axis=1)


def _square(x: Array) -> Array:
    return jnp.square(x).sum(axis=tuple(range(1, x.ndim)))
