"""Local training and evaluation at one site, on data that stays on the device."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from numpy.typing import NDArray

import models
from datasets import Dataset
from models import Manifest, ModelError, Training, _inputs, _metrics, _pretrained
from models._program import BLOCK, Course, Program, State, program

__all__ = ["Engine", "Evaluated", "Trained", "Training", "use_cache"]

Vector = NDArray[np.float32]
Progress = Callable[[int, int, float], None]
Name = Literal["train", "validation", "test"]

_PACE = 0.5  # seconds between reports; a person sees movement, and the device hardly waits
_VALUES = 2**22  # of inputs in a call of ``predict``: 85 images of 128 x 128, whose activations fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A site's part of a round.

    Attributes:
        vector: float32 [parameters], finite.
        loss: Mean over all examples seen while training, in nats, without weights and penalty.
        examples: Rows in the training split: the weight in the mean over sites.
        seconds: Wall time, compilation included.
        steps: How many were made; with early stopping perhaps fewer than planned.
        local: float32 [local], what the site keeps for itself and gives to the next round.
        epoch: The epoch, from 1, whose parameters these are: the last, or with early stopping the
            best on the validation split.
        pieces: Into how many parts each batch was cut for want of memory; 1 for none.
    """

    vector: Vector
    loss: float
    examples: int
    seconds: float
    steps: int
    local: Vector
    epoch: int
    pieces: int


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

    Engines for one model and way of training share their compiled functions. All devices of this
    machine share each batch: every one holds the parameters and the data, and its part of the rows.

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
        eats = (source.EATS,) if isinstance(source.EATS, str) else source.EATS
        if data.gives not in eats:
            raise ModelError(
                f"model: {model} eats a {' or '.join(eats)}, "
                f"and {data.name} gives a{'n' * (data.gives[:1] in 'aeiou')} {data.gives}"
            )
        classes = len(data.classes)
        if training.class_weights and len(training.class_weights) != classes:
            raise ModelError(f"class_weights: name one for each of the {classes} classes")
        self._model, self._config = model, models.configure(source.Config, config)
        self._training, self._data, self._seed = training, data, seed
        self._normalisation = normalisation
        devices = jax.local_devices()
        self._everywhere, self._by_rows = _shardings(devices)
        self._width = len(devices)
        self._pieces = 1
        self._program = self._compiled()
        self._resident: dict[str, Any] = {}
        self._labels = jax.device_put(data.train.y, self._everywhere)
        self._pace = 16  # steps a report; follows the device's speed

    @property
    def manifest(self) -> Manifest:
        """Names, shapes and dtypes in the flat vector, in order."""
        return self._program.manifest

    @property
    def local(self) -> Manifest:
        """What this site keeps for itself between rounds, in order; empty for most models."""
        return self._program.local

    def initial(self, pretrained: Path | None = None) -> Vector:
        """Parameters before the first round, float32 [parameters], from the study's seed alone.

        Args:
            pretrained: A safetensors file of torchvision or timm, for an image model.

        Raises:
            ModelError: the file's weights do not fit this model.
        """
        vector = np.array(self._program.initial(np.uint32(self._seed)))
        if pretrained is None:
            return vector
        return _pretrained.load(
            pretrained, model=self._model, manifest=self.manifest, vector=vector
        )

    def train(
        self,
        vector: Vector,
        *,
        round: int,
        stream: int,
        on_progress: Progress | None = None,
        local: Vector | None = None,
    ) -> Trained:
        """The agreed epochs from ``vector``, with a new optimiser.

        The order of examples comes from (seed, round, stream), so a site that restarts repeats its
        work bit for bit, on the same device and libraries. That is why nothing is kept in the
        middle of a round: it would be a second truth beside the round's inputs.

        Where memory does not suffice the round begins anew with every batch in twice as many
        pieces, whose gradients are added up; ``Trained.pieces`` says so.

        Args:
            vector: float32 [parameters] in manifest order.
            round: Counted from 1.
            stream: A number of the site's own, the same in every round; not negative.
            on_progress: Called about twice a second and at the end with the steps done, the steps
                in all, and the mean loss over the examples since the last call, in nats.
            local: float32 [local], ``Trained.local`` of the site's last round; None in its first.

        Raises:
            ModelError: ``vector`` or ``local`` is not this model's, training diverged, or one
                example is too much for the device's memory.

        References:
            McMahan et al., Communication-Efficient Learning, AISTATS 2017, ClientUpdate.
        """
        began = time.monotonic()
        vector, local = self._checked(vector), self._checked_local(local)
        while True:
            try:
                work = _Round(self, round, stream, on_progress)
                return work.run(vector, local, began)
            except jax.errors.JaxRuntimeError as error:
                if not _exhausted(error):
                    raise
                if self._pieces * 2 > self._training.batch:
                    raise _too_large("train on") from error
            self._pieces *= 2
            self._program = self._compiled()

    def predict(
        self, vector: Vector, *, split: Name = "test", local: Vector | None = None
    ) -> NDArray[np.float32]:
        """Log-probability of every class, float32 [examples, classes], in the split's order.

        Raises:
            ModelError: ``vector`` or ``local`` is not this model's, or one example is too much for
                the device's memory.
        """
        x = self._placed(split)
        weights = jax.device_put(self._checked(vector), self._everywhere)
        own = jax.device_put(self._checked_local(local), self._everywhere)
        examples = len(getattr(self._data, split))
        size = _inputs.values(x)
        rows = max(1, min(BLOCK, _VALUES // max(size, 1)))
        while True:
            try:
                return self._predicted(weights, own, x, examples, min(rows, examples))
            except jax.errors.JaxRuntimeError as error:
                if not _exhausted(error):
                    raise
                if rows == 1:
                    raise _too_large("predict") from error
            rows //= 2

    def evaluate(
        self, vector: Vector, *, split: Name = "test", local: Vector | None = None
    ) -> Evaluated:
        """How well ``vector`` does on one of this site's splits.

        Raises:
            ModelError: as ``predict`` does.
        """
        began = time.monotonic()
        labels = getattr(self._data, split).y
        metrics = _metrics.measure(labels, self.predict(vector, split=split, local=local))
        return Evaluated(metrics=metrics, examples=len(labels), seconds=time.monotonic() - began)

    def _predicted(
        self, vector: Any, local: Any, x: Any, examples: int, rows: int
    ) -> NDArray[np.float32]:
        blocks = [np.empty((0, len(self._data.classes)), dtype=np.float32)]
        for first in range(0, examples, max(rows, 1)):
            start = max(0, min(first, examples - rows))  # the last overlaps the one before
            block = self._program.predict(vector, local, x, np.int32(start), rows)
            blocks.append(np.asarray(block)[first - start :])
        return np.concatenate(blocks)

    def _compiled(self) -> Program:
        classes = len(self._data.classes)
        return program(
            self._model,
            self._config,
            self._training,
            len(self._data.features),
            1 if classes == 2 else classes,
            gives=self._data.gives,
            pieces=self._pieces,
        )

    def _placed(self, split: Name) -> Any:
        """A split's inputs on the agreed scale, on the device."""
        if split not in self._resident:
            part = getattr(self._data, split)
            inputs = _inputs.prepare(part, self._data.gives, self._normalisation)
            self._resident[split] = jax.device_put(inputs, self._everywhere)
        return self._resident[split]

    def _checked(self, vector: Vector) -> Vector:
        if vector.dtype != np.float32 or vector.shape != (self.manifest.size,):
            raise ModelError(
                f"The parameters are {vector.dtype} {list(vector.shape)}; "
                f"this model takes float32 [{self.manifest.size}]."
            )
        return _finite(vector, "The parameters cannot be used")

    def _checked_local(self, local: Vector | None) -> Vector:
        if local is None:
            return np.zeros(self.local.size, dtype=np.float32)
        if local.dtype != np.float32 or local.shape != (self.local.size,):
            raise ModelError(
                f"The site's own part is {local.dtype} {list(local.shape)}; "
                f"this model takes float32 [{self.local.size}]."
            )
        return _finite(local, "The site's own part cannot be used")


class _Round:
    """One site's steps of one round, epoch by epoch."""

    def __init__(
        self, engine: Engine, round: int, stream: int, on_progress: Progress | None
    ) -> None:
        self._engine, self._round, self._tell = engine, round, on_progress
        self._random = np.random.Generator(np.random.PCG64([engine._seed, round, stream]))
        self._losses: list[float] = []  # a step's sum over its examples, in nats
        self._sizes: list[int] = []
        self._told, self._told_at = 0, time.monotonic()  # what ``on_progress`` has heard of

    def run(self, vector: Vector, local: Vector, began: float) -> Trained:
        """The epochs, up to the last or to where the validation split's loss stops to fall."""
        engine, training = self._engine, self._engine._training
        functions, examples = engine._program, len(engine._data.train)
        vector, local = jax.device_put((vector, local), engine._everywhere)
        state = functions.begin(vector, local)
        course = Course(
            anchor=functions.begin(vector, local).leaves if training.proximal else [],
            rate=np.float32(training.decay ** (self._round - 1)),
            before=np.int32(0),
            steps=np.int32(training.epochs * -(-examples // training.batch)),
            key=np.zeros(2, np.uint32),
        )
        best, kept, epoch = math.inf, None, 0
        for number in range(1, training.epochs + 1):
            order = _batches(self._random.permutation(examples), training.batch)
            state = self._epoch(state, order, course._replace(before=np.int32(len(self._losses))))
            if not training.patience or not len(engine._data.validation):
                epoch = number
                continue
            found = functions.vector(state), functions.own(state)
            loss = self._validation_loss(*found)
            if loss < best or kept is None:
                best, kept, epoch = loss, found, number
            elif number - epoch >= training.patience:
                break
        if self._told < len(self._losses):
            self._report(len(self._losses))
        vector, local = kept or (functions.vector(state), functions.own(state))
        return Trained(
            vector=_finite(vector, "training diverged"),
            loss=math.fsum(self._losses) / sum(self._sizes),
            examples=examples,
            steps=len(self._losses),
            seconds=time.monotonic() - began,
            local=_finite(local, "training diverged"),
            epoch=epoch,
            pieces=engine._pieces,
        )

    def _epoch(self, state: State, order: NDArray[np.int32], course: Course) -> State:
        """The steps of ``order``, int32 [steps, batch], a stretch of some half second at a time."""
        engine = self._engine
        self._sizes += (order >= 0).sum(axis=1).tolist()
        resident = jax.device_put(
            _widened(order, math.lcm(engine._width, engine._pieces)), engine._by_rows
        )
        x, first = engine._placed("train"), 0
        while first < len(order):
            end, started = min(first + engine._pace, len(order)), time.monotonic()
            state, sums = engine._program.advance(
                state, x, engine._labels, resident, np.int32(first), np.int32(end), course
            )
            self._losses += np.asarray(sums)[first:end].tolist()
            now = time.monotonic()
            engine._pace = _paced(engine._pace, (end - first) / (now - started))
            first = end
            steps = int(course.steps)
            if now - self._told_at >= _PACE or len(self._losses) == steps:
                self._report(steps)
        return state

    def _report(self, steps: int) -> None:
        done = len(self._losses)
        if self._tell is not None:
            recent = math.fsum(self._losses[self._told :]) / sum(self._sizes[self._told : done])
            self._tell(done, steps, recent)
        self._told, self._told_at = done, time.monotonic()

    def _validation_loss(self, vector: Vector, local: Vector) -> float:
        """Mean log loss on the validation split, in nats; infinite where training diverged."""
        if not (np.isfinite(vector).all() and np.isfinite(local).all()):
            return math.inf
        loss = self._engine.evaluate(vector, split="validation", local=local).metrics["loss"]
        return math.inf if loss is None or math.isnan(loss) else loss


def _shardings(devices: list[Any]) -> tuple[Any, Any]:
    """Where arrays lie: whole on every device, and cut by columns; None for one device alone."""
    if len(devices) == 1:
        return None, None  # plain arrays, as they always were, to the bit
    mesh = jax.make_mesh((len(devices),), ("rows",), (AxisType.Auto,), devices=devices)
    whole, cut = PartitionSpec(), PartitionSpec(None, "rows")  # type: ignore[no-untyped-call]
    return NamedSharding(mesh, whole), NamedSharding(mesh, cut)


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


def _widened(order: NDArray[np.int32], multiple: int) -> NDArray[np.int32]:
    """``order`` with padding, so that its columns can be cut into so many equal parts."""
    return np.pad(order, ((0, 0), (0, -order.shape[1] % multiple)), constant_values=-1)


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


def _exhausted(error: Exception) -> bool:
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()


def _too_large(what: str) -> ModelError:
    return ModelError(
        f"The device has too little memory to {what} even one example.",
        remedy="Choose a smaller model or smaller images, or a device with more memory.",
    )
