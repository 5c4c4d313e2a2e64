"""A model and a way of training as compiled functions over one flat vector."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
from jax import Array

from models import Manifest, ModelError, Training, _network
from models._convolution import nested
from models._descent import Course, Descent
from models._network import Inputs, Leaves, exactly
from models._noise import Guard
from models._objective import Objective
from models._traced import Traced

BLOCK = 8192  # examples a call of ``predict`` at most, so that a large split's activations fit


class State(NamedTuple):
    """What a step changes: parameters, and the optimiser's memory of former gradients."""

    leaves: Leaves
    memory: optax.OptState


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Pure functions, compiled at the first call with new shapes.

    Attributes:
        manifest: What all sites share; ``local`` what a site keeps, empty for most models.
        initial: (seed uint32 []) to a fresh float32 [parameters]; not compiled.
        begin: (float32 [parameters], float32 [local] or nothing for 0) to a State with an
            optimiser that remembers nothing.
        advance: (State, x, y int32 [examples], order int32 [steps, batch], first, end, Course) to
            the State after the steps from ``first`` up to ``end``, and float32 [steps], the sum of
            each step's losses in nats, without weights and penalty. ``order`` holds row numbers;
            -1 is padding, which contributes nothing. The State given is used up. One compiled loop
            serves any number of steps, or one compiled step each, so how they are grouped cannot
            change a bit.
        loop: The same as a loop to be traced by others, not compiled.
        load_ahead: Begin to load what ``advance`` was last called with, in a thread of its own.
        vector: (State) to float32 [parameters]; ``own`` to float32 [local].
        predict: (float32 [parameters], float32 [local], x, at int32 [1, rows]) to the
            log-probabilities float32 [rows, classes] of the rows ``at``, computed in float32.
    """

    manifest: Manifest
    local: Manifest
    initial: Callable[[np.uint32], np.ndarray]
    begin: Callable[..., State]
    advance: Callable[..., tuple[State, Array]]
    loop: Callable[..., tuple[State, Array]]
    load_ahead: Callable[[], None]
    vector: Callable[[State], np.ndarray]
    own: Callable[[State], np.ndarray]
    predict: Callable[..., Array]


@lru_cache(maxsize=8)  # a round, a site or a scale may change without compiling again
def program(
    model: str,
    config: Any,
    training: Training,
    features: int,
    outputs: int,
    *,
    gives: str = "table",
    pieces: int = 1,
    guard: Guard | None = None,
) -> Program:
    """The compiled form of ``models.load(model).build(config, ...)`` under ``training``.

    Args:
        pieces: Into how many parts a batch is cut, one after the other, to save memory; it is a
            divisor of the columns of ``order``.
        guard: Clips and noises gradients, if given.

    Raises:
        ModelError: record-level privacy is asked of a model that has parameters outside the layers
            that measure them, or statistics over a batch.
    """
    net = _network.network(model, config, gives=gives, features=features, outputs=outputs)
    if guard is not None and (net.unmeasured or net.statistics):
        raise ModelError(
            f"{model}: it has layers without per-example gradients, which privacy needs",
            remedy="Choose a model or a normalisation that keeps examples apart.",
        )
    ours, own = _network.bounds(net.manifest), _network.bounds(net.local)
    count = len(net.manifest.entries)
    optimizer = _optimizer(training, net.weights)
    narrow = training.precision == "bfloat16" or (
        training.precision == "auto" and jax.default_backend() == "gpu"
    )
    # Its convolutions are slow in a loop; a call more a step is nothing beside them.
    stepwise = gives == "images" and jax.default_backend() == "cpu"
    aim = Objective(net=net, training=training, outputs=outputs, narrow=narrow)
    descent = Descent(aim=aim, pieces=pieces, guard=guard)

    def shaped(vector: Array, local: Array) -> Leaves:
        pairs = [*zip(jnp.split(vector, ours), net.manifest.entries, strict=True)]
        if net.local.entries:
            pairs += zip(jnp.split(local, own), net.local.entries, strict=True)
        return [piece.reshape(entry.shape) for piece, entry in pairs]

    def step(
        state: State, losses: Array, x: Inputs, y: Array, rows: Array, at: Array, place: Array,
        course: Course, fitted: bool,
    ) -> tuple[State, Array]:  # fmt: skip
        leaves, memory = state
        with exactly() if training.precision == "float32" else nullcontext():
            gradient, total, leaves = descent.gradient(
                leaves, x, y, rows, at, course, fitted=fitted
            )
        if guard is not None:
            first, second = course.draws
            draws = first[place], second[place]
            gradient = descent.protected(gradient, leaves, draws, course)
        change, memory = optimizer.update(gradient, memory, leaves)
        if training.schedule != "constant" or training.warmup or training.decay != 1:
            factor = _factor(training, course.before + at, course.steps) * course.rate
            change = [factor * part for part in change]
        return State(optax.apply_updates(leaves, change), memory), losses.at[at].set(total)

    def loop(
        state: State, x: Inputs, y: Array, order: Array, first: Array, end: Array, course: Course
    ) -> tuple[State, Array]:
        def one(at: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            return step(*carry, x, y, order[at], at, at - first, course, False)

        with nested():
            moved: tuple[State, Array] = jax.lax.fori_loop(
                first, end, one, (state, jnp.zeros(order.shape[0]))
            )
        return moved

    def alone(
        state: State, losses: Array, x: Inputs, y: Array, order: Array, at: Array, place: Array,
        course: Course, *, width: int,
    ) -> tuple[State, Array]:  # fmt: skip
        return step(state, losses, x, y, order[at, :width], at, place, course, True)

    each = Traced(alone, model, config, training, features, outputs, gives, pieces, guard)

    def by_step(
        state: State, x: Inputs, y: Array, order: Array, first: Any, end: Any, course: Course
    ) -> tuple[State, Array]:
        losses = jax.device_put(np.zeros(order.shape[0], np.float32))
        sizes = descent.widths(order.shape[1])
        filled = (np.asarray(order[int(first) : int(end)]) >= 0).sum(axis=1)
        for place, rows in enumerate(filled):
            at, width = np.int32(first + place), sizes[np.searchsorted(sizes, rows)]
            given = state, losses, x, y, order, at, np.int32(place), course
            state, losses = each(*given, width=width)
        return state, losses

    def begin(vector: Array, local: Array | None = None) -> State:
        if local is None:
            local = jnp.zeros(net.local.size)
        return State(start := shaped(vector, local), optimizer.init(start))

    def predict(vector: Array, local: Array, x: Inputs, at: Array) -> Array:
        block = jax.tree.map(lambda part: jnp.take(part, at[0], 0, mode="clip"), x)
        with exactly():
            return aim.wide.log_probabilities(shaped(vector, local), block)[0]

    def joined(leaves: Leaves) -> np.ndarray:
        # NumPy joins 100 MB in 0.1 s where XLA on a CPU takes 3.5 s.
        return np.concatenate([np.zeros(0, np.float32), *(np.ravel(leaf) for leaf in leaves)])

    return Program(
        manifest=net.manifest,
        local=net.local,
        initial=lambda seed: joined(net.initial(seed)),
        begin=jax.jit(begin),
        advance=by_step if stepwise else jax.jit(loop, donate_argnums=0),
        loop=loop,
        load_ahead=each.load_ahead if stepwise else lambda: None,
        vector=lambda state: joined(state.leaves[:count]),
        own=lambda state: joined(state.leaves[count:]),
        predict=jax.jit(predict),
    )


def _factor(training: Training, done: Any, steps: Any) -> Array:
    """What the learning rate is multiplied by in the step after ``done`` of ``steps``, []."""
    rise = jnp.asarray(training.warmup * steps, jnp.float32)
    begun = jnp.minimum(1.0, (done + 1) / jnp.maximum(rise, 1.0)) if training.warmup else 1.0
    left = 1.0 - jnp.clip((done - rise) / jnp.maximum(steps - rise, 1.0), 0.0, 1.0)
    if training.schedule == "linear":
        return begun * left
    if training.schedule == "cosine":
        return begun * 0.5 * (1.0 - jnp.cos(jnp.pi * left))
    return jnp.asarray(begun, jnp.float32)


def _optimizer(training: Training, weights: Sequence[bool]) -> optax.GradientTransformation:
    rate = training.learning_rate
    if training.optimizer == "sgd":
        descent = optax.sgd(rate, momentum=training.momentum or None)
    elif training.optimizer == "adam":
        descent = optax.adam(rate)
    else:
        descent = optax.adamw(
            rate,
            weight_decay=training.weight_decay,
            mask=list(weights),
        )
    if training.clip is None:
        return descent
    return optax.chain(optax.clip_by_global_norm(training.clip), descent)
