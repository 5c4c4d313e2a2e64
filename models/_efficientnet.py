"""EfficientNet, channels last; without dropout and stochastic depth, so that rounds repeat."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from models._convolution import Convolution, Head, pixels
from models._layers import Linear
from models._normalisation import Kind, normalisation

# Of B0, a row a stage: expansion, filter size, stride, channels, blocks.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class Excitation(nnx.Module):
    """Each channel weighted by what is seen in the whole image.

    References:
        Hu et al., Squeeze-and-Excitation Networks, CVPR 2018.
    """

    def __init__(self, channels: int, squeezed: int, *, rngs: nnx.Rngs) -> None:
        self.squeeze = Linear(channels, squeezed, rngs=rngs)
        self.expand = Linear(squeezed, channels, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """[batch, height, width, channels] to the same."""
        seen = x.astype(jnp.float32).mean(axis=(1, 2))
        weight = jax.nn.sigmoid(self.expand(jax.nn.silu(self.squeeze(seen))))
        return x * weight[:, None, None].astype(x.dtype)


class Block(nnx.Module):
    """Expand, filter each channel, weigh the channels, project; added to what came in if it fits.

    References:
        Sandler et al., MobileNetV2, CVPR 2018.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        expansion: int,
        size: int,
        stride: int,
        norm: Kind,
        rngs: nnx.Rngs,
    ) -> None:
        wide = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.expand = Convolution(inputs, wide, 1, rngs=rngs) if expansion > 1 else None
        self.expand_norm = normalisation(norm, wide) if expansion > 1 else None
        self.filter = Convolution(wide, wide, size, stride=stride, depthwise=True, rngs=rngs)
        self.filter_norm = normalisation(norm, wide)
        self.excitation = Excitation(wide, max(1, inputs // 4), rngs=rngs)
        self.project = Convolution(wide, outputs, 1, rngs=rngs)
        self.project_norm = normalisation(norm, outputs)

    def __call__(self, x: Array, real: Array | None) -> Array:
        """[batch, height, width, inputs] to [batch, height / stride, width / stride, outputs]."""
        y = x
        if self.expand is not None and self.expand_norm is not None:
            y = jax.nn.silu(self.expand_norm(self.expand(y), real))
        y = jax.nn.silu(self.filter_norm(self.filter(y), real))
        y = self.project_norm(self.project(self.excitation(y)), real)
        return x + y if self.adds else y


class EfficientNet(nnx.Module):
    """B0's stages, wider and deeper by two factors.

    References:
        Tan and Le, EfficientNet: Rethinking Model Scaling, ICML 2019.
    """

    def __init__(
        self,
        *,
        width: float,
        depth: float,
        features: int,
        outputs: int,
        norm: Kind,
        rngs: nnx.Rngs,
    ) -> None:
        inputs = _rounded(32 * width)
        self.conv = Convolution(3, inputs, 3, stride=2, rngs=rngs)
        self.norm = normalisation(norm, inputs)
        stages = []
        for expansion, size, stride, channels, blocks in _STAGES:
            wide, built = _rounded(channels * width), []
            for place in range(math.ceil(blocks * depth)):
                block = Block(
                    inputs,
                    wide,
                    expansion=expansion,
                    size=size,
                    stride=1 if place else stride,
                    norm=norm,
                    rngs=rngs,
                )
                built.append(block)
                inputs = wide
            stages.append(nnx.List(built))
        self.stages = nnx.List(stages)
        self.last = Convolution(inputs, 4 * inputs, 1, rngs=rngs)
        self.last_norm = normalisation(norm, 4 * inputs)
        self.head = Head(4 * inputs, features, outputs, rngs=rngs)

    def __call__(self, image: Array, table: Array, real: Array | None = None) -> Array:
        """uint8 [batch, height, width, 3] and [batch, features] to [batch, outputs]."""
        x = jax.nn.silu(self.norm(self.conv(pixels(image)), real))
        for stage in self.stages:
            for block in stage:
                x = block(x, real)
        return self.head(jax.nn.silu(self.last_norm(self.last(x), real)), table)


def _rounded(channels: float) -> int:
    """The nearest multiple of 8 that is not below 90 %, as the paper's own code rounds."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
