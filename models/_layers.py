"""Layers that several models share; each knows its per-example gradients, as DP-SGD needs them.

A layer computes in the dtype of its kernel, so that one cast of the parameters decides a network's.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from models import _ghost, _initial


class Frozen(nnx.Variable[Array]):
    """Part of the shared vector that training leaves as it is."""


class Local(nnx.Variable[Array]):
    """Trained at a site and never sent: what the site adds to a shared start, so it begins at 0."""


class Statistic(Local):
    """A local value that follows what passes through the network, not a gradient."""


def _zeros(key: Array, shape: tuple[int, ...], dtype: Any = None) -> Array:
    del key, dtype  # of an initialiser's signature
    return _initial.filled(shape)


class Linear(nnx.Linear):
    """A dense layer over the last axis, as nnx has it."""

    MEASURED = True

    def __init__(
        self, inputs: int, outputs: int, *, kernel_init: Any = _initial.by_inputs, rngs: nnx.Rngs
    ) -> None:
        super().__init__(inputs, outputs, kernel_init=kernel_init, bias_init=_zeros, rngs=rngs)

    def __call__(self, inputs: Array, out_sharding: Any = None, *, by_time: bool = False) -> Array:
        """[batch, ..., inputs] to [batch, ..., outputs]; ``by_time`` with the time first."""
        measure = _ghost.both(_ghost.dense, _ghost.bias) if self.use_bias else _ghost.dense
        whole = partial(super().__call__, out_sharding=out_sharding)

        def apply(x: Array) -> Array:
            if jax.local_device_count() > 1:  # which share an axis; one axis of two would move it
                return whole(x)
            # As a matrix: on a CPU the kernel's slope of three axes goes through a transpose of
            # the output's, which takes two to five times as long as the product.
            return whole(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], self.out_features)

        return _ghost.layer(self, apply, measure, inputs.astype(self.kernel.dtype), by_time=by_time)


class Affine(nnx.Module):
    """A factor and an offset for each channel, from 1 and 0."""

    MEASURED = True

    def __init__(self, channels: int, *, scale: float = 1.0) -> None:
        self.scale = nnx.Param(_initial.filled((channels,), scale))
        self.bias = nnx.Param(_initial.filled((channels,)))

    def __call__(self, x: Array) -> Array:
        """[batch, ..., channels] to the same."""
        return _ghost.layer(
            self,
            lambda x: x * self.scale[...].astype(x.dtype) + self.bias[...].astype(x.dtype),
            _ghost.both(_ghost.scale, _ghost.bias),
            x,
        )


class LayerNorm(nnx.Module):
    """Mean 0 and variance 1 over the last axis, then an Affine.

    References:
        Ba et al., Layer Normalization, arXiv 1607.06450, 2016.
    """

    def __init__(self, channels: int) -> None:
        self.affine = Affine(channels)

    def __call__(self, x: Array) -> Array:
        """[batch, ..., channels] to the same; the moments are taken in float32."""
        wide = x.astype(jnp.float32)
        wide = wide - wide.mean(axis=-1, keepdims=True)
        spread = jnp.square(wide).mean(axis=-1, keepdims=True)
        return self.affine((wide * jax.lax.rsqrt(spread + 1e-5)).astype(x.dtype))


class Table(nnx.Module):
    """One vector for each column of a table: the value times a weight, plus an offset.

    References:
        Gorishniy et al., Revisiting Deep Learning Models for Tabular Data, NeurIPS 2021, 3.3.
    """

    MEASURED = True

    def __init__(self, features: int, width: int, *, rngs: nnx.Rngs) -> None:
        bound = width**-0.5
        self.kernel = nnx.Param(_initial.uniform(rngs.params(), (features, width), bound=bound))
        self.bias = nnx.Param(_initial.uniform(rngs.params(), (features, width), bound=bound))

    def __call__(self, x: Array) -> Array:
        """[batch, features] to [batch, features, width]."""
        return _ghost.layer(
            self,
            lambda x: x * self.kernel[...] + self.bias[...],
            _ghost.both(_ghost.position_scale, _ghost.position),
            x.astype(self.kernel[...].dtype)[..., None],
        )


class Token(nnx.Module):
    """A learned vector put before each example's sequence; its output sums up the sequence."""

    MEASURED = True

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.value = nnx.Param(_initial.normal(rngs.params(), (width,), deviation=0.02))

    def __call__(self, x: Array) -> Array:
        """[batch, steps, width] to [batch, 1 + steps, width]."""
        value = _ghost.layer(
            self,
            lambda first: jnp.broadcast_to(self.value[...].astype(x.dtype), first.shape),
            _ghost.position,
            x[:, 0],
        )
        return jnp.concatenate([value[:, None], x], axis=1)
