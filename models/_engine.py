"""Local training and evaluation at one site, on data that stays on the device."""

import math
import os
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
from models import Manifest, ModelError, Privacy, Training, _demands, _inputs, _metrics, _pretrained
from models._bookmark import Bookmark, question
from models._noise import Guard
from models._privacy import Plan, plan
from models._program import BLOCK, Program, program
from models._rounds import Bench, Progress, Round, Trained, Vector, finite

__all__ = ["Engine", "Evaluated", "Trained", "Training", "use_cache"]

Name = Literal["train", "validation", "test"]

_VALUES = 2**22  # of inputs in a call of ``predict``: 85 images of 128 x 128, whose activations fit


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
        normalisation: What all sites agreed on, as ``datasets.standardise`` takes it; None takes
            the values as they are.
        privacy: Record-level privacy, which changes a step: see ``_noise``. None for none.
        rounds: In the whole run, over which ``privacy`` is promised.
        secret: The site's own, at least 0 and known to nobody else: it decides samples and noise
            under ``privacy``. Kept between restarts, a repeated round spends nothing twice. None
            draws one for this engine.

    Raises:
        ModelError: an unknown model, a setting that does not fit, a data set that this model
            cannot eat, or privacy that cannot be kept.
    """

    def __init__(
        self,
        *,
        model: str,
        config: Mapping[str, Any],
        training: Training,
        data: Dataset,
        seed: int,
        normalisation: tuple[NDArray[np.float64], ...] | None,
        privacy: Privacy | None = None,
        rounds: int = 1,
        secret: int | None = None,
    ) -> None:
        source = models.load(model)
        eats = (source.EATS,) if isinstance(source.EATS, str) else source.EATS
        if data.gives not in eats:
            raise ModelError(
                f"model: {model} eats a {' or '.join(eats)}, "
                f"and {data.name} gives a{'n' * (data.gives[:1] in 'aeiou')} {data.gives}"
            )
        _demands.check(model, training, data)
        classes = len(data.classes)
        if training.class_weights and len(training.class_weights) != classes:
            raise ModelError(f"class_weights: name one for each of the {classes} classes")
        if training.augmentation and data.gives != "images":
            raise ModelError(
                f"augmentation: {data.name} has no images",
                remedy="Leave augmentation out of the study's training.",
            )
        self._model, self._config = model, models.configure(source.Config, config)
        self._training, self._data, self._seed = training, data, seed
        self._normalisation = normalisation
        self._plan = None if privacy is None else self._promised(privacy, rounds)
        devices = jax.local_devices()
        everywhere, by_rows = _shardings(devices)
        self._bench = Bench(
            program=self._compiled(1),
            training=training,
            examples=len(data.train),
            labels=jax.device_put(data.train.y, everywhere),
            plan=self._plan,
            secret=int.from_bytes(os.urandom(16)) if secret is None else secret,
            everywhere=everywhere,
            by_rows=by_rows,
            width=len(devices),
        )
        self._resident: dict[str, Any] = {}

    @property
    def manifest(self) -> Manifest:
        """Names, shapes and dtypes in the flat vector, in order."""
        return self._bench.program.manifest

    @property
    def local(self) -> Manifest:
        """What this site keeps for itself between rounds, in order; empty for most models."""
        return self._bench.program.local

    @property
    def plan(self) -> Plan | None:
        """What record-level privacy costs here, and what of it each round spends."""
        return self._plan

    def initial(self, pretrained: Path | None = None) -> Vector:
        """Parameters before the first round, float32 [parameters], from the study's seed alone.

        Args:
            pretrained: A safetensors file of torchvision or timm, for an image model.

        Raises:
            ModelError: the file's weights do not fit this model.
        """
        vector = np.array(self._bench.program.initial(np.uint32(self._seed)))
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
        secret: int | None = None,
        keep: Path | None = None,
        share: float = 1.0,
        pieces: int = 1,
        on_split: Callable[[int], None] | None = None,
    ) -> Trained:
        """The agreed epochs from ``vector``, with a new optimiser.

        The order of examples comes from (seed, round, stream), so a site that restarts repeats its
        work bit for bit, on the same device and libraries; with ``keep`` it goes on from the middle
        of the round, to the same bits.

        Where memory does not suffice the round begins anew with every batch in twice as many
        pieces, whose gradients are added up; ``Trained.pieces`` says so.

        Args:
            vector: float32 [parameters] in manifest order.
            round: Counted from 1.
            stream: A number of the site's own, the same in every round; not negative.
            on_progress: Called about twice a second and at the end with the steps done, the steps
                in all, and the mean loss over the examples since the last call, in nats.
            local: float32 [local], ``Trained.local`` of the site's last round, or zeros if it has
                none; may be left out in round 1, and by models that keep nothing.
            secret: In place of the engine's, for this round: noise that served two vectors would
                cancel out between their answers.
            keep: A file for where the round stands, written twice a minute and removed at the end.
                One of another round, other data or another device is not read.
            share: How much of the round's steps to do, for a site that is to keep up with others.
            pieces: Into how many every batch is cut at least.
            on_split: Called with the new number of pieces as soon as a batch is cut anew.

        Raises:
            ModelError: ``vector`` or ``local`` is not this model's, training diverged, or one
                example is too much for the device's memory.

        References:
            McMahan et al., Communication-Efficient Learning, AISTATS 2017, ClientUpdate.
        """
        began, bench = time.monotonic(), self._bench
        if local is None and self.local.size and round > 1:
            raise ModelError(
                f"{self._model}: round {round} needs what this site kept from the one before",
                remedy="Choose norm group or frozen, or give the site's own part to each round.",
            )
        vector, local = self._checked(vector), self._checked_local(local)
        judged = self._training.patience and len(self._data.validation)
        own = bench.secret if secret is None else secret
        if pieces > bench.pieces:
            bench.pieces, bench.program = pieces, self._compiled(pieces)
        while True:
            bookmark = None
            if keep is not None:
                depends = (vector, local, round, stream, own, *([share] if share < 1 else []))
                bookmark = Bookmark(keep, self._question(*depends))
            try:
                work = Round(
                    bench,
                    self._placed("train"),
                    seed=self._seed,
                    round=round,
                    stream=stream,
                    secret=own,
                    tell=on_progress,
                    judge=self._validation_loss if judged else None,
                    bookmark=bookmark,
                    share=share,
                )
                trained = work.run(vector, local, began)
                if bookmark is not None:
                    bookmark.remove()
                return trained
            except jax.errors.JaxRuntimeError as error:
                if not _exhausted(error):
                    raise
                if bench.pieces * 2 > self._training.batch:
                    raise _too_large("train on") from error
            bench.pieces *= 2
            bench.program = self._compiled(bench.pieces)
            if on_split is not None:
                on_split(bench.pieces)

    def predict(
        self, vector: Vector, *, split: Name = "test", local: Vector | None = None
    ) -> NDArray[np.float32]:
        """Log-probability of every class, float32 [examples, classes], in the split's order.

        Raises:
            ModelError: ``vector`` or ``local`` is not this model's, or one example is too much for
                the device's memory.
        """
        x = self._placed(split)
        weights = jax.device_put(self._checked(vector), self._bench.everywhere)
        own = jax.device_put(self._checked_local(local), self._bench.everywhere)
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
            block = self._bench.program.predict(vector, local, x, np.int32(start), rows)
            blocks.append(np.asarray(block)[first - start :])
        return np.concatenate(blocks)

    def _validation_loss(self, vector: Vector, local: Vector) -> float:
        """Mean log loss on the validation split, in nats; infinite where training diverged."""
        if not (np.isfinite(vector).all() and np.isfinite(local).all()):
            return math.inf
        loss = self.evaluate(vector, split="validation", local=local).metrics["loss"]
        return math.inf if loss is None or math.isnan(loss) else loss

    def _promised(self, privacy: Privacy, rounds: int) -> Plan:
        if self._training.patience:
            raise ModelError(
                "patience: no noise protects the choice of the best epoch",
                remedy="Leave patience out, or train without record-level privacy.",
            )
        if self._training.share < 1:
            raise ModelError(
                "share: the account of privacy counts on whole epochs",
                remedy="Leave share out, or train without record-level privacy.",
            )
        return plan(
            privacy,
            examples=len(self._data.train),
            batch=self._training.batch,
            epochs=self._training.epochs,
            rounds=rounds,
        )

    def _question(self, *depends: Any) -> str:
        """Of all that decides a round's bits."""
        here = [jax.__version__, *map(str, jax.local_devices()), self._bench.pieces]
        who = [self._model, self._config, self._training, self._seed, self._plan]
        train, scale = self._data.train, self._normalisation or ()
        arrays = (train.x, train.mask, train.y, train.groups, *scale)
        return question(here, who, self._data.cohort_hash, *arrays, *depends)

    def _compiled(self, pieces: int) -> Program:
        promise = self._plan
        classes = len(self._data.classes)
        return program(
            self._model,
            self._config,
            self._training,
            len(self._data.features),
            1 if classes == 2 else classes,
            gives=self._data.gives,
            pieces=pieces,
            guard=None if promise is None else Guard(promise.clip, promise.noise, promise.batch),
        )

    def _placed(self, split: Name) -> Any:
        """A split's inputs on the agreed scale, on the device."""
        if split not in self._resident:
            part = getattr(self._data, split)
            inputs = _inputs.prepare(part, self._data.gives, self._normalisation)
            self._resident[split] = jax.device_put(inputs, self._bench.everywhere)
        return self._resident[split]

    def _checked(self, vector: Vector) -> Vector:
        if vector.dtype != np.float32 or vector.shape != (self.manifest.size,):
            raise ModelError(
                f"The parameters are {vector.dtype} {list(vector.shape)}; "
                f"this model takes float32 [{self.manifest.size}]."
            )
        return finite(vector, "The parameters cannot be used")

    def _checked_local(self, local: Vector | None) -> Vector:
        if local is None:
            return np.zeros(self.local.size, dtype=np.float32)
        if local.dtype != np.float32 or local.shape != (self.local.size,):
            raise ModelError(
                f"The site's own part is {local.dtype} {list(local.shape)}; "
                f"this model takes float32 [{self.local.size}]."
            )
        return finite(local, "The site's own part cannot be used")


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


def _exhausted(error: Exception) -> bool:
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()


def _too_large(what: str) -> ModelError:
    return ModelError(
        f"The device has too little memory to {what} even one example.",
        remedy="Choose a smaller model or smaller images, or a device with more memory.",
    )
