"""Normalisation of image channels that federates.

Averaging the running statistics of batch normalisation over sites mixes scanners and skins that
differ. So channels are normalised within an example ('group'), by statistics that stay as the
pretrained weights have them ('frozen'), or by each site's own ('local').
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from models._initial import filled
from models._layers import Affine, Frozen, Local, Statistic

Kind = Literal["group", "frozen", "local"]

_EPSILON = 1e-5  # PyTorch's, so that its weights fit
_MOMENTUM = 0.1  # a batch's weight in the running statistics, likewise


def normalisation(
    kind: Kind, channels: int, *, scale: float = 1.0
) -> "GroupNorm | FrozenNorm | LocalNorm":
    """A layer of that kind: [batch, height, width, channels] to the same.

    It is also given which examples are ``real`` while training, for statistics over the batch.
    """
    if kind == "group":
        return GroupNorm(channels, scale=scale)
    return (FrozenNorm if kind == "frozen" else LocalNorm)(channels, scale=scale)


class GroupNorm(nnx.Module):
    """Mean 0 and variance 1 within an example, over groups of at least 8 channels.

    References:
        Wu and He, Group Normalization, ECCV 2018.
        Hsieh et al., The Non-IID Data Quagmire of Decentralized ML, ICML 2020, section 5.
    """

    def __init__(self, channels: int, *, scale: float) -> None:
        fitting = (n for n in range(32, 0, -1) if channels % n == 0 and channels // n >= 8)
        self.groups = next(fitting, 1)
        self.affine = Affine(channels, scale=scale)

    def __call__(self, x: Array, real: Array | None = None) -> Array:
        """[batch, height, width, channels] to the same; the moments are taken in float32."""
        del real
        return self.affine(_even_in_groups(x, self.groups))


class FrozenNorm(nnx.Module):
    """Batch normalisation whose statistics stay as they came; factor and offset are trained.

    Examples do not see each other, so it also serves DP-SGD.
    """

    def __init__(self, channels: int, *, scale: float) -> None:
        self.mean, self.variance = _shared(channels)
        self.affine = Affine(channels, scale=scale)

    def __call__(self, x: Array, real: Array | None = None) -> Array:
        """[batch, height, width, channels] to the same."""
        del real
        mean, variance = jax.lax.stop_gradient((self.mean[...], self.variance[...]))
        return self.affine(_even(x, mean, variance))


class LocalNorm(nnx.Module):
    """FedBN: factor, offset and running statistics belong to the site and never leave it.

    They are kept as what the site adds to the shared start, so that a site that has not trained
    computes what the pretrained weights do.

    References:
        Li et al., FedBN: Federated Learning on Non-IID Features via Local BN, ICLR 2021.
    """

    def __init__(self, channels: int, *, scale: float) -> None:
        self.mean, self.variance = _shared(channels)
        self.scale = Frozen(filled((channels,), scale))
        self.bias = Frozen(filled((channels,)))
        self.own_scale, self.own_bias = Local(filled((channels,))), Local(filled((channels,)))
        self.own_mean = Statistic(filled((channels,)))
        self.own_variance = Statistic(filled((channels,)))

    def __call__(self, x: Array, real: Array | None = None) -> Array:
        """[batch, height, width, channels] to the same; padding is in no statistic."""
        start = jax.lax.stop_gradient(
            tuple(part[...] for part in (self.mean, self.variance, self.scale, self.bias))
        )
        own = jax.lax.stop_gradient((self.own_mean[...], self.own_variance[...]))
        mean, variance = start[0] + own[0], start[1] + own[1]
        if real is not None:
            running = mean, variance
            mean, variance, values = _moments(x, real)
            share = jnp.where(values > 1, _MOMENTUM, 0.0)
            unbiased = variance * values / jnp.maximum(values - 1, 1)
            self.own_mean[...] = running[0] + share * (mean - running[0]) - start[0]
            self.own_variance[...] = running[1] + share * (unbiased - running[1]) - start[1]
        scale = start[2] + self.own_scale[...].astype(jnp.float32)
        bias = start[3] + self.own_bias[...].astype(jnp.float32)
        factor = scale * jax.lax.rsqrt(variance + _EPSILON)
        return (x * factor + (bias - mean * factor)).astype(x.dtype)


def _shared(channels: int) -> tuple[Frozen, Frozen]:
    """Mean and variance that every site starts from, never trained."""
    return Frozen(filled((channels,))), Frozen(filled((channels,), 1.0))


@partial(jax.jit, static_argnums=1)
def _even_in_groups(x: Array, groups: int) -> Array:
    """Compiled as one, so that layers of one shape, three of four in a ResNet, are traced once."""
    wide = x.astype(jnp.float32)
    centred = wide - _mean(wide, groups)
    even = centred * jax.lax.rsqrt(_mean(jnp.square(centred), groups) + _EPSILON)
    return even.astype(x.dtype)


def _mean(x: Array, groups: int) -> Array:
    """Over places and a group's channels: [batch, 1, 1, channels], alike within a group.

    Places first: with the channels last, a processor adds whole vectors.
    """
    by_group = x.mean(axis=(1, 2)).reshape(len(x), groups, -1).mean(axis=-1)
    return jnp.repeat(by_group, x.shape[-1] // groups, axis=1)[:, None, None]


def _even(x: Array, mean: Array, variance: Array) -> Array:
    factor = jax.lax.rsqrt(variance + _EPSILON)
    return (x * factor - mean * factor).astype(x.dtype)


def _moments(x: Array, real: Array) -> tuple[Array, Array, Array]:
    """Mean and variance by channel over real examples, and over how many values, in float32."""
    wide, weight = x.astype(jnp.float32), real[:, None, None, None].astype(jnp.float32)
    values = weight.sum() * x.shape[1] * x.shape[2]
    mean = (wide * weight).sum(axis=(0, 1, 2)) / jnp.maximum(values, 1)
    variance = (jnp.square(wide - mean) * weight).sum(axis=(0, 1, 2)) / jnp.maximum(values, 1)
    return mean, variance, values
