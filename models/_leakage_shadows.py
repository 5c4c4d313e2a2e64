"""Shadow models: the study's recipe on random parts of the site's own patients, many at a time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from datasets import Dataset
from models import Training, _inputs
from models._batches import sampled, shuffled
from models._descent import Course
from models._inputs import Scale
from models._leakage_scores import Flags
from models._noise import Bits, columns, normal
from models._privacy import Plan
from models._program import BLOCK, Program, State
from models._rounds import Vector

WIDTH = 8  # models a call; more at a time are no faster on a CPU
_VALUES = 2**22  # of inputs in a call of ``predict``, as in ``_prediction``


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All records of a site, whatever their split.

    Attributes:
        inputs: What a network is called with, on the agreed scale; the first axis is the records.
        y: int32 [records].
        patients: int64 [records], from 0 without a gap.
        members: bool [records], those of the training split.
    """

    inputs: Any
    y: NDArray[np.int32]
    patients: NDArray[np.int64]
    members: Flags

    @property
    def people(self) -> int:
        """Patients."""
        return int(self.patients.max()) + 1


def pool(data: Dataset, scale: Scale | None) -> Pool:
    """The three splits of a site as one."""
    splits = [s for s in (data.train, data.validation, data.test) if len(s)]
    parts = [_inputs.prepare(split, data.gives, scale) for split in splits]
    return Pool(
        inputs=jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts),
        y=np.concatenate([split.y for split in splits]),
        patients=np.unique(np.concatenate([s.groups for s in splits]), return_inverse=True)[1],
        members=np.arange(sum(map(len, splits))) < len(data.train),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the attacked model was made, as much of it as one site can repeat.

    Other sites' part of a joint model is left out, and early stopping: shadows run all epochs.
    Both make them leak rather more than the model does.

    Attributes:
        start: float32 [parameters], the first model of the study.
        rounds: After which the attacked model left.
        plan: Of record-level privacy; None without.
    """

    program: Program
    training: Training
    start: Vector
    rounds: int
    plan: Plan | None


class Shadows:
    """Trains groups of ``WIDTH`` models by a recipe on a pool."""

    def __init__(self, recipe: Recipe, pool: Pool) -> None:
        self._recipe, self._pool = recipe, pool
        self._x = jax.device_put(pool.inputs)
        self._round, self._predict = _compiled(recipe.program, recipe.plan is not None)

    def train(
        self,
        chosen: Flags,
        y: NDArray[np.int32],
        *,
        seed: int,
        until: float,
        tell: Callable[[], None],
    ) -> NDArray[np.float32] | None:
        """Models on the chosen records, all rounds.

        Args:
            chosen: bool [WIDTH, records].
            y: int32 [records], the classes to train on.
            until: By the monotonic clock; a group that would end much later is given up.
            tell: Called after each round.

        Returns:
            float32 [WIDTH, records, classes], the log-probabilities of all records in the pool;
            None if it was given up.
        """
        recipe, random = self._recipe, np.random.Generator(np.random.PCG64(seed))
        vectors = jnp.tile(recipe.start, (len(chosen), 1))
        own = jnp.zeros((len(chosen), recipe.program.local.size))
        rows = [np.flatnonzero(each) for each in chosen]
        labels = jax.device_put(y)
        for number in range(recipe.rounds):
            began = time.monotonic()
            order = _stacked([self._order(mine, random) for mine in rows])
            keys = random.integers(0, 2**32, (len(chosen), 4), dtype=np.uint32)
            rate = np.float32(recipe.training.decay**number)
            vectors, own = self._round(
                vectors, own, self._x, labels, order, (keys, rate), bool(recipe.training.proximal)
            )
            vectors.block_until_ready()
            tell()
            now = time.monotonic()
            left = (recipe.rounds - number - 1) * (now - began)
            if number == 1 and now + left > until:  # the first round also compiles
                return None
        return self.predict(vectors, own)

    def predict(self, vectors: Any, own: Any) -> NDArray[np.float32]:
        """Log-probabilities float32 [models, records, classes] under [models, parameters]."""
        records = len(self._pool.y)
        rows = max(1, min(records, BLOCK, _VALUES // _inputs.values(self._pool.inputs)))
        blocks = []
        for first in range(0, records, rows):
            start = min(first, records - rows)  # the last overlaps the one before
            at = np.arange(start, start + rows, dtype=np.int32)[None]
            block = self._predict(vectors, own, self._x, at)
            blocks.append(np.asarray(block)[:, first - start :])
        return np.concatenate(blocks, axis=1)

    def _order(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int32]:
        """A round's batches of one model, int32 [steps, room], -1 where there is no record."""
        training, plan = self._recipe.training, self._recipe.plan
        if plan is not None:
            bits = Bits("audit", int(random.integers(0, 2**63)))
            order = sampled(bits, len(rows), plan, 1)
        else:
            epochs = [shuffled(random, len(rows), training.batch) for _ in range(training.epochs)]
            order = np.concatenate(epochs)[: training.steps(len(rows))]
        return np.where(order >= 0, rows[order], -1).astype(np.int32)


@lru_cache(maxsize=4)  # an audit that is repeated compiles nothing
def _compiled(program: Program, private: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """One round, and ``predict``, of many models at once."""
    predict = jax.vmap(program.predict, in_axes=(0, 0, None, None))
    return (
        jax.jit(partial(_rounds, program, private), static_argnums=6),
        jax.jit(predict),
    )


def _rounds(
    program: Program,
    private: bool,
    vectors: Array,
    owns: Array,
    x: Any,
    y: Array,
    orders: Array,
    given: tuple[Array, Any],
    anchored: bool,
) -> tuple[Array, Array]:
    """One round of many models, as ``_rounds.Round`` has it for one."""
    count = len(program.manifest.entries)
    numbers = columns(program.manifest.size)
    keys, rate = given
    generate: Callable[..., tuple[Array, Array]] = jax.lax.rng_bit_generator

    def one(vector: Array, own: Array, order: Array, key: Array) -> tuple[Array, Array]:
        steps = np.int32(order.shape[0])
        state = program.begin(vector, own)
        course = Course(
            anchor=program.begin(vector, own).leaves if anchored else [],
            rate=rate,
            before=np.int32(0),
            steps=steps,
        )

        def step(at: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            state, key = carry
            # Of a generator that keeps no secret: nothing that is trained here leaves.
            key, bits = generate(key, (1, numbers), dtype=jnp.uint32)
            noisy = course._replace(draws=normal(bits))
            return program.loop(state, x, y, order, at, at + 1, noisy)[0], key

        if private:
            state, _ = jax.lax.fori_loop(0, steps, step, (state, key))
        else:
            state, _ = program.loop(state, x, y, order, np.int32(0), steps, course)
        return _joined(state.leaves[:count]), _joined(state.leaves[count:])

    if not private:
        found: tuple[Array, Array] = jax.vmap(one)(vectors, owns, orders, keys)
        return found
    # One after the other: a step chooses among widths, and vmap would compute them all.
    mapped: tuple[Array, Array] = jax.lax.map(
        lambda each: one(*each), (vectors, owns, orders, keys)
    )
    return mapped


def _joined(leaves: list[Array]) -> Array:
    return jnp.concatenate([jnp.zeros(0), *(leaf.ravel() for leaf in leaves)])


def _stacked(orders: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """One array of all models' batches; who has fewer steps or rows is filled up with -1."""
    steps, room = (max(order.shape[axis] for order in orders) for axis in (0, 1))
    return np.stack(
        [
            np.pad(o, ((0, steps - o.shape[0]), (0, room - o.shape[1])), constant_values=-1)
            for o in orders
        ]
    )


def drawn(pool: Pool, models: int, random: np.random.Generator) -> Flags:
    """Random patients for each model, with all their records: bool [models, records].

    Each model has as large a share of the patients as the training split has.
    """
    share = len(np.unique(pool.patients[pool.members])) / pool.people
    wanted = min(max(round(share * pool.people), 1), pool.people - 1)
    chosen = np.zeros((models, pool.people), dtype=bool)
    for row in chosen:
        row[random.permutation(pool.people)[:wanted]] = True
    found: Flags = chosen[:, pool.patients]
    return found
