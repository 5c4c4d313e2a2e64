"""What training makes small: each example's loss by its class, and penalties on the parameters."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from models import Training
from models._network import Inputs, Leaves, Network, narrowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A network's loss under a way of training; pure functions of the leaves.

    Attributes:
        outputs: 1 for two classes, else their number.
        narrow: Whether the network computes in bfloat16.
    """

    net: Network
    training: Training
    outputs: int
    narrow: bool

    @property
    def wide(self) -> "Objective":
        """The same in float32."""
        return replace(self, narrow=False)

    def log_probabilities(
        self, leaves: Leaves, x: Inputs, real: Array | None = None
    ) -> tuple[Array, Leaves]:
        """float32 [batch, classes], and new statistics."""
        used = narrowed(leaves, self.net.moves, jnp.bfloat16) if self.narrow else leaves
        logits, moved = self.net.logits(used, x, real)
        if self.outputs == 1:
            return jax.nn.log_sigmoid(jnp.concatenate([-logits, logits], axis=1)), moved
        return jax.nn.log_softmax(logits), moved

    def judged(
        self, leaves: Leaves, x: Inputs, y: Array, real: Array
    ) -> tuple[Array, Array, Leaves]:
        """Each example's log-probability, its loss with weights, and new statistics."""
        logs, moved = self.log_probabilities(leaves, x, real)
        # By comparison, not by index, whose slope is a scatter: slow, and on a GPU in any order.
        mine = y[:, None] == jnp.arange(logs.shape[1])
        chosen = jnp.where(mine, logs, 0.0).sum(axis=1)
        return chosen, example_losses(self.training, chosen, y), moved

    def penalty(self, leaves: Leaves, anchor: Leaves) -> Array:
        """Of the weights' size, and of the shared leaves' distance from ``anchor`` if given."""
        found = jnp.zeros(())
        if self.training.l2:
            weights = [
                leaf for leaf, is_one in zip(leaves, self.net.weights, strict=True) if is_one
            ]
            found += self.training.l2 / 2 * sum(jnp.vdot(w, w) for w in weights)
        if self.training.proximal and anchor:
            steps = [leaf - start for leaf, start in zip(leaves, anchor, strict=True)]
            shared = steps[: len(self.net.manifest.entries)]
            found += self.training.proximal / 2 * sum(jnp.vdot(step, step) for step in shared)
        return found

    @property
    def penalises(self) -> bool:
        """Whether ``penalty`` can be other than 0."""
        return bool(self.training.l2 or self.training.proximal)

    def share(
        self,
        leaves: Leaves,
        x: Inputs,
        y: Array,
        real: Array,
        examples: Array,
        anchor: Leaves,
        pieces: int = 1,
    ) -> tuple[Array, tuple[Array, Leaves]]:
        """One of so many pieces' part of the mean over a step's examples, its plain sum of losses,
        and statistics.
        """
        chosen, loss, moved = self.judged(leaves, x, y, real)
        total = -jnp.where(real, chosen, 0.0).sum()
        weighs = self.training.focal or self.training.class_weights
        aim = jnp.where(real, loss, 0.0).sum() if weighs else total
        mean = aim / jnp.maximum(examples, 1)
        if self.penalises:
            mean += self.penalty(leaves, anchor) / pieces
        return mean, (total, moved)


def example_losses(training: Training, chosen: Any, y: Any) -> Array:
    """float32 [examples] with weights, from the true class ``y``'s log-probability in nats."""
    loss = -jnp.asarray(chosen)
    if training.focal:
        # The other classes' share, bounded off 0, where a power below 1 has no slope.
        loss *= jnp.maximum(-jnp.expm1(chosen), 1e-7) ** training.focal
    if training.class_weights:
        loss *= jnp.asarray(training.class_weights, jnp.float32)[y]
    return loss
