"""Local training and evaluation at one site, on data that stays on the device."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

import models
from datasets import Dataset, standardise
from models import Manifest, ModelError, Training, _metrics
from models._program import BLOCK, program

__all__ = ["Engine", "Evaluated", "Trained", "Training", "use_cache"]

Vector = NDArray[np.float32]
Progress = Callable[[int, int, float], None]
Name = Literal["train", "validation", "test"]

_PACE = 0.5  # seconds between reports; a person sees movement, and the device hardly waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A site's part of a round.

    Attributes:
        vector: float32 [parameters], finite.
        loss: Mean over all examples seen while training, in nats, without penalty.
        examples: Rows in the training split: the weight in the mean over sites.
        seconds: Wall time, compilation included.
    """

    vector: Vector
    loss: float
    examples: int
    seconds: float
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A model measured on one split.

    Attributes:
        metrics: By name, as ``_metrics.measure`` has them; None where not defined.
        examples: Rows they are over.
        seconds: Wall time, compilation included.
    """

    metrics: dict[str, float | None]
    examples: int
    seconds: float


class Engine:
    """A model on this site's data. What it computes depends on its arguments alone.

    Engines for one model and way of training share their compiled functions.

    Args:
        config: The model's settings, as in the study.
        seed: The study's; decides the initial parameters and, with round and site, the order of
            examples. Not negative, below 2**32.
        normalisation: Mean and deviation that all sites agreed on, each float64 [features]; None
            takes the values as they are.

    Raises:
        ModelError: an unknown model, a setting that does not fit, or a data set that this model
            cannot eat.
    """

    def __init__(
        self,
        *,
        model: str,
        config: Mapping[str, Any],
        training: Training,
        data: Dataset,
        seed: int,
        normalisation: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    ) -> None:
        source = models.load(model)
        if data.gives != source.EATS:
            raise ModelError(
                f"model: {model} eats a {source.EATS}, and {data.name} gives a {data.gives}"
            )
        settings = models.configure(source.Config, config)
        classes = len(data.classes)
        outputs = 1 if classes == 2 else classes
        self._program = program(model, settings, training, len(data.features), outputs)
        self._training, self._data, self._seed = training, data, seed
        self._normalisation = normalisation
        self._resident: dict[str, jax.Array] = {}
        self._labels = jax.device_put(data.train.y)
        self._pace = 16  # steps a report; follows the device's speed

    @property
    def manifest(self) -> Manifest:
        """Names, shapes and dtypes in the flat vector, in order."""
        return self._program.manifest

    def initial(self) -> Vector:
        """Parameters before the first round, float32 [parameters], from the study's seed alone."""
        return np.array(self._program.initial(np.uint32(self._seed)))

    def train(
        self, vector: Vector, *, round: int, stream: int, on_progress: Progress | None = None
    ) -> Trained:
        """The agreed epochs from ``vector``, with a new optimiser.

        The order of examples comes from (seed, round, stream), so a site that restarts repeats its
        work bit for bit, on the same device and libraries.

        Args:
            vector: float32 [parameters] in manifest order.
            round: Counted from 1.
            stream: A number of the site's own, the same in every round; not negative.
            on_progress: Called about twice a second and at the end with the steps done, the steps
                in all, and the mean loss over the examples since the last call, in nats.

        Raises:
            ModelError: ``vector`` is not this model's, or training diverged.

        References:
            McMahan et al., Communication-Efficient Learning, AISTATS 2017, ClientUpdate.
        """
        began = told_at = time.monotonic()
        state = self._program.begin(self._checked(vector))
        x, epochs = self._inputs("train"), self._training.epochs
        random = np.random.Generator(np.random.PCG64([self._seed, round, stream]))
        losses: list[float] = []  # a step's sum over its examples, in nats
        sizes: list[int] = []
        told = 0  # steps that ``on_progress`` has heard of
        for _ in range(epochs):
            order = _batches(random.permutation(len(self._labels)), self._training.batch)
            sizes += (order >= 0).sum(axis=1).tolist()
            first, steps = 0, len(order)
            resident = jax.device_put(order)
            while first < steps:
                end, started = min(first + self._pace, steps), time.monotonic()
                state, sums = self._program.advance(
                    state, x, self._labels, resident, np.int32(first), np.int32(end)
                )
                losses += np.asarray(sums)[first:end].tolist()
                now = time.monotonic()
                self._pace = _paced(self._pace, (end - first) / (now - started))
                first, done = end, len(losses)
                if now - told_at >= _PACE or done == steps * epochs:
                    if on_progress is not None:
                        recent = math.fsum(losses[told:]) / sum(sizes[told:done])
                        on_progress(done, steps * epochs, recent)
                    told, told_at = done, now
        return Trained(
            vector=_finite(self._program.vector(state), "training diverged"),
            loss=math.fsum(losses) / sum(sizes),
            examples=len(self._data.train),
            steps=len(losses),
            seconds=time.monotonic() - began,
        )

    def predict(self, vector: Vector, *, split: Name = "test") -> NDArray[np.float32]:
        """Log-probability of every class, float32 [examples, classes], in the split's order.

        Raises:
            ModelError: ``vector`` is not this model's.
        """
        x, weights = self._inputs(split), jax.device_put(self._checked(vector))
        blocks = [np.empty((0, len(self._data.classes)), dtype=np.float32)]
        for first in range(0, len(x), BLOCK):
            start = max(0, min(first, len(x) - BLOCK))  # the last block overlaps the one before
            block = self._program.predict(weights, x, np.int32(start))
            blocks.append(np.asarray(block)[first - start :])
        return np.concatenate(blocks)

    def evaluate(self, vector: Vector, *, split: Name = "test") -> Evaluated:
        """How well ``vector`` does on one of this site's splits.

        Raises:
            ModelError: ``vector`` is not this model's.
        """
        began = time.monotonic()
        labels = getattr(self._data, split).y
        metrics = _metrics.measure(labels, self.predict(vector, split=split))
        return Evaluated(metrics=metrics, examples=len(labels), seconds=time.monotonic() - began)

    def _inputs(self, split: Name) -> jax.Array:
        """``x`` of a split on the agreed scale, float32 [examples, features], on the device."""
        if split not in self._resident:
            part = getattr(self._data, split)
            scale = self._normalisation
            self._resident[split] = jax.device_put(
                part.x if scale is None else standardise(part, scale)
            )
        return self._resident[split]

    def _checked(self, vector: Vector) -> Vector:
        if vector.dtype != np.float32 or vector.shape != (self.manifest.size,):
            raise ModelError(
                f"The parameters are {vector.dtype} {list(vector.shape)}; "
                f"this model takes float32 [{self.manifest.size}]."
            )
        return _finite(vector, "The parameters cannot be used")


def use_cache(folder: Path) -> None:
    """Keep compiled functions in ``folder``, so that the next process need not compile them."""
    for key, value in {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,  # even the smallest
    }.items():
        jax.config.update(key, value)  # type: ignore[no-untyped-call]


def _batches(rows: NDArray[np.int64], batch: int) -> NDArray[np.int32]:
    """Row numbers as int32 [steps, batch]; the last step is filled up with -1."""
    order = np.full((-(-len(rows) // batch), batch), -1, dtype=np.int32)
    order.ravel()[: len(rows)] = rows
    return order


def _paced(pace: int, speed: float) -> int:
    """How many steps fill the time between reports, at ``speed`` steps a second.

    At most twice ``pace``, the number so far: one short measurement is no speed.
    """
    return max(1, min(2 * pace, int(speed * _PACE)))


def _finite(vector: Vector, what: str) -> Vector:
    if not np.isfinite(vector).all():
        raise ModelError(
            f"{what}: not every parameter is a finite number.",
            remedy="Lower the study's learning rate, or set a clip.",
        )
    return vector
