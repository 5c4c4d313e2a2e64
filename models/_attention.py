"""A transformer over the columns of a table or the hours of a series."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from models._layers import LayerNorm, Linear, Table, Token


class Attention(nnx.Module):
    """Every step looks at every other.

    References:
        Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.2.
    """

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.given = Linear(width, 3 * width, rngs=rngs)
        self.joined = Linear(width, width, rngs=rngs)

    def __call__(self, x: Array, first: int | None = None) -> Array:
        """[batch, steps, width] to the same, or to [batch, first, width] of the first steps alone.

        Weights are taken in float32. The softmax divides last, what a step sees instead of its
        weights: that is smaller, and on the way back too.
        """
        batch, steps, width = x.shape
        parts = self.given(x).reshape(batch, steps, 3, self.heads, width // self.heads)
        query, key, value = parts[:, :first, 0], parts[:, :, 1], parts[:, :, 2]
        score = jnp.einsum("bshd,bthd->bhst", query, key).astype(jnp.float32)
        score *= (width // self.heads) ** -0.5
        weight = jnp.exp(score - jax.lax.stop_gradient(score.max(axis=-1, keepdims=True)))
        total = weight.sum(axis=-1).swapaxes(1, 2)[..., None].astype(x.dtype)
        seen = jnp.einsum("bhst,bthd->bshd", weight.astype(x.dtype), value) / total
        return self.joined(seen.reshape(batch, -1, width))


class Block(nnx.Module):
    """Attention and two dense layers, each on normalised input and added to it.

    References:
        Xiong et al., On Layer Normalization in the Transformer Architecture, ICML 2020 (pre-LN).
    """

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.first_norm = LayerNorm(width)
        self.attention = Attention(width, heads, rngs=rngs)
        self.second_norm = LayerNorm(width)
        self.wide = Linear(width, 4 * width, rngs=rngs)
        self.narrow = Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: Array, first: int | None = None) -> Array:
        """[batch, steps, width] to the same, or to [batch, first, width] of the first steps alone.

        Every step sees all steps either way.
        """
        x = x[:, :first] + self.attention(self.first_norm(x), first)
        return x + self.narrow(jax.nn.gelu(self.wide(self.second_norm(x))))


class Transformer(nnx.Module):
    """Blocks over tokens, read off at one token of their own.

    A table's tokens are its columns, a series' its times: the values, the flags of what was
    measured, and the time by sine and cosine.
    """

    AT_ONCE = 32  # 1.6 MB in a block's wide layer, of 49 tokens: 1.15 to 1.2 times as fast as 128

    def __init__(
        self,
        *,
        gives: str,
        features: int,
        outputs: int,
        width: int,
        heads: int,
        layers: int,
        rngs: nnx.Rngs,
    ) -> None:
        self.given = (
            Table(features, width, rngs=rngs)
            if gives == "table"
            else Linear(2 * features, width, rngs=rngs)
        )
        self.token = Token(width, rngs=rngs)
        self.blocks = nnx.List([Block(width, heads, rngs=rngs) for _ in range(layers)])
        self.norm = LayerNorm(width)
        self.head = Linear(width, outputs, rngs=rngs)

    def __call__(self, x: Array, measured: Array | None = None) -> Array:
        """[batch, features], or two of [batch, time, features], to logits [batch, outputs]."""
        if measured is not None:
            x = self.given(jnp.concatenate([x, measured.astype(x.dtype)], axis=-1))
            x = x + _times(*x.shape[1:]).astype(x.dtype)
        else:
            x = self.given(x)
        x = self.token(x)
        *inner, last = self.blocks
        for block in inner:
            x = block(x)
        x = last(x, first=1)  # nobody asks what becomes of the others: 40 % of two blocks' work
        return self.head(self.norm(x[:, 0]))


def _times(steps: int, width: int) -> Array:
    """float32 [steps, width]: sines and cosines of wavelengths from 2 pi to 20,000 pi steps."""
    pace = 10_000 ** (-jnp.arange(0, width, 2) / width)
    angle = jnp.arange(steps)[:, None] * pace
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)[:, :width]
