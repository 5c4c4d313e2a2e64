"""Convolutions over [batch, height, width, channels], and what surrounds them in image models."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from models import _ghost, _initial
from models._layers import Linear

# Of ImageNet, in the order red, green, blue; torchvision's and timm's weights expect them.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_METADATA = 32  # units of the branch for metadata
_FEW = 64  # places of an output, up to which a CPU is as fast or much faster by a product

_nested: ContextVar[bool] = ContextVar("nested", default=False)


@contextmanager
def nested() -> Iterator[None]:
    """While a loop or a branch is traced.

    On a CPU XLA's convolution takes some fifteen times as long in there as outside.
    """
    token = _nested.set(True)
    try:
        yield
    finally:
        _nested.reset(token)


class Convolution(nnx.Module):
    """A square filter without bias; pads by half its size, as PyTorch's models do.

    Kernels are [size, size, inputs, outputs], depthwise ones [size, size, 1, channels], drawn as
    He et al. do for the way out.

    References:
        He et al., Delving Deep into Rectifiers, ICCV 2015, section 2.2.
    """

    MEASURED = True

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        depthwise: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.stride, self.depthwise = stride, depthwise
        shape = (size, size, 1 if depthwise else inputs, outputs)
        fan_out = size * size * (1 if depthwise else outputs)
        deviation = (2 / fan_out) ** 0.5
        self.kernel = nnx.Param(_initial.normal(rngs.params(), shape, deviation=deviation))

    def __call__(self, x: Array) -> Array:
        """[batch, height, width, inputs] to [batch, height / stride, width / stride, outputs]."""
        kernel, stride = self.kernel[...], self.stride
        size = kernel.shape[0]
        on_cpu = jax.default_backend() == "cpu"
        few = x.shape[1] * x.shape[2] <= _FEW * stride**2
        as_product = size == 1 or (on_cpu and (few or _nested.get()))

        def apply(x: Array) -> Array:
            if self.depthwise:
                return (_shifted if on_cpu else _grouped)(x, kernel, stride)
            return (_product if as_product else _strided)(x, kernel, stride)

        norm = _ghost.depthwise if self.depthwise else _flat_dense
        return _ghost.layer(self, apply, _by_patches(norm, size, stride), x.astype(kernel.dtype))


class Head(nnx.Module):
    """Pooled channels, joined by a branch for metadata where there are any, then a dense layer."""

    def __init__(self, channels: int, features: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.metadata = Linear(features, _METADATA, rngs=rngs) if features else None
        self.dense = Linear(channels + (_METADATA if features else 0), outputs, rngs=rngs)

    def __call__(self, x: Array, table: Array) -> Array:
        """[batch, height, width, channels] and [batch, features] to [batch, outputs]."""
        pooled = x.astype(jnp.float32).mean(axis=(1, 2))
        if self.metadata is not None:
            branch = jax.nn.relu(self.metadata(table)).astype(jnp.float32)
            pooled = jnp.concatenate([pooled, branch], axis=1)
        return self.dense(pooled)


def pixels(image: Array) -> Array:
    """uint8 to float32, each colour on ImageNet's scale."""
    return (image.astype(jnp.float32) / 255 - jnp.array(_MEAN)) / jnp.array(_DEVIATION)


def largest(x: Array) -> Array:
    """The largest of each 3 x 3 neighbourhood, at every second place.

    By slices, one direction after the other: on a CPU the way back takes a tenth of the time that
    nine slices at once or XLA's window reduction take.
    """
    return _largest_of_three(_largest_of_three(x, axis=2), axis=1)


def _largest_of_three(x: Array, *, axis: int) -> Array:
    margins = [(1, 1) if place == axis else (0, 0) for place in range(x.ndim)]
    padded = jnp.pad(x, margins, constant_values=-jnp.inf)
    last = 2 * ((x.shape[axis] + 1) // 2) - 1
    a, b, c = (jax.lax.slice_in_dim(padded, at, at + last, 2, axis) for at in range(3))
    return jnp.maximum(jnp.maximum(a, b), c)


def patches(x: Array, size: int, stride: int) -> Array:
    """[batch, height, width, channels] to [batch, height', width', size * size, channels]."""
    half = size // 2
    padded = jnp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    height, width = ((length - 1) // stride + 1 for length in x.shape[1:3])
    return jnp.stack(_slices(padded, size, stride, height, width), axis=3)


def _product(x: Array, kernel: Array, stride: int) -> Array:
    """A convolution as a matrix product; patches are made again on the way back, to save memory."""
    if kernel.shape[0] == 1:
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    again = jax.checkpoint(_unfolded_by(stride))
    found: Array = again(x, kernel)
    return found


def _unfolded_by(stride: int) -> Any:
    def unfolded(x: Array, kernel: Array) -> Array:
        cut = patches(x, kernel.shape[0], stride)
        return cut.reshape(*cut.shape[:3], -1) @ kernel.reshape(-1, kernel.shape[-1])

    return unfolded


def _shifted(x: Array, kernel: Array, stride: int) -> Array:
    """A depthwise convolution as a sum of shifted copies: on a CPU, fifteen times as fast."""
    size, half = kernel.shape[0], kernel.shape[0] // 2
    padded = jnp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    height, width = ((length - 1) // stride + 1 for length in x.shape[1:3])
    shifted = _slices(padded, size, stride, height, width)
    products = [part * row for part, row in zip(shifted, kernel.reshape(size**2, -1), strict=True)]
    found: Array = sum(products[1:], products[0])
    return found


def _grouped(x: Array, kernel: Array, stride: int) -> Array:
    return _strided(x, kernel, stride, groups=kernel.shape[-1])


def _strided(x: Array, kernel: Array, stride: int, *, groups: int = 1) -> Array:
    half = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((half, half), (half, half)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _slices(padded: Array, size: int, stride: int, height: int, width: int) -> list[Array]:
    """Every place of a window, row by row: [batch, height, width, channels] each."""
    return [
        padded[
            :,
            row : row + stride * (height - 1) + 1 : stride,
            column : column + stride * (width - 1) + 1 : stride,
        ]
        for row in range(size)
        for column in range(size)
    ]


def _by_patches(measure: _ghost.Measure, size: int, stride: int) -> _ghost.Measure:
    return lambda x, slope: measure(patches(x, size, stride), slope)


def _flat_dense(cut: Array, slope: Array) -> Array:
    return _ghost.dense(cut.reshape(*cut.shape[:3], -1), slope)
