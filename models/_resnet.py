"""ResNet with basic blocks, channels last."""

import jax
from flax import nnx
from jax import Array

from models._convolution import Convolution, Head, largest, pixels
from models._normalisation import Kind, normalisation


class Block(nnx.Module):
    """Two 3 x 3 convolutions, added to what came in."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, *, norm: Kind, rngs: nnx.Rngs
    ) -> None:
        self.conv1 = Convolution(inputs, outputs, 3, stride=stride, rngs=rngs)
        self.norm1 = normalisation(norm, outputs)
        self.conv2 = Convolution(outputs, outputs, 3, rngs=rngs)
        # From 0, a block starts as the identity: Goyal et al., arXiv 1706.02677, section 5.1.
        self.norm2 = normalisation(norm, outputs, scale=0.0)
        changes = stride > 1 or inputs != outputs
        self.short = Convolution(inputs, outputs, 1, stride=stride, rngs=rngs) if changes else None
        self.short_norm = normalisation(norm, outputs) if changes else None

    def __call__(self, x: Array, real: Array | None) -> Array:
        """[batch, height, width, inputs] to [batch, height / stride, width / stride, outputs]."""
        y = jax.nn.relu(self.norm1(self.conv1(x), real))
        y = self.norm2(self.conv2(y), real)
        if self.short is not None and self.short_norm is not None:
            x = self.short_norm(self.short(x), real)
        return jax.nn.relu(x + y)


class ResNet(nnx.Module):
    """Four stages of blocks, each after the first at half the resolution and twice the channels.

    References:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016, table 1.
    """

    def __init__(
        self,
        *,
        blocks: tuple[int, ...],
        features: int,
        outputs: int,
        norm: Kind,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = Convolution(3, 64, 7, stride=2, rngs=rngs)
        self.norm = normalisation(norm, 64)
        stages, inputs = [], 64
        for stage, depth in enumerate(blocks):
            width, built = 64 * 2**stage, []
            for place in range(depth):
                stride = 2 if stage and not place else 1
                built.append(Block(inputs, width, stride, norm=norm, rngs=rngs))
                inputs = width
            stages.append(nnx.List(built))
        self.stages = nnx.List(stages)
        self.head = Head(inputs, features, outputs, rngs=rngs)

    def __call__(self, image: Array, table: Array, real: Array | None = None) -> Array:
        """uint8 [batch, height, width, 3] and [batch, features] to [batch, outputs]."""
        x = largest(jax.nn.relu(self.norm(self.conv(pixels(image)), real)))
        for stage in self.stages:
            for block in stage:
                x = block(x, real)
        return self.head(x, table)
