"""Convolutions one after the other, channels last."""

import jax
from flax import nnx
from jax import Array

from models._convolution import Convolution, Head, pixels
from models._normalisation import Kind, normalisation


class SmallNetwork(nnx.Module):
    """Each 3 x 3 convolution halves the resolution; what is left is averaged over the image."""

    def __init__(
        self,
        *,
        widths: tuple[int, ...],
        features: int,
        outputs: int,
        norm: Kind,
        rngs: nnx.Rngs,
    ) -> None:
        inputs = (3, *widths[:-1])
        self.convolutions = nnx.List(
            [Convolution(a, b, 3, stride=2, rngs=rngs) for a, b in zip(inputs, widths, strict=True)]
        )
        self.norms = nnx.List([normalisation(norm, width) for width in widths])
        self.head = Head(widths[-1], features, outputs, rngs=rngs)

    def __call__(self, image: Array, table: Array, real: Array | None = None) -> Array:
        """uint8 [batch, height, width, 3] and [batch, features] to [batch, outputs]."""
        x = pixels(image)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = jax.nn.relu(norm(convolution(x), real))
        return self.head(x, table)
