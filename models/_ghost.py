"""Norms and clipped sums of per-example gradients from one backward pass, without the gradients.

Every layer with parameters is called through ``layer``. While a pass is recorded it notes the
layer's input, and a slot of zeros receives the slope of its output. The two tell what each example
adds to the squared norm of the layer's gradient; and since an example's slopes are proportional to
its weight in the sum, they also give the layer's part of the clipped sum, by a replay in which
each layer stands alone.

References:
    Goodfellow, Efficient Per-Example Gradient Computations, arXiv 1510.01799, 2015.
    Bu et al., Scalable and Efficient Training of Large CNNs with DP, NeurIPS 2022 (mixed ghost).
    Bu et al., DP Optimization on Large Model at Small Cost, ICML 2023 (one pass back).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from models._errors import ModelError

# A sum over pairs that is less of its terms' sizes than this has lost too many digits to rounding.
_CANCELLED = 2.0**-8

Losses = Callable[[list[Array]], tuple[Array, Array]]
Measure = Callable[[Array, Array], Array]
"""(a layer's input, its output's slope) to the squared norm by example, float32 [batch]."""


@dataclass(slots=True)
class Recording:
    """What the layers of one pass note, in the order of their calls.

    Attributes:
        slots: Zeros shaped like each layer's output, whose cotangents are the slopes; None if only
            ``shapes`` are asked for.
    """

    slots: Sequence[Array] | None = None
    shapes: list[Any] = field(default_factory=list)
    inputs: list[Array] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    used: list[nnx.Variable[Any]] = field(default_factory=list)

    def use(self, owner: nnx.Module) -> None:
        """Note that a layer's parameters take part: once, for norms of two calls do not add up."""
        ours = [own for own in vars(owner).values() if isinstance(own, nnx.Variable)]
        if any(one is other for one in ours for other in self.used):
            raise ModelError(
                f"privacy: parameters of a {type(owner).__name__} are used twice in one pass, and "
                "the norms of per-example gradients count on one use",
                remedy="Give each call a layer of its own, or choose another model.",
            )
        self.used += ours

    def slot(self) -> Array | None:
        """Of the layer that is called now."""
        return None if self.slots is None else self.slots[len(self.inputs)]


@dataclass(slots=True)
class Replay:
    """A pass in which each layer sees the input that was recorded, and its output counts alone.

    Attributes:
        slopes: Of each layer's output, each example's times its factor.
        total: Sum over the layers of slopes times outputs: its gradient is the clipped sum.
    """

    inputs: Sequence[Array]
    slopes: Sequence[Array]
    place: int = 0
    total: Array = field(default_factory=lambda: jnp.zeros(()))


_pass: ContextVar[Recording | Replay | None] = ContextVar("pass", default=None)


@contextmanager
def during(kind: Recording | Replay) -> Iterator[None]:
    """While a network is traced: its layers take part in ``kind``."""
    token = _pass.set(kind)
    try:
        yield
    finally:
        _pass.reset(token)


def layer(
    owner: nnx.Module,
    apply: Callable[[Array], Array],
    measure: Measure,
    x: Array,
    *,
    by_time: bool = False,
) -> Array:
    """``apply(x)``, linear in the layer's parameters, as the pass that is traced wants it.

    Args:
        owner: Has the parameters, as its own attributes.
        apply: It may not mind in which order the axes before the last one are.
        x: [batch, ...]; [time, batch, ...] where ``by_time``.

    Raises:
        ModelError: while a pass is recorded, the owner's parameters were used in it before.
    """

    def by_example(array: Array) -> Array:
        return array.swapaxes(0, 1) if by_time else array

    def through(slot: Array | None) -> tuple[Array, Array]:
        output = apply(x)
        if slot is not None:
            output = _slotted(output, by_example(slot))
        return output, by_example(x)

    return looped(owner, through, apply, measure)


def looped(
    owner: nnx.Module,
    through: Callable[[Array | None], tuple[Array, Array]],
    apply: Callable[[Array], Array],
    measure: Measure,
) -> Array:
    """A layer that is called in a loop over time and knows its inputs only afterwards.

    Args:
        owner: As in ``layer``.
        through: From a slot, or None, to the loop's output and the inputs at all times; the slot
            receives the slopes of what ``apply`` gives in the loop.
        apply: From the inputs at all times to what the layer gives, shaped like the slot.
    """
    now = _pass.get()
    if now is None:
        return through(None)[0]
    if isinstance(now, Recording):
        now.use(owner)
        output, x = through(now.slot())
        if now.slots is None:
            now.shapes.append(jax.eval_shape(apply, x))
        now.inputs.append(x)
        now.measures.append(measure)
        return output
    x, slope = now.inputs[now.place], now.slopes[now.place]
    now.place += 1
    now.total += jnp.vdot(slope, apply(x))
    return through(None)[0]  # for its shape; nothing that is asked for depends on it


@jax.custom_vjp
def _slotted(output: Array, slot: Array) -> Array:
    del slot
    return output


_slotted.defvjp(lambda output, _: (output, None), lambda _, slope: (slope, slope))


def clipped_sum(
    losses: Losses,
    leaves: list[Array],
    real: Array,
    *,
    clip: float,
    wide: Losses | None = None,
) -> tuple[list[Array], Array]:
    """Sum over real examples of their gradients, each scaled to a norm of at most ``clip``.

    Whatever the losses are computed in, norms, factors and the sum are in float32: rounded to
    bfloat16, a sum of 256 examples moves by two clips when one of them is left out.

    Args:
        losses: From the leaves to each example's loss [batch], and something to hand through.
            An example's loss may depend on no other example.
        real: bool [batch]; padding counts nothing.
        wide: The same in float32, where ``losses`` is narrower.

    References:
        Abadi et al., Deep Learning with Differential Privacy, CCS 2016, algorithm 1.
    """
    outline = Recording()
    with during(outline):
        jax.eval_shape(losses, leaves)

    def recorded(slots: list[Array]) -> tuple[Array, tuple[Array, list[Array]]]:
        recording = Recording(slots)
        with during(recording):
            loss, handed = losses(leaves)
        return loss, (handed, recording.inputs)

    slots = [jnp.zeros(shape.shape, shape.dtype) for shape in outline.shapes]
    loss, back, (handed, inputs) = jax.vjp(recorded, slots, has_aux=True)
    (slopes,) = back(jnp.ones_like(loss))
    inputs, slopes = ([part.astype(jnp.float32) for part in parts] for parts in (inputs, slopes))
    with jax.default_matmul_precision("float32"):  # a GPU else keeps 10 bits of each factor
        squares = sum(
            measure(x, slope)
            for measure, x, slope in zip(outline.measures, inputs, slopes, strict=True)
        )
        factor = jnp.minimum(1.0, clip / jnp.sqrt(jnp.maximum(squares, 1e-30)))
        factor = jnp.where(real, factor, 0.0)
        weighed = [slope * factor.reshape(-1, *[1] * (slope.ndim - 1)) for slope in slopes]

        def replayed(leaves: list[Array]) -> Array:
            replay = Replay(inputs, weighed)
            with during(replay):
                (wide or losses)(leaves)
            return replay.total

        return jax.grad(replayed)(leaves), handed


def both(one: Measure, other: Measure) -> Measure:
    """Of a layer with two parameters."""
    return lambda x, slope: one(x, slope) + other(x, slope)


def dense(x: Array, slope: Array) -> Array:
    """Of a kernel [inputs, outputs]; the layer's input is [batch, ..., inputs].

    With steps in between the sum over pairs of steps, or the gradients themselves where they are
    smaller than the pairs.
    """
    if x.ndim == 2:
        return _square(x) * _square(slope)
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    slope = slope.reshape(x.shape[0], -1, slope.shape[-1])
    if 2 * x.shape[1] ** 2 > x.shape[2] * slope.shape[2]:
        return _square(jnp.einsum("bti,bto->bio", x, slope))
    pairs = jnp.einsum("bsi,bti->bst", x, x) * jnp.einsum("bso,bto->bst", slope, slope)
    found, size = pairs.sum(axis=(1, 2)), jnp.abs(pairs).sum(axis=(1, 2))
    # Steps that cancel each other, seldom but where somebody means them to: a norm too small is a
    # clip that does not hold. One example after the other, for their gradients are large.
    measured: Array = jax.lax.cond(
        (found < _CANCELLED * size).any(),
        lambda: jax.lax.map(lambda each: jnp.square(each[0].T @ each[1]).sum(), (x, slope)),
        lambda: found,
    )
    return measured


def bias(x: Array, slope: Array) -> Array:
    """Of a bias over the last axis."""
    del x
    return _square(_steps(slope))


def scale(x: Array, slope: Array) -> Array:
    """Of a factor over the last axis."""
    return _square(_steps(x * slope))


def depthwise(patches: Array, slope: Array) -> Array:
    """Of one filter a channel, from patches [batch, height, width, taps, channels]."""
    return _square(jnp.einsum("bhwkc,bhwc->bkc", patches, slope))


def position(x: Array, slope: Array) -> Array:
    """Of a parameter that is added as it is to every example."""
    del x
    return _square(slope)


def position_scale(x: Array, slope: Array) -> Array:
    """Of a factor for each place and channel; the input is [batch, places, 1]."""
    return _square(x * slope)


def _steps(x: Array) -> Array:
    """Sum over all axes but the first and the last, [batch, channels]."""
    return x.reshape(x.shape[0], -1, x.shape[-1]).sum(axis=1)


def _square(x: Array) -> Array:
    return jnp.square(x).sum(axis=tuple(range(1, x.ndim)))
