"""A model and a way of training as four compiled functions over one flat vector."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
from flax import nnx
from jax import Array

import models
from models import Entry, Manifest, Training

BLOCK = 8192  # examples a call of ``predict``, so that the activations of a large split fit

Leaves = list[Array]
"""The parameters in manifest order, each in its own shape."""


class State(NamedTuple):
    """What a step changes: parameters, and the optimiser's memory of former gradients."""

    leaves: Leaves
    memory: optax.OptState


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Pure functions, compiled at the first call with new shapes.

    Attributes:
        initial: (seed uint32 []) to a fresh float32 [parameters].
        begin: (float32 [parameters]) to a State with an optimiser that remembers nothing.
        advance: (State, x float32 [examples, features], y int32 [examples], order int32 [steps,
            batch], first, end) to the State after the steps from ``first`` up to ``end``, and
            float32 [steps], the sum of each step's losses in nats. ``order`` holds row numbers; -1
            is padding, which contributes nothing. The State given is used up. One compiled loop
            serves any number of steps, so how they are grouped cannot change a bit.
        vector: (State) to float32 [parameters].
        predict: (float32 [parameters], x, first) to the log-probabilities float32 [rows, classes]
            of the BLOCK rows from ``first``; of all of them if ``x`` has fewer.
        objective: (leaves, x float32 [batch, features], y int32 [batch], real bool [batch]) to
            the mean loss over real examples with the penalty, and the plain sum; not compiled.
    """

    manifest: Manifest
    initial: Callable[[np.uint32], Array]
    begin: Callable[[np.ndarray], State]
    advance: Callable[[State, Array, Array, Array, np.int32, np.int32], tuple[State, Array]]
    vector: Callable[[State], np.ndarray]
    predict: Callable[[Array, Array, np.int32], Array]
    objective: Callable[[Leaves, Array, Array, Array], tuple[Array, Array]]


@lru_cache(maxsize=8)  # a round, a site or a scale may change without compiling again
def program(model: str, config: Any, training: Training, features: int, outputs: int) -> Program:
    """The compiled form of ``models.load(model).build(config, ...)`` under ``training``."""
    source = models.load(model)

    def build(seed: Any) -> nnx.Module:
        return source.build(
            config, features=features, outputs=outputs, rngs=nnx.Rngs(jax.random.key(seed))
        )

    graph, abstract = nnx.split(nnx.eval_shape(lambda: build(0)), nnx.Param)
    paths, tree = jax.tree.flatten_with_path(abstract)
    manifest = Manifest(
        tuple(
            Entry(name=_name(path), shape=leaf.shape, dtype=str(leaf.dtype)) for path, leaf in paths
        )
    )
    bounds = np.cumsum([entry.size for entry in manifest.entries])[:-1].tolist()
    optimizer = _optimizer(training)

    def flat(leaves: Leaves) -> Array:
        return jnp.concatenate([leaf.ravel() for leaf in leaves])

    def shaped(vector: Array) -> Leaves:
        pieces = jnp.split(vector, bounds)
        return [p.reshape(e.shape) for p, e in zip(pieces, manifest.entries, strict=True)]

    def log_probabilities(leaves: Leaves, x: Array) -> Array:
        network = cast(
            "Callable[[Array], Array]", nnx.merge(graph, jax.tree.unflatten(tree, leaves))
        )
        logits = network(x)
        if outputs == 1:
            return jax.nn.log_sigmoid(jnp.concatenate([-logits, logits], axis=1))
        return jax.nn.log_softmax(logits)

    def objective(leaves: Leaves, x: Array, y: Array, real: Array) -> tuple[Array, Array]:
        chosen = jnp.take_along_axis(log_probabilities(leaves, x), y[:, None], axis=1)[:, 0]
        total = -jnp.where(real, chosen, 0.0).sum()
        mean = total / jnp.maximum(real.sum(), 1)
        if training.l2:
            mean += training.l2 / 2 * sum(jnp.vdot(w, w) for w in leaves if w.ndim > 1)
        return mean, total

    def advance(
        state: State, x: Array, y: Array, order: Array, first: Array, end: Array
    ) -> tuple[State, Array]:
        def step(at: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            (leaves, memory), losses = carry
            rows = order[at]
            batch, labels = jnp.take(x, rows, 0, mode="clip"), jnp.take(y, rows, mode="clip")
            slope = jax.grad(objective, has_aux=True)
            gradient, total = slope(leaves, batch, labels, rows >= 0)
            change, memory = optimizer.update(gradient, memory, leaves)
            return State(optax.apply_updates(leaves, change), memory), losses.at[at].set(total)

        losses = jnp.zeros(order.shape[0])
        moved: tuple[State, Array] = jax.lax.fori_loop(first, end, step, (state, losses))
        return moved

    def predict(vector: Array, x: Array, first: Array) -> Array:
        rows = min(BLOCK, len(x))  # known while compiling: one shape for every block
        return log_probabilities(shaped(vector), jax.lax.dynamic_slice_in_dim(x, first, rows))

    return Program(
        manifest=manifest,
        initial=jax.jit(lambda seed: flat(jax.tree.leaves(nnx.state(build(seed), nnx.Param)))),
        begin=jax.jit(lambda vector: State(start := shaped(vector), optimizer.init(start))),
        advance=jax.jit(advance, donate_argnums=0),
        # NumPy joins 100 MB in 0.1 s where XLA on a CPU takes 3.5 s.
        vector=lambda state: np.concatenate([np.ravel(leaf) for leaf in state.leaves]),
        predict=jax.jit(predict),
        objective=objective,
    )


def _optimizer(training: Training) -> optax.GradientTransformation:
    rate = training.learning_rate
    if training.optimizer == "sgd":
        descent = optax.sgd(rate, momentum=training.momentum or None)
    elif training.optimizer == "adam":
        descent = optax.adam(rate)
    else:
        descent = optax.adamw(
            rate,
            weight_decay=training.weight_decay,
            mask=lambda leaves: [leaf.ndim > 1 for leaf in leaves],
        )
    if training.clip is None:
        return descent
    return optax.chain(optax.clip_by_global_norm(training.clip), descent)


def _name(path: tuple[Any, ...]) -> str:
    """'layers.0.kernel' of a path in nnx's tree; the variable's own '.value' is not said."""
    return ".".join(str(step.key) for step in path if hasattr(step, "key"))
