"""A model and a way of training as compiled functions over one flat vector."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
from jax import Array

from models import Manifest, ModelError, Training, _network
from models._augmentation import varied
from models._network import Inputs, Leaves
from models._noise import Guard, clipped_sum, noised

BLOCK = 8192  # examples a call of ``predict`` at most, so that a large split's activations fit


class State(NamedTuple):
    """What a step changes: parameters, and the optimiser's memory of former gradients."""

    leaves: Leaves
    memory: optax.OptState


class Course(NamedTuple):
    """What stays the same through the steps of an epoch.

    Attributes:
        anchor: The leaves at the round's start, for FedProx; empty without it.
        rate: Factor on the learning rate in this round.
        before: Steps of the round that came before this epoch.
        steps: Steps of the whole round.
        key: uint32 [2], decides the noise of DP-SGD.
        variation: uint32 [2], decides how images vary, if they do.
    """

    anchor: Leaves
    rate: np.float32
    before: np.int32
    steps: np.int32
    key: Any
    variation: Any = np.zeros(2, np.uint32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Pure functions, compiled at the first call with new shapes.

    Attributes:
        manifest: What all sites share; ``local`` what a site keeps, empty for most models.
        initial: (seed uint32 []) to a fresh float32 [parameters].
        begin: (float32 [parameters], float32 [local] or nothing for 0) to a State with an
            optimiser that remembers nothing.
        advance: (State, x, y int32 [examples], order int32 [steps, batch], first, end, Course) to
            the State after the steps from ``first`` up to ``end``, and float32 [steps], the sum of
            each step's losses in nats, without weights and penalty. ``order`` holds row numbers;
            -1 is padding, which contributes nothing. The State given is used up. One compiled loop
            serves any number of steps, so how they are grouped cannot change a bit.
        vector: (State) to float32 [parameters]; ``own`` to float32 [local].
        predict: (float32 [parameters], float32 [local], x, first, rows) to the log-probabilities
            float32 [rows, classes] of so many rows from ``first``.
        objective: (leaves, x, y int32 [batch], real bool [batch]) to the mean loss over real
            examples with the penalty, and the plain sum; not compiled.
    """

    manifest: Manifest
    local: Manifest
    initial: Callable[[np.uint32], Array]
    begin: Callable[..., State]
    advance: Callable[..., tuple[State, Array]]
    vector: Callable[[State], np.ndarray]
    own: Callable[[State], np.ndarray]
    predict: Callable[..., Array]
    objective: Callable[[Leaves, Inputs, Array, Array], tuple[Array, Array]]


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
        ModelError: record-level privacy is asked of a model that mixes examples.
    """
    net = _network.network(model, config, gives=gives, features=features, outputs=outputs)
    if guard is not None and (net.unmeasured or net.statistics):
        raise ModelError(
            f"{model}: it has layers without per-example gradients, which privacy needs",
            remedy="Choose a model or a normalisation that keeps examples apart.",
        )
    ours, own = _network.bounds(net.manifest), _network.bounds(net.local)
    count = len(net.manifest.entries)
    optimizer = _optimizer(training)
    narrow = training.precision == "bfloat16" or (
        training.precision == "auto" and jax.default_backend() == "gpu"
    )

    def flat(leaves: Leaves) -> Array:
        return jnp.concatenate([leaf.ravel() for leaf in leaves])

    def shaped(vector: Array, local: Array) -> Leaves:
        pairs = [*zip(jnp.split(vector, ours), net.manifest.entries, strict=True)]
        if net.local.entries:
            pairs += zip(jnp.split(local, own), net.local.entries, strict=True)
        return [piece.reshape(entry.shape) for piece, entry in pairs]

    def log_probabilities(
        leaves: Leaves, x: Inputs, real: Array | None = None
    ) -> tuple[Array, Leaves]:
        used = _network.narrowed(leaves, net.moves, jnp.bfloat16) if narrow else leaves
        logits, moved = net.logits(used, x, real)
        if outputs == 1:
            return jax.nn.log_sigmoid(jnp.concatenate([-logits, logits], axis=1)), moved
        return jax.nn.log_softmax(logits), moved

    def judged(leaves: Leaves, x: Inputs, y: Array, real: Array) -> tuple[Array, Array, Leaves]:
        """Each example's log-probability, its loss with weights, and new statistics."""
        logs, moved = log_probabilities(leaves, x, real)
        chosen = jnp.take_along_axis(logs, y[:, None], axis=1)[:, 0]
        loss = -chosen
        if training.focal:
            # The other classes' share, bounded off 0, where a power below 1 has no slope.
            loss *= jnp.maximum(-jnp.expm1(chosen), 1e-7) ** training.focal
        if training.class_weights:
            loss *= jnp.asarray(training.class_weights, jnp.float32)[y]
        return chosen, loss, moved

    def penalty(leaves: Leaves, anchor: Leaves) -> Array | float:
        found: Array | float = 0.0
        if training.l2:
            found += training.l2 / 2 * sum(jnp.vdot(w, w) for w in leaves if w.ndim > 1)
        if training.proximal and anchor:
            steps = [leaf - start for leaf, start in zip(leaves, anchor, strict=True)]
            found += training.proximal / 2 * sum(jnp.vdot(step, step) for step in steps[:count])
        return found

    def share(
        leaves: Leaves, x: Inputs, y: Array, real: Array, examples: Array, anchor: Leaves
    ) -> tuple[Array, tuple[Array, Leaves]]:
        """A piece's part of the mean over a step's examples, its plain sum, and statistics."""
        chosen, loss, moved = judged(leaves, x, y, real)
        total = -jnp.where(real, chosen, 0.0).sum()
        aim = jnp.where(real, loss, 0.0).sum() if _weighs(training) else total
        mean = aim / jnp.maximum(examples, 1)
        if training.l2 or training.proximal:
            mean += penalty(leaves, anchor) / pieces
        return mean, (total, moved)

    def objective(leaves: Leaves, x: Inputs, y: Array, real: Array) -> tuple[Array, Array]:
        mean, (total, _) = share(leaves, x, y, real, real.sum(), [])
        return mean, total

    def settle(leaves: Leaves, moved: Leaves) -> Leaves:
        """The leaves with their new statistics."""
        settled = list(leaves)
        for place, value in zip(net.statistics, moved, strict=True):
            settled[place] = value
        return settled

    def slope(leaves: Leaves, batch: Batch, course: Course) -> tuple[Leaves, Array, Leaves]:
        """Gradient of one piece's share, the plain sum of its losses, leaves with statistics."""
        x, y, real, examples = batch
        if guard is None:
            ascent = jax.grad(share, has_aux=True)
            gradient, (total, moved) = ascent(leaves, x, y, real, examples, course.anchor)
            return gradient, total, settle(leaves, moved)

        def losses(leaves: Leaves) -> tuple[Array, Array]:
            chosen, loss, _ = judged(leaves, x, y, real)
            return loss, chosen

        gradient, chosen = clipped_sum(losses, leaves, real, clip=guard.clip)
        return gradient, -jnp.where(real, chosen, 0.0).sum(), leaves

    def protect(gradient: Leaves, leaves: Leaves, at: Array, course: Course) -> Leaves:
        """The noisy mean of clipped gradients, and the slope of the penalty, which no row moves."""
        assert guard is not None
        key = jax.random.fold_in(jax.random.wrap_key_data(course.key), course.before + at)
        noisy = noised(gradient, net.moves, key, guard)
        if not (training.l2 or training.proximal):
            return noisy
        pull = jax.grad(lambda leaves: jnp.asarray(penalty(leaves, course.anchor)))(leaves)
        return [a + b for a, b in zip(noisy, pull, strict=True)]

    def gather(
        x: Inputs, y: Array, rows: Array, examples: Array, at: Array, course: Course
    ) -> "Batch":
        batch = jax.tree.map(lambda part: jnp.take(part, rows, 0, mode="clip"), x)
        if training.augmentation:
            key = jax.random.fold_in(jax.random.wrap_key_data(course.variation), course.before + at)
            images, table = batch
            batch = varied(images, rows, key, training.augmentation), table
        return Batch(batch, jnp.take(y, rows, mode="clip"), rows >= 0, examples)

    def advance(
        state: State, x: Inputs, y: Array, order: Array, first: Array, end: Array, course: Course
    ) -> tuple[State, Array]:
        def step(at: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            (leaves, memory), losses = carry
            rows = order[at]
            examples = (rows >= 0).sum()
            if pieces == 1:
                batch = gather(x, y, rows, examples, at, course)
                gradient, total, leaves = slope(leaves, batch, course)
            else:

                def piece(carry: Any, rows: Array) -> tuple[Any, None]:
                    leaves, gradient, total = carry
                    batch = gather(x, y, rows, examples, at, course)
                    more, add, leaves = slope(leaves, batch, course)
                    summed = [a + b for a, b in zip(gradient, more, strict=True)]
                    return (leaves, summed, total + add), None

                nothing = [jnp.zeros_like(leaf) for leaf in leaves]
                # Every piece-th row, so that padding at the end is spread over the pieces.
                parts = rows.reshape(-1, pieces).T
                (leaves, gradient, total), _ = jax.lax.scan(
                    piece, (leaves, nothing, jnp.zeros(())), parts
                )
            if guard is not None:
                gradient = protect(gradient, leaves, at, course)
            change, memory = optimizer.update(gradient, memory, leaves)
            if training.schedule != "constant" or training.warmup or training.decay != 1:
                factor = _factor(training, course.before + at, course.steps) * course.rate
                change = [factor * part for part in change]
            return State(optax.apply_updates(leaves, change), memory), losses.at[at].set(total)

        losses = jnp.zeros(order.shape[0])
        moved: tuple[State, Array] = jax.lax.fori_loop(first, end, step, (state, losses))
        return moved

    def begin(vector: Array, local: Array | None = None) -> State:
        if local is None:
            local = jnp.zeros(net.local.size)
        return State(start := shaped(vector, local), optimizer.init(start))

    def predict(vector: Array, local: Array, x: Inputs, first: Array, rows: int) -> Array:
        block = jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, first, rows), x)
        return log_probabilities(shaped(vector, local), block)[0]

    def joined(leaves: Leaves) -> np.ndarray:
        # NumPy joins 100 MB in 0.1 s where XLA on a CPU takes 3.5 s.
        return np.concatenate([np.zeros(0, np.float32), *(np.ravel(leaf) for leaf in leaves)])

    return Program(
        manifest=net.manifest,
        local=net.local,
        initial=jax.jit(lambda seed: flat(net.initial(seed))),
        begin=jax.jit(begin),
        advance=jax.jit(advance, donate_argnums=0),
        vector=lambda state: joined(state.leaves[:count]),
        own=lambda state: joined(state.leaves[count:]),
        predict=jax.jit(predict, static_argnums=4),
        objective=objective,
    )


class Batch(NamedTuple):
    """Rows of one piece; ``examples`` counts the real ones of the whole step, int32 []."""

    x: Inputs
    y: Array
    real: Array
    examples: Array


def _weighs(training: Training) -> bool:
    return bool(training.focal or training.class_weights)


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
